"""How soon each command answers --help and a mistyped flag.

python benchmarks/help_speed.py [--root CHECKOUT]; starts each command once in a fresh process, as a
person would, and prints the processor time in seconds: on an idle machine a person waits about as
long, and other work on the machine does not change it. --root measures another checkout (of an
earlier commit) with this one's Python. Results: help_speed.csv.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

COMMANDS = [
    *("train.transfer", "train.scratch", "train.autoencoder", "train.find_lr", "train.download"),
    *("train.prepare", "train.evaluate", "train.compare", "train.export", "train.submission"),
    *("train.sweep", "train.promote", "train.prune", "train.notebooks", "models.tag", "demo.py"),
]


def measure_cpu(command: list[str], root: Path) -> float:
    """Run a command to its end; return its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=root, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    root = parser.parse_args().root
    print("command,help_seconds,mistyped_flag_seconds")
    for name in COMMANDS:
        start = [sys.executable, name] if name.endswith(".py") else [sys.executable, "-m", name]
        told, refused = (measure_cpu([*start, flag], root) for flag in ("--help", "--zzzz"))
        print(f"{name},{told:.2f},{refused:.2f}", flush=True)


if __name__ == "__main__":
    main()
