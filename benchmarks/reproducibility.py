"""Does training give the same bytes twice, and after being killed at three random steps?

    python -m benchmarks.reproducibility [SEED]

Recipe `shakespeare` is trained to its end twice, and once more with three SIGKILLs at steps that the seed (printed;
random by default) draws. The value is the number of different model.safetensors among them: one is right.
"""

import random
import sys
import time

from base.files import sha256
from benchmarks._report import report, say
from benchmarks._training import Paths, lines, project, start, temporary_line, train

KILLS = 3


def kill_at(paths: Paths, step: int) -> int:
    """Train until `step` was logged and kill the process; returns the step of the last line then."""
    process = start(paths)
    logged = 0
    while process.poll() is None and logged < step:
        time.sleep(0.005)
        for curves in (paths.training / "states").glob("*/curves.jsonl"):
            text = curves.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1].splitlines()
            logged = int(whole[-1].split('"step": ')[1].split(",")[0]) if whole else 0
    process.kill()
    process.communicate()
    return logged


def main() -> None:
    """Measure, and print the result."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**6)
    say(f"seed {seed}")
    generator, hashes = random.Random(seed), {}
    with temporary_line() as folder:
        for name in ("first", "second"):
            paths = project(folder, name)
            train(paths)
            hashes[name] = sha256(paths.checkpoint / "model.safetensors")
            say(f"{name} run: {hashes[name]}")
        last = lines(paths.checkpoint / "curves.jsonl")[-1]["step"]
        paths = project(folder, "killed")
        wanted = sorted(generator.sample(range(1, last), KILLS))
        killed = [kill_at(paths, step) for step in wanted]
        say(f"killed at steps {', '.join(map(str, killed))} of {last}")
        train(paths)
        hashes["killed"] = sha256(paths.checkpoint / "model.safetensors")
        say(f"killed and resumed run: {hashes['killed']}")
    different = len(set(hashes.values()))
    report(
        name="reproducibility",
        value=different,
        unit="different model.safetensors of 3",
        baseline=1,
        ratio=different,
        accept="== 1",
        ok=different == 1 and len(killed) == KILLS,
        seed=seed,
        killed_at=killed,
    )


if __name__ == "__main__":
    main()
