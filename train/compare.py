"""Trained models side by side: python -m train.compare runs/A runs/B.

The model files are scored and timed as they are served. Test photos are never opened.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from models.files import write_text
from train.comparison.advice import advise, find_mismatch
from train.comparison.compared_model import Contender, format_table, write_table
from train.comparison.finished_runs import (
    Opened,
    describe_network,
    open_models,
    read_figures,
    read_training,
)
from train.comparison.pareto import draw_fronts
from train.comparison.serving_cost import (
    BATCH_SIZE,
    CALLS,
    PHOTO_PX,
    ROUNDS,
    EnergyMeter,
    measure_size,
    measure_speed,
    name_cpu,
)


@dataclass(frozen=True)
class CompareConfig:
    """Compare trained models: accuracy, size, speed, training time, and which to choose when."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders or model files, at least two."""
    out: Path = Path("runs/comparison")
    """Where table.csv, comparison.md and comparison.png go."""


def build_contenders(models: Sequence[Opened], meter: EnergyMeter) -> list[Contender]:
    """Measure all that is to be known of each model."""
    figures = read_figures(models)
    speeds = measure_speed([model.predictor for model in models], meter)
    contenders = []
    for model, scored, speed in zip(models, figures, speeds, strict=True):
        network, pretrained = describe_network(model.predictor.manifest)
        contenders.append(Contender(
            name=model.name, network=network, pretrained=pretrained, split=model.fingerprint,
            size=measure_size(model.predictor), speed=speed, **scored, **read_training(model),
        ))  # fmt: skip
    return contenders


def describe_method(contenders: Sequence[Contender], meter: EnergyMeter) -> str:
    """How the figures came about, for below the table."""
    lone = [each.name for each in contenders if each.correct is None]
    height, width = PHOTO_PX
    texts = [
        "Made by `python -m train.compare`. Accuracy: the model files on the validation photos, "
        "test photos unopened; interval: bootstrap; ECE: 15 bins.",
        f"As recorded at export, since the photos are not there: {', '.join(lone)}."
        if lone
        else "",
        f"Times: {name_cpu()}, torch {torch.__version__}, fp32; decoded photos of {width} x "
        f"{height} px, resize included, {ROUNDS * CALLS} calls; {ROUNDS} batches of {BATCH_SIZE} "
        "photos of the side that the network sees; the models in turn.",
        "MACs: of the network alone, one photo.",
        "Training: as each run recorded it on its machine, without validation.",
        "Energy: CPU packages, one photo at a time, all else on the machine included."
        if meter.packages
        else "Energy: not readable here (no powercap counters).",
    ]
    return " ".join(filter(None, texts))


def plot_fronts(contenders: Sequence[Contender], path: Path) -> str:
    """Draw accuracy against each cost; returns the sentence that names the fronts."""
    costs = {
        "one photo on the CPU (ms)": [each.speed.latency_ms for each in contenders],
        "model file (MB)": [each.size.file_bytes / 1e6 for each in contenders],
        "training (minutes)": [each.minutes for each in contenders],
    }
    costs = {label: values for label, values in costs.items() if any(values)}
    names = [each.name for each in contenders]
    intervals = [each.interval for each in contenders]
    figure, fronts = draw_fronts(names, [each.top1 for each in contenders], intervals, costs)
    figure.savefig(path, dpi=110)
    shown = "; ".join(f"{label}: {', '.join(front)}" for label, front in fronts.items())
    return f"Pareto front, the cheapest first, by {shown}."


def compare(config: CompareConfig) -> str:
    """Measure, and write everything to config.out; returns the Markdown text.

    Raises:
        DataError: Runs that cannot be compared.
        ModelFileError: A model file that is missing or damaged.
    """
    models, meter = open_models(config.runs), EnergyMeter.find()
    contenders = build_contenders(models, meter)
    config.out.mkdir(parents=True, exist_ok=True)
    picture = config.out / "comparison.png"
    write_table(contenders, config.out / "table.csv")
    parts = [format_table(contenders), describe_method(contenders, meter)]
    if mismatch := find_mismatch(contenders):
        picture.unlink(missing_ok=True)  # of an earlier comparison
        print(f"warning: {mismatch}", file=sys.stderr)
        parts.append(f"**Warning:** {mismatch}.")
    else:
        fronts = plot_fronts(contenders, picture)
        parts += [f"![Validation top-1 against cost]({picture.name})", fronts, advise(contenders)]
    text = "\n\n".join(parts) + "\n"
    write_text(config.out / "comparison.md", text)
    return text


def main(config: CompareConfig) -> int:
    """Compare and print."""
    try:
        print(compare(config))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {config.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(CompareConfig, prog="python -m train.compare")))
