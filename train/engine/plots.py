"""Figures of a run, as pictures."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from train.evaluation.figure import new_figure


def plot_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy by epoch.

    Args:
        history: One record per epoch: epoch, train/loss and val/loss in nats, val/top1 and val/top5
            as fractions.
        path: The .png to write.
    """
    epochs = [record["epoch"] for record in history]
    figure = new_figure(figsize=(10, 4), layout="constrained")
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


def draw_rows(rows: dict[str, np.ndarray], title: str) -> Figure:
    """Draw pictures that belong together below each other.

    Args:
        rows: Label of the row -> (B, H, W, 3) float32 in [0, 1]; every row has the same B.
        title: Shown above the rows.
    """
    count = len(next(iter(rows.values())))
    figure = new_figure(figsize=(1.5 * count + 0.5, 1.5 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (label, pictures) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(label)
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=10)
    return figure
