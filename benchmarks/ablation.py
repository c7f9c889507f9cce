"""What moves the network from scratch: one setting changed at a time, the budget being the same.

python benchmarks/ablation.py --data DIR [--seeds 0 1 2] [--only base width-24]
trains each variant for the time of 12 epochs of 64-pixel crops and appends one row per finished
run to benchmarks/ablation.csv. Rows that are there already are not made again: run it again to
resume. python benchmarks/ablation.py --table prints the means of what is there as Markdown.
"""

import csv
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

ROOT = Path(__file__).parents[1]
BUDGET = (
    "--image-size 64 --start-fraction 1 --width 32 --epochs 12 --learning-rate 0.01 "
    "--weight-decay 0.1 --mix-probability 0.3 --patience 200"
)
# Where a setting changes the time of an epoch, the epochs are fewer or more for the same minutes.
FACTORS = {
    "base": "",
    "adamw": "--optimizer adamw --learning-rate 0.004",
    "rate-0.005": "--learning-rate 0.005",
    "rate-0.02": "--learning-rate 0.02",
    "augment-0": "--augment 0",
    "augment-0.5": "--augment 0.5",
    "augment-1.5": "--augment 1.5",
    "mix-0": "--mix-probability 0",
    "mix-0.6": "--mix-probability 0.6",
    "smoothing-0": "--label-smoothing 0",
    "ema-off": "--ema-decay 0",
    "linear-schedule": "--schedule linear",
    "48-px": "--image-size 48 --epochs 18",
    "96-px": "--image-size 96 --epochs 6",
    "growing-crops": "--image-size 80 --start-fraction 0.6 --epochs 12",
    "width-24": "--width 24 --epochs 17",
    "width-48": "--width 48 --epochs 7",
    "depth-1": "--depth 1 --epochs 19",
    "drop-path-0.1": "--drop-path 0.1",
    "stem-deep": "--stem deep --epochs 10",
    "stem-patch": "--stem patch --epochs 13",
    "silu": "--activation silu",
    "group-norm": "--norm group",
    "batch-32": "--batch-size 32 --epochs 10",
}
# The same number of photos seen whatever part of the labels there is.
LABELS = {"10": ("0.1", 120), "25": ("0.25", 48), "100": ("1.0", 12)}
PRETRAINING = {
    f"labels-{percent}{'-pretrained' if pretrained else ''}": (
        f"--label-fraction {part} --epochs {epochs} --warmup-epochs {epochs / 6:g}"
        + (" --init-from {encoder}" if pretrained else "")
    )
    for percent, (part, epochs) in LABELS.items()
    for pretrained in (False, True)
}
RESULTS = Path(__file__).with_suffix(".csv")
STUDIES = {"factors": FACTORS, "pretraining": PRETRAINING}


@dataclasses.dataclass(frozen=True)
class AblationConfig:
    """Train the variants of a study, or print what is known."""

    data: Path | None = None
    """Folder with train/ of class folders."""
    study: Literal["factors", "pretraining"] = "factors"
    """Settings of train.scratch, or with and without train.autoencoder's encoder."""
    encoder: Path | None = None
    """Run folder of train.autoencoder --width 32, for the study of pretraining."""
    only: tuple[str, ...] = ()
    """These variants alone."""
    seeds: tuple[int, ...] = (0,)
    """Each variant once per seed."""
    results: Path = RESULTS
    """The rows."""
    runs: Path = Path("runs/ablation")
    """Where the runs go; they may be deleted when their rows are there."""
    table: bool = False
    """Print the table and train nothing."""


def read_rows(results: Path) -> list[dict[str, str]]:
    """The rows that are there."""
    if not results.is_file():
        return []
    with results.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def train_variant(config: AblationConfig, name: str, flags: str, seed: int) -> dict[str, object]:
    """One training in a process of its own; its row.

    Raises:
        subprocess.CalledProcessError: It failed; its output says why.
    """
    run_dir = config.runs / f"{name}-s{seed}"
    command = [sys.executable, "-m", "train.scratch"]
    if (run_dir / "config.json").is_file():
        command += ["--resume", str(run_dir.resolve())]
    else:
        filled = f"{BUDGET} {flags}".format(encoder=config.encoder and config.encoder.resolve())
        command += ["--data", str(config.data.resolve()), "--run-dir", str(run_dir.resolve())]
        command += ["--seed", str(seed), *filled.split()]
    command += ["--wandb", "disabled"]
    subprocess.run(command, cwd=ROOT, check=True)
    history = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    return {
        "variant": name,
        "seed": seed,
        "flags": flags.replace("{encoder}", "ENCODER"),
        "val_top1": f"{max(record['val/top1'] for record in history):.4f}",
        "val_top5": f"{history[-1]['val/top5']:.4f}",
        "val_loss": f"{history[-1]['val/loss']:.4f}",
        "photos": manifest["metrics"]["val/photos"],
        "minutes": f"{history[-1]['elapsed_seconds'] / 60:.2f}",
        "images_per_second": f"{np.median([r['images_per_second'] for r in history]):.0f}",
        "cores": os.cpu_count(),
        "commit": manifest["versions"]["commit"],
        "date": time.strftime("%Y-%m-%d"),
    }


def append_row(results: Path, row: dict[str, object]) -> None:
    """Add a row, and the head to an empty file."""
    new = not results.is_file()
    with results.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def format_table(rows: list[dict[str, str]]) -> str:
    """Markdown: the mean of each variant over its seeds, and its distance from base."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["variant"]].append(row)
    base = {row["seed"]: float(row["val_top1"]) for row in groups.get("base", [])}
    lines = [
        "| variant | flags | top-1 | against base | seeds | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        top1 = np.array([float(row["val_top1"]) for row in group])
        pairs = [float(row["val_top1"]) - base[row["seed"]] for row in group if row["seed"] in base]
        spread = f" ± {100 * np.std(pairs, ddof=1):.1f}" if len(pairs) > 1 else ""
        gain = f"{100 * np.mean(pairs):+.1f}{spread}" if pairs and name != "base" else ""
        minutes = np.mean([float(row["minutes"]) for row in group])
        lines.append(
            f"| {name} | `{group[0]['flags']}` | {100 * top1.mean():.1f} | {gain} | {len(group)} "
            f"| {minutes:.1f} |"
        )
    return "\n".join(lines)


def main(config: AblationConfig) -> int:
    """Train what is missing, row by row."""
    variants = STUDIES[config.study]
    if unknown := set(config.only) - set(variants):
        print(f"error: no variant {min(unknown)}; there are {', '.join(variants)}", file=sys.stderr)
        return 1
    if not config.table:
        if config.data is None or (config.study == "pretraining" and config.encoder is None):
            need = "--data" if config.data is None else "--encoder"
            print(f"error: {need} is needed to train", file=sys.stderr)
            return 1
        done = {(row["variant"], row["seed"]) for row in read_rows(config.results)}
        for seed in config.seeds:
            for name in config.only or variants:
                if (name, str(seed)) not in done:
                    try:
                        row = train_variant(config, name, variants[name], seed)
                    except subprocess.CalledProcessError as error:
                        print(f"error: {name}, seed {seed}, ended with {error.returncode}")
                        return 1
                    append_row(config.results, row)
    print(format_table(read_rows(config.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(AblationConfig)))
