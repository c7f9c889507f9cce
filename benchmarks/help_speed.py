"""How soon each command answers --help and a mistyped flag.

python benchmarks/help_speed.py [--root CHECKOUT]; runs each command in a fresh process, as a person
would, and prints the median of three starts in seconds. --root measures another checkout (of an
earlier commit) with this one's Python. Results of this project: help_speed.csv.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 3
COMMANDS = (
    "train.transfer",
    "train.scratch",
    "train.autoencoder",
    "train.find_lr",
    "train.download",
    "train.prepare",
    "train.evaluate",
    "train.compare",
    "train.export",
    "train.submission",
    "train.sweep",
    "train.promote",
    "train.prune",
    "train.notebooks",
    "models.tag",
    "demo.py",
)  # fmt: skip - four a line, not one


def seconds(command: list[str], root: Path) -> float:
    """Median wall time of a command, in seconds; what it prints is dropped."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(command, cwd=root, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measure and print CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    root = parser.parse_args().root
    print("command,help_seconds,mistyped_flag_seconds")
    for name in COMMANDS:
        start = [sys.executable, name] if name.endswith(".py") else [sys.executable, "-m", name]
        told, refused = (seconds([*start, flag], root) for flag in ("--help", "--no-such-flag"))
        print(f"{name},{told:.2f},{refused:.2f}", flush=True)


if __name__ == "__main__":
    main()
