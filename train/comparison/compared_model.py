"""Hold one model of a comparison with all its figures, and write the table of several."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.ticker import EngFormatter
from torch import Tensor

from train.comparison.serving_cost import Size, Speed
from train.evaluation.metrics import bootstrap_interval
from train.evaluation.phrases import percent


@dataclass(frozen=True)
class ComparedModel:
    """Hold one model with everything known of it.

    Attributes:
        name: Name of the run folder, or of a file that lies elsewhere.
        network: What it is, for people.
        pretrained: Whether it began from weights that others trained.
        split: Fingerprint of its training and validation photos; None where not recorded.
        photos: Number of validation photos.
        top1: Fraction of them.
        top5: Fraction of them.
        macro_f1: None where the photos could not be scored here and no figure was recorded.
        ece: Expected calibration error; None in the same case.
        correct: (N,) bool, whether the best guess is right, in the split's order; None where the
            photos could not be scored here.
        size: Parameters, multiply-adds, bytes.
        speed: Times measured on this machine.
        minutes: Duration of the training; None where not recorded.
        epochs: Epochs of the training; None where not recorded.
        images_per_second: Speed of the training; None where not recorded.
    """

    name: str
    network: str
    pretrained: bool
    split: str | None
    photos: int
    top1: float
    top5: float
    macro_f1: float | None
    ece: float | None
    correct: Tensor | None
    size: Size
    speed: Speed
    minutes: float | None
    epochs: int | None
    images_per_second: float | None

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of top1."""
        # The interval depends on the number of hits only, so it needs no photos.
        return bootstrap_interval(torch.arange(self.photos) < round(self.top1 * self.photos))

    def costs(self, other: "ComparedModel") -> tuple[float, ...]:
        """Return everything that it costs, to set against another model.

        Pretrained weights are a cost, too. Training time counts where both models recorded it.
        """
        known = self.minutes is not None and other.minutes is not None
        minutes = self.minutes if known else 0.0
        return self.speed.latency_ms, self.size.file_bytes, minutes, float(self.pretrained)


def write_table(models: Sequence[ComparedModel], path: Path) -> None:
    """Write all figures as numbers, one line per model; empty where not known."""
    rows = []
    for each in models:
        low, high = each.interval
        values = vars(each) | {"top1_low": low, "top1_high": high}
        parts = vars(values.pop("size")) | vars(values.pop("speed"))
        del values["correct"]  # one value per photo does not fit into a cell
        rows.append(values | parts)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def format_table(models: Sequence[ComparedModel]) -> str:
    """Return the Markdown table, the most accurate model first."""
    count = EngFormatter(places=1)

    def show(value: float | None, form: str) -> str:
        return "" if value is None else form.format(value)

    lines = []
    for each in sorted(models, key=lambda each: -each.top1):
        low, high = each.interval
        speed = each.speed
        training = [
            show(each.minutes, "{:.1f} min"),
            show(each.epochs, "{} epochs"),
            show(each.images_per_second, "{:.0f} images/s"),
        ]
        cells = {
            "run": each.name,
            "network": each.network,
            "top-1 (95 % interval)": f"{percent(each.top1)} ({100 * low:.1f} to {100 * high:.1f})",
            "top-5": percent(each.top5),
            "macro F1": "" if each.macro_f1 is None else percent(each.macro_f1),
            "ECE": "" if each.ece is None else percent(each.ece),
            "parameters": count(each.size.parameters),
            "MACs": count(each.size.macs),
            "file": f"{each.size.file_bytes / 1e6:.1f} MB",
            "one photo, median / p95": f"{speed.latency_ms:.1f} / {speed.latency_p95_ms:.1f} ms",
            "in batches": f"{speed.photos_per_second:.0f} photos/s",
            "energy": show(speed.joules_per_photo, "{:.2f} J/photo"),
            "training": ", ".join(filter(None, training)),
        }
        if not lines:
            lines = [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
        lines.append(f"| {' | '.join(cells.values())} |")
    return "\n".join(lines)
