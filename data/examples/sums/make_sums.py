"""Writes sums.txt: every sum of a number below 100 and one below 10, in an order drawn from a seed.

python data/examples/sums/make_sums.py
"""

import random
from pathlib import Path


def main() -> None:
    """1,000 lines such as 47+8=55."""
    sums = [f"{one}+{other}={one + other}" for one in range(100) for other in range(10)]
    random.Random(1).shuffle(sums)
    Path(__file__).with_name("sums.txt").write_text("\n".join(sums) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
