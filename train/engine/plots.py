"""Figures of a run, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def plot_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy by epoch.

    Args:
        history: One record per epoch: epoch, train/loss and val/loss in nats, val/top1 and val/top5
            as fractions.
        path: The .png to write.
    """
    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [record["train/loss"] for record in history], "o-", label="training")
    loss.plot(epochs, [record["val/loss"] for record in history], "o-", label="validation")
    loss.set(xlabel="epoch", ylabel="loss (nats)", title="Loss")
    for name, label in (("val/top1", "top-1"), ("val/top5", "top-5")):
        accuracy.plot(epochs, [100 * record[name] for record in history], "o-", label=label)
    accuracy.set(xlabel="epoch", ylabel="validation accuracy (%)", title="Accuracy")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def plot_confusion(confusion: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Share of each class's photos by best guess.

    Args:
        confusion: (K, K) counts, rows the truth, columns the guess.
        class_names: K labels.
        path: The .png to write.
    """
    count = len(class_names)
    side = max(4.0, 2 + 0.2 * count)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), class_names, rotation=90, fontsize=7)
    axes.set_yticks(range(count), class_names, fontsize=7)
    axes.set(xlabel="best guess", ylabel="truth", title="Validation photos, share per row")
    figure.colorbar(picture, shrink=0.6)
    figure.savefig(path, dpi=110)


def draw_rows(rows: dict[str, np.ndarray], title: str) -> Figure:
    """Draw pictures that belong together below each other.

    Args:
        rows: Label of the row -> (B, H, W, 3) float32 in [0, 1]; every row has the same B.
        title: Shown above the rows.
    """
    count = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.5 * count + 0.5, 1.5 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (label, pictures) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(label)
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=10)
    return figure


def plot_importances(importances: dict[str, float], metric: str, trials: int, path: Path) -> None:
    """Draw how much of a search's metric each setting explains.

    Args:
        importances: Setting -> share; the shares add up to 1.
        metric: Name of the metric.
        trials: How many trials the shares were estimated from.
        path: The .png to write.
    """
    names = sorted(importances, key=importances.__getitem__)
    figure = Figure(figsize=(7, 1 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlabel="share of the variance", title=f"{metric}, {trials} trials")
    figure.savefig(path, dpi=110)
