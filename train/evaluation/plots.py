"""Draw the figures of scored photos."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.evaluation.figure import new_figure
from train.evaluation.metrics import selective_accuracy
from train.evaluation.predictions import Predictions

BLUE, RED, GREY = "#2f6db3", "#c8442f", "#8a8a8a"


def draw_figures(predictions: Predictions, metrics: dict[str, Any]) -> dict[str, Figure]:
    """Draw all figures of a scoring, by name.

    Args:
        predictions: What a model says of labelled photos.
        metrics: What metrics.json holds of it.
    """
    figures = {
        "classes": plot_classes(metrics["classes"], metrics["top1"]),
        "confusion": plot_confusion(predictions),
        "reliability": plot_reliability(metrics),
        "rejection": plot_rejection(predictions, metrics["aurc"]),
    }
    if "known" in metrics:
        figures["open_set"] = plot_open_set(metrics["known"])
    if "robustness" in metrics:
        figures["robustness"] = plot_robustness(metrics["robustness"])
    return figures


def cluster(confusion: np.ndarray) -> list[int]:
    """Order classes so that those which are confused stand side by side.

    Average linkage of the classes, the closer the more often one is taken for the other, with
    leaves in optimal order (Bar-Joseph et al. 2001).

    Args:
        confusion: (K, K) counts, rows the truth, columns the guess.

    Returns:
        Positions of the K classes in that order.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(confusion) < 3:
        return list(range(len(confusion)))
    # Shares, so that a class with many photos is not near to everything; both directions count.
    shares = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    near = shares + shares.T
    np.fill_diagonal(near, 0)
    distances = 1 - near / max(near.max(), 1e-9)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).tolist()


def plain(name: str) -> str:
    """Return a class name that matplotlib does not read as a formula."""
    return name.replace("$", r"\$")


