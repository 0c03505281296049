"""How fast the log of feedback takes records, and what is left of them after kills.

    python -m benchmarks.feedback [FOLDER]

FOLDER: on the disk to be measured; default: a temporary one. Records of 300 bytes, in three rounds of 20,000, each of
which ends when the last one is on the disk (fdatasync). Then 20 writers, each killed by SIGKILL up to 0.3 s after its
first record: what one was told is on the disk has to be there, once.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from base.segments import Log, read
from benchmarks._report import report, say
from benchmarks._training import ROOT

RECORDS, SIZE, ROUNDS, KILLS, WANTED = 20_000, 300, 3, 20, 5_000


def rate(folder: Path) -> float:
    """Records a second in one round."""
    with Log(folder) as log:
        log.append(b"").result()
        began = time.monotonic()
        for done in [log.append(bytes(SIZE)) for _ in range(RECORDS)]:
            done.result()
        return RECORDS / (time.monotonic() - began)


def write(folder: Path, name: str) -> None:
    """Append for ever, and say the number of each record that is on the disk."""
    with Log(folder) as log:
        number = 0
        while True:
            batch = [(number + i, log.append(f"{name}-{number + i} ".encode().ljust(SIZE))) for i in range(64)]
            for each, done in batch:
                done.result()
                print(f"{name}-{each}", flush=True)
            number += 64


def killed(folder: Path, number: int, seconds: float) -> set[str]:
    """What a writer said before it was killed."""
    command = [sys.executable, "-m", "benchmarks.feedback", "write", str(folder), f"run{number}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        said = first + process.stdout.read()
    return set(said[: said.rfind("\n") + 1].split())


def main(folder: Path) -> None:
    rates = sorted(rate(folder / f"round-{number}") for number in range(ROUNDS))
    say(f"records a second: {', '.join(f'{each:,.0f}' for each in rates)}")
    draw, said = random.Random(1), set[str]()
    for number in range(KILLS):
        said |= killed(folder / "killed", number, draw.uniform(0, 0.3))
    found = [record.split()[0].decode() for record in read(folder / "killed")]
    lost, twice = len(said - set(found)), len(found) - len(set(found))
    ok = rates[1] >= WANTED and not lost and not twice
    report(benchmark="feedback", records_per_second=round(rates[1]), kills=KILLS, acknowledged=len(said),
           found=len(found), lost=lost, twice=twice, ok=ok)  # fmt: skip


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", where, name]:
            write(Path(where), name)
        case [where]:
            main(Path(where))
        case _:
            with TemporaryDirectory(prefix="metroline-feedback-") as temporary:
                main(Path(temporary))
