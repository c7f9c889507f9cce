"""Figures of a run, as pictures."""

from pathlib import Path

from matplotlib.figure import Figure


def plot_curves(history: list[dict[str, float]], path: Path) -> None:
    """Loss and accuracy by epoch.

    Args:
        history: One record per epoch: epoch, train/loss, val/loss (nats), val/top1, val/top5.
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
