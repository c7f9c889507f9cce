"""Compare trained models side by side: python -m train.compare runs/A runs/B.

The model files are scored and timed as they are served. Test photos are never opened.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from models.command_line import parse_flags
from models.environment import TRAINING
from models.files import check_folder, write_text
from models.model_file.model_path import ModelFileError
from train.comparison.inputs import find_models

if TYPE_CHECKING:
    from train.comparison.compared_model import ComparedModel
    from train.comparison.finished_runs import LoadedRun
    from train.comparison.serving_cost import EnergyMeter

EXAMPLES = (
    "python -m train.compare runs/A runs/B",
    "python -m train.compare runs/* models/bundled/landmarks.pt --out runs/comparison",
)


@dataclass(frozen=True)
class CompareConfig:
    """Compare trained models: accuracy, size, speed, training time, and which to choose when."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders or model files, at least two."""
    out: Path = Path("runs/comparison")
    """Where table.csv, comparison.md and comparison.png go."""


def measure_models(runs: Sequence["LoadedRun"], meter: "EnergyMeter") -> list["ComparedModel"]:
    """Measure everything that is to be known of each model."""
    from train.comparison.compared_model import ComparedModel
    from train.comparison.finished_runs import describe_network, read_figures, read_training
    from train.comparison.serving_cost import measure_size, measure_speed

    figures = read_figures(runs)
    speeds = measure_speed([run.predictor for run in runs], meter)
    models = []
    for run, scored, speed in zip(runs, figures, speeds, strict=True):
        network, pretrained = describe_network(run.predictor.manifest)
        model = ComparedModel(
            name=run.name,
            network=network,
            pretrained=pretrained,
            split=run.fingerprint,
            size=measure_size(run.predictor),
            speed=speed,
            **scored,
            **read_training(run),
        )
        models.append(model)
    return models


def describe_method(models: Sequence["ComparedModel"], meter: "EnergyMeter") -> str:
    """Say how the figures came about, for below the table."""
    import torch

    from train.comparison.serving_cost import BATCH_SIZE, CALLS, PHOTO_PX, ROUNDS, name_cpu

    unscored = [each.name for each in models if each.correct is None]
    height, width = PHOTO_PX
    texts = [
        "Made by `python -m train.compare`. Accuracy: the model files on the validation photos, "
        "test photos unopened; interval: bootstrap; ECE: 15 bins.",
        f"As recorded at export, since the photos are not there: {', '.join(unscored)}."
        if unscored
        else "",
        f"Times: {name_cpu()}, fp32; each file as it is served: through onnxruntime where it has "
        f"an ONNX twin, else through torch {torch.__version__}; decoded photos of {width} x "
        f"{height} px, resize included, {ROUNDS * CALLS} calls; {ROUNDS} batches of {BATCH_SIZE} "
        "photos of the side that the network sees; the models in turn.",
        "MACs: of the network only, for one photo.",
        "Training: as each run recorded it on its machine, without validation.",
        "Energy: CPU packages, one photo at a time, everything else on the machine included."
        if meter.packages
        else "Energy: not readable here (no powercap counters).",
    ]
    return " ".join(filter(None, texts))


def plot_fronts(models: Sequence["ComparedModel"], path: Path) -> str:
    """Draw accuracy against each cost; return the sentence that names the fronts."""
    from train.comparison.pareto import draw_fronts

    costs = {
        "one photo on the CPU (ms)": [each.speed.latency_ms for each in models],
        "model file (MB)": [each.size.file_bytes / 1e6 for each in models],
        "training (minutes)": [each.minutes for each in models],
    }
    costs = {label: values for label, values in costs.items() if any(values)}
    names = [each.name for each in models]
    intervals = [each.interval for each in models]
    figure, fronts = draw_fronts(names, [each.top1 for each in models], intervals, costs)
    figure.savefig(path, dpi=110)
    shown = "; ".join(f"{label}: {', '.join(front)}" for label, front in fronts.items())
    return f"Pareto front, the cheapest first, by {shown}."


def compare(config: CompareConfig) -> str:
    """Measure, write everything to config.out, and return the Markdown text.

    Raises:
        DataError: Runs that cannot be compared.
        ModelFileError: A model file that is missing or damaged.
    """
    from train.comparison.advice import advise, find_mismatch
    from train.comparison.compared_model import format_table, write_table
    from train.comparison.finished_runs import load_runs
    from train.comparison.serving_cost import EnergyMeter

    runs, meter = load_runs(config.runs), EnergyMeter.find()
    models = measure_models(runs, meter)
    config.out.mkdir(parents=True, exist_ok=True)
    picture = config.out / "comparison.png"
    write_table(models, config.out / "table.csv")
    parts = [format_table(models), describe_method(models, meter)]
    if mismatch := find_mismatch(models):
        picture.unlink(missing_ok=True)  # of an earlier comparison, whose models differ
        print(f"warning: {mismatch}", file=sys.stderr)
        parts.append(f"**Warning:** {mismatch}.")
    else:
        fronts = plot_fronts(models, picture)
        parts += [f"![Validation top-1 against cost]({picture.name})", fronts, advise(models)]
    text = "\n\n".join(parts) + "\n"
    write_text(config.out / "comparison.md", text)
    return text


def main(config: CompareConfig) -> int:
    """Compare and print."""
    status = 2
    try:
        find_models(config.runs)  # mistyped paths are told before the seconds that torch takes
        check_folder(config.out, "--out")
        status = 1
        print(compare(config))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ModelFileError) else status  # also one that is damaged
    print(f"written to {config.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(CompareConfig, "python -m train.compare", EXAMPLES, TRAINING)))
