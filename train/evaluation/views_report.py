"""The part of the evaluation report on bad photos and on several views of a photo."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from models.photos import read_photo
from train.evaluation.corruptions import SIDE_PX, corrupt, shrink
from train.evaluation.html import show_figure, show_image, table
from train.evaluation.phrases import percent, plural
from train.evaluation.predictions import Predictions
from train.evaluation.variants import SEED, ViewScores


def robustness(
    data: Path,
    predictions: Predictions,
    measured: dict[str, Any],
    figures: dict[str, bytes],
    scores: ViewScores | None,
) -> Iterator[str]:
    """Top-1 under each corruption, and what they look like."""
    yield (
        f"<h2>Bad photos</h2><p>The same {plural(measured['photos'], 'photo')} made worse, in the "
        "manner of ImageNet-C (Hendrycks and Dietterich 2019); severity 0 is the photo itself, "
        f"{percent(measured['clean']['top1'])}.</p>"
    )
    yield show_figure(figures["robustness"], "Top-1 by severity")
    rows = []
    for name, severities in measured["corruptions"].items():
        for severity, row in severities.items():
            low, high = (100 * end for end in row["top1_change_interval_95"])
            change = 100 * (row["top1"] - measured["clean"]["top1"])
            rows.append([
                name, severity, row["strength"], percent(row["top1"]), f"{change:+.1f}",
                f"{low:+.1f} to {high:+.1f}", percent(row["top5"]), percent(row["ece"]),
            ])  # fmt: skip
    head = ["corruption", "severity", "strength", "top-1", "change, points", "95 % interval",
            "top-5", "calibration error"]  # fmt: skip
    yield f"<details><summary>As a table</summary>{table(head, rows)}</details>"
    if scores is not None:
        yield samples(data, predictions, scores)


def samples(data: Path, predictions: Predictions, scores: ViewScores) -> str:
    """One photo under every corruption, with the model's answer."""
    labels = predictions.labels[scores.photos]
    right = (scores.clean.argmax(1) == labels).nonzero().flatten().tolist()
    place = right[0] if right else 0  # photos came in a drawn order
    path = predictions.photos[scores.photos[place]]
    image = shrink(read_photo(data / path, SIDE_PX))

    def show(worse: np.ndarray, title: str, probabilities: Tensor) -> str:
        confidence, guess = probabilities[place].max(0)
        answer = f"{predictions.class_names[guess]} {percent(confidence.item(), 0)}"
        return show_image(worse, f"{title}: {answer}", "" if guess == labels[place] else "wrong")

    rows = {"": [show(image, "untouched", scores.clean)]}
    for (name, severity), probabilities in scores.corrupted.items():
        worse = corrupt(image, name, severity, path, SEED)
        rows.setdefault(name, []).append(show(worse, f"{name} {severity}", probabilities))
    truth = predictions.class_names[labels[place]]
    lines = [f'<div class="row">{"".join(shown)}</div>' for shown in rows.values()]
    return (
        f"<h3>{html.escape(truth)}, made worse</h3><p>Framed: wrong.</p>"
        f'<div class="sides">{"".join(lines)}</div>'
    )


def tta(measured: dict[str, Any]) -> Iterator[str]:
    """What averaging views gains and costs."""
    yield (
        "<h2>Several views of a photo</h2><p>Probabilities averaged over "
        f"{measured['views']} views: the photo, its corners and its middle, each also mirrored; "
        f"{plural(measured['photos'], 'photo')}. The page and the model file do not do this.</p>"
    )
    names = [("top1", "top-1"), ("top5", "top-5"), ("macro_f1", "macro F1"),
             ("ece", "calibration error")]  # fmt: skip
    rows = [
        [name, percent(measured["without"][key]), percent(measured["with"][key]),
         f"{100 * (measured['with'][key] - measured['without'][key]):+.1f} points"]
        for key, name in names
    ]  # fmt: skip
    low, high = (100 * end for end in measured["top1_gain_interval_95"])
    rows[0][3] += f" (95 % interval {low:+.1f} to {high:+.1f})"
    one, all_views = measured["milliseconds"]
    rows.append(
        [
            "time a photo",
            f"{one:.0f} ms",
            f"{all_views:.0f} ms",
            f"{measured['cost_factor']:.1f} times",
        ]
    )
    yield table(["", "one view", f"{measured['views']} views", "difference"], rows)