def plot_confusion(predictions: Predictions, title: str = "") -> Figure:
    """Draw the confusion matrix of all classes that have photos or were guessed, clustered.

    Colours are shares of a row. Numbers are photos; classes without a mistake have none.

    Args:
        predictions: What a model says of labelled photos.
        title: Above the matrix.
    """
    confusion = predictions.confusion()
    # A test of a few classes should not show a mostly empty matrix of all.
    seen = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    order = seen[cluster(confusion[np.ix_(seen, seen)])]
    counts = confusion[np.ix_(order, order)]
    names = [plain(predictions.class_names[label]) for label in order]
    side = max(6.0, 2.6 + 0.225 * len(names))  # room for two digits per cell
    figure = new_figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    wrong = ~np.eye(len(names), dtype=bool)
    # Mistakes are rare: half a row of them is full colour.
    for part, colours, full in ((~wrong, "Blues", 1.3), (wrong, "Reds", 0.5)):
        shown = np.ma.masked_where(~part | (counts == 0), shares)
        axes.imshow(shown, colours, vmin=-0.1, vmax=full)
    for row, column in np.argwhere(counts):
        if row != column or shares[row, row] < 1:
            dark = shares[row, column] > (0.7 if row == column else 0.3)
            style = {"ha": "center", "va": "center", "fontsize": 7}
            colour = "white" if dark else "black"
            axes.text(column, row, counts[row, column], color=colour, **style)
    ticks = range(len(names))
    size = 7 if len(names) > 20 else 9
    axes.set_xticks(ticks, names, rotation=90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    # Lines between the squares, not through them.
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.tick_params(top=len(names) > 20, labeltop=len(names) > 20)
    axes.set(xlabel="best guess", ylabel="truth", title=title)
    return figure


def plot_classes(rows: list[dict[str, Any]], top1: float) -> Figure:
    """Draw recall with its interval, precision and F1 of each class that has photos."""
    rows = sorted((row for row in rows if row["photos"]), key=lambda row: (row["f1"], row["class"]))
    figure = new_figure(figsize=(10, 1.2 + 0.21 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    recall = np.array([100 * row["recall"] for row in rows])
    ends = 100 * np.array([row["recall_interval_95"] for row in rows])
    style = {"color": "#b9cfe8", "linewidth": 5, "label": "recall, 95 % interval"}
    axes.hlines(places, ends[:, 0], ends[:, 1], **style)
    axes.plot(recall, places, "o", color=BLUE, label="recall")
    precision = [100 * row["precision"] for row in rows]
    axes.plot(precision, places, "D", color=RED, markersize=5, fillstyle="none", label="precision")
    axes.plot([100 * row["f1"] for row in rows], places, "|", color="black", label="F1")
    axes.axvline(100 * top1, color=GREY, linestyle=":", label="top-1")
    axes.set_yticks(
        places, [f"{plain(row['class'])} ({row['photos']})" for row in rows], fontsize=8
    )
    axes.set(xlabel="%", xlim=(-2, 102), ylim=(-0.7, len(rows) - 0.3))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=5, fontsize=8)
    return figure


def plot_reliability(metrics: dict[str, Any]) -> Figure:
    """Draw accuracy against confidence and how many photos have it, before and after calibration.

    Args:
        metrics: What summarise returns; without figures before calibration, one panel is drawn.
    """
    panels = {"": (metrics["reliability"], metrics["ece"])}
    if "reliability_uncalibrated" in metrics:
        before = metrics["reliability_uncalibrated"], metrics["ece_uncalibrated"]
        panels = {"Before calibration": before, "After": panels[""]}
    figure = new_figure(figsize=(5.4 * len(panels), 5), layout="constrained")
    columns = figure.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=[3, 1])
    for (name, (rows, ece)), (upper, lower) in zip(panels.items(), columns.T, strict=True):
        draw_reliability(upper, lower, rows, ": ".join(filter(None, [name, f"ECE {ece:.1%}"])))
    return figure


def draw_reliability(upper: Axes, lower: Axes, rows: list[dict[str, float]], title: str) -> None:
    """Draw one reliability diagram, and the photos of each bin below it."""
    left = [100 * row["from"] for row in rows]
    width = [100 * (row["to"] - row["from"]) for row in rows]
    style = {"align": "edge", "edgecolor": "white"}
    accuracy = [100 * row["accuracy"] for row in rows]
    upper.bar(left, accuracy, width, color=BLUE, **style, label="accuracy")
    ends = [100 * row["to"] for row in rows]
    confidence = [100 * row["confidence"] for row in rows]
    upper.hlines(confidence, left, ends, color=RED, linewidth=2, label="mean confidence")
    upper.plot([0, 100], [0, 100], ":", color=GREY, label="perfect")
    upper.set(ylabel="accuracy (%)", ylim=(0, 100), title=title)
    upper.legend(loc="upper left", fontsize=8)
    lower.bar(left, [row["photos"] for row in rows], width, color=GREY, **style)
    lower.set(xlabel="confidence (%)", ylabel="photos", xlim=(0, 100))


def plot_rejection(predictions: Predictions, aurc: float) -> Figure:
    """Draw accuracy on the photos that are answered, against the fraction that is not."""
    accuracies = selective_accuracy(predictions.probabilities, predictions.labels).numpy()[::-1]
    count = len(accuracies)
    # The curve's end hangs on a few photos: stop at 90 %.
    accuracies = accuracies[: max(1, round(0.9 * count))]
    rejected = np.arange(len(accuracies)) / count
    # At best all mistakes are rejected before the first right answer.
    right = int(predictions.right().sum())
    best = np.minimum(1, right / (count * (1 - rejected)))
    figure = new_figure(figsize=(5.4, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(100 * rejected, 100 * best, ":", color=GREY, label="best possible")
    axes.plot(100 * rejected, 100 * accuracies, color=BLUE, label="least confident first")
    axes.axhline(100 * accuracies[0], color=GREY, linewidth=0.8, label="by chance")
    title = f"Rejection; area under risk-coverage {100 * aurc:.2f} %"
    axes.set(xlabel="photos left unanswered (%)", ylabel="top-1 on the rest (%)", title=title)
    axes.set_xlim(0, 90)
    axes.set_ylim(top=101)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def plot_robustness(measured: dict[str, Any]) -> Figure:
    """Draw top-1 by severity, one line per corruption."""
    figure = new_figure(figsize=(10, 4.4), layout="constrained")
    axes = figure.subplots()
    for (name, rows), mark in zip(measured["corruptions"].items(), "osD^vPX", strict=False):
        severities = [0, *map(int, rows)]
        top1 = [measured["clean"]["top1"], *(row["top1"] for row in rows.values())]
        axes.plot(severities, [100 * each for each in top1], f"{mark}-", label=name)
    axes.set(xlabel="severity", ylabel="top-1 (%)", xticks=severities, ylim=(0, 101))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_open_set(known: dict[str, Any]) -> Figure:
    """Draw right names of landmarks against wrong names of other photos, one line per kind.

    Args:
        known: What measure_open_set returns.
    """
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    axes = figure.subplots()
    curves, counts = known["curves"], known["kinds"]
    lines = {kind: (curves["kinds"][kind], 1000 / count) for kind, count in counts.items()}
    # Left of a single photo nothing is measured: its line begins there.
    lines["mean of the kinds"] = curves["mean"], 1000 / max(counts.values()) / len(counts)
    for place, (name, (values, first)) in enumerate(lines.items(), 1):
        points = [
            (x, 100 * y) for x, y in zip(curves["per_mille"], values, strict=True) if x >= first
        ]
        mean = {"color": "black", "linewidth": 2.2} if place == len(lines) else {"linewidth": 1.2}
        steps = {"drawstyle": "steps-post", "label": plain(name)}
        axes.plot(*zip(*points, strict=True), **steps, **mean)
    for (name, found), mark in zip(known["thresholds"].items(), "sD^ov", strict=False):
        place = 1000 * found["mean_passes"], 100 * found["right"]
        if place[0] > 0:  # the axis has no 0
            axes.plot(*place, mark, color="black", markersize=7, label=f"at {name}")
    axes.set(
        xscale="log",
        xlim=(curves["per_mille"][0], 1000),
        ylim=(0, 101),
        xlabel="wrong names per 1,000 other photos",
        ylabel="landmark photos named rightly (%)",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure
