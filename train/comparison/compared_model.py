"""One model of a comparison with all its figures, and the table of several."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.ticker import EngFormatter
from torch import Tensor

from train.comparison.serving_cost import Size, Speed
from train.evaluation.metrics import bootstrap_interval


@dataclass(frozen=True)
class Contender:
    """One model with all that is known of it.

    Attributes:
        name: Of the run folder, or of the file.
        network: What it is, for people.
        pretrained: Whether it began from weights that others trained.
        split: Fingerprint of its training and validation photos; None where not recorded.
        photos: Validation photos.
        top1: Fraction of them.
        top5: Fraction of them.
        macro_f1: None where the photos could not be scored here and no figure was recorded.
        ece: Expected calibration error; None likewise.
        correct: (N,) bool, whether the best guess is right, in the split's order; None likewise.
        size: What it weighs.
        speed: How long it takes here.
        minutes: Of training; None where not recorded.
        epochs: Of training.
        images_per_second: Of training.
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
        """95 % bootstrap interval of top1."""
        return bootstrap_interval(torch.arange(self.photos) < round(self.top1 * self.photos))

    def costs(self, other: "Contender") -> tuple[float, ...]:
        """All that it costs, to set against another: pretrained weights are a cost, too."""
        known = self.minutes is not None and other.minutes is not None
        minutes = self.minutes if known else 0.0
        return self.speed.latency_ms, self.size.file_bytes, minutes, float(self.pretrained)


def write_table(contenders: Sequence[Contender], path: Path) -> None:
    """All figures as numbers, one line per model; empty where not known."""
    rows = []
    for each in contenders:
        low, high = each.interval
        values = vars(each) | {"top1_low": low, "top1_high": high}
        parts = vars(values.pop("size")) | vars(values.pop("speed"))
        del values["correct"]
        rows.append(values | parts)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def format_table(contenders: Sequence[Contender]) -> str:
    """The Markdown table, the most accurate first."""
    count = EngFormatter(places=1)
    head = [
        "run", "network", "top-1 (95 % interval)", "top-5", "macro F1", "ECE", "parameters", "MACs",
        "file", "one photo, median / p95", "in batches", "energy", "training",
    ]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for each in sorted(contenders, key=lambda each: -each.top1):
        low, high = each.interval
        speed = each.speed
        training = [
            f"{value:{style}} {unit}"
            for value, style, unit in (
                (each.minutes, ".1f", "min"), (each.epochs, "d", "epochs"),
                (each.images_per_second, ".0f", "images/s"),
            )
            if value is not None
        ]  # fmt: skip
        cells = [
            each.name,
            each.network,
            f"{percent(each.top1)} ({100 * low:.1f} to {100 * high:.1f})",
            percent(each.top5),
            "" if each.macro_f1 is None else percent(each.macro_f1),
            "" if each.ece is None else percent(each.ece),
            count(each.size.parameters),
            count(each.size.macs),
            f"{each.size.file_bytes / 1e6:.1f} MB",
            f"{speed.latency_ms:.1f} / {speed.latency_p95_ms:.1f} ms",
            f"{speed.photos_per_second:.0f} photos/s",
            "" if speed.joules_per_photo is None else f"{speed.joules_per_photo:.2f} J/photo",
            ", ".join(training),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(fraction: float) -> str:
    """0.956 -> "95.6 %"."""
    return f"{100 * fraction:.1f} %"
