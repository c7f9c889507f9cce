"""Sum up one scoring of labelled photos: everything that metrics.json holds of it."""

from typing import Any

import numpy as np

from train.evaluation.metrics import (
    bootstrap_draws,
    bootstrap_interval,
    percentile_interval,
    reliability,
    selective_accuracy,
    wilson_interval,
)
from train.evaluation.predictions import Predictions

REJECTED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Fractions of the photos that the report shows left unanswered."""
CONFIDENT = 0.9
"""From this confidence on, a mistake counts as a confident one."""


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Compute figures with intervals, classes, pairs, calibration and rejection, JSON-ready.

    Intervals hold with 95 %: bootstrap over photos, and Wilson's for a single class. Everything
    is a fraction, but the loss, in nats.
    """
    from sklearn.metrics import precision_recall_fscore_support

    probabilities, labels = predictions.probabilities, predictions.labels
    confidences, guesses = probabilities.max(1)
    right = predictions.right()
    precision, recall, _, _ = precision_recall_fscore_support(
        labels, guesses, average="macro", zero_division=0.0
    )
    top5 = probabilities.topk(min(5, probabilities.shape[1]), 1).indices == labels[:, None]
    drawn = {
        name: percentile_interval(values)
        for name, values in bootstrap_draws(probabilities, labels).items()
    }
    accuracies = selective_accuracy(probabilities, labels)  # of the 1, 2, ... surest photos
    wrong = ~right
    figures = predictions.figures()
    before = {}  # a file without logits cannot be shown before its calibration
    if predictions.logits is not None:
        raw = predictions.uncalibrated()
        before = {
            "ece_uncalibrated": raw.figures()["ece"],
            "reliability_uncalibrated": reliability(raw.probabilities, labels),
        }
    return {
        "photos": len(labels),
        **figures,
        "top1_interval_95": bootstrap_interval(right),
        "intervals_95": {
            "top1": bootstrap_interval(right),
            "top5": bootstrap_interval(top5.any(1)),
            **drawn,
        },
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "mean_confidence": confidences.mean().item(),
        "overconfidence": confidences.mean().item() - figures["top1"],
        "aurc": 1 - accuracies.mean().item(),
        "mistakes": int(wrong.sum()),
        "confident_mistakes": int((wrong & (confidences >= CONFIDENT)).sum()),
        "mistakes_in_top5": int((wrong & top5.any(1)).sum()),
        "recall_per_class": {
            row["class"]: row["recall"] for row in predictions.per_class() if row["photos"]
        },
        "classes": describe_classes(predictions),
        "confused_pairs": confused_pairs(predictions),
        "reliability": reliability(probabilities, labels),
        **before,
        "rejection": [
            reject(accuracies.numpy(), confidences.sort(descending=True).values.numpy(), share)
            for share in REJECTED
        ],
    }


def describe_classes(predictions: Predictions) -> list[dict[str, Any]]:
    """Return for each class: photos, guesses, hits, figures, and what it is most taken for."""
    confusion = predictions.confusion()
    mistakes = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
    names = predictions.class_names
    rows = []
    for row in predictions.per_class():
        label = names.index(row["class"])
        # The argmax of a row without mistakes is class 0: its count of 0 tells.
        hits, other = int(confusion[label, label]), int(mistakes[label].argmax())
        taken = int(mistakes[label, other])
        described = {
            **row,
            "guesses": int(confusion[:, label].sum()),
            "right": hits,
            "recall_interval_95": wilson_interval(hits, row["photos"]) if row["photos"] else None,
            "taken_for": names[other] if taken else None,
            "taken_for_photos": taken,
        }
        rows.append(described)
    return rows


def confused_pairs(predictions: Predictions, count: int = 20) -> list[dict[str, Any]]:
    """Find the pairs of classes that are most often confused, the most mistakes first.

    Args:
        predictions: What the model says of all photos.
        count: How many pairs to return at most.

    Returns:
        The two classes, their photos, and the mistakes in both directions: the first taken for the
        second, which is the more frequent, then the second for the first.
    """
    confusion, names = predictions.confusion(), predictions.class_names
    pairs = []
    for a, b in zip(*np.triu_indices(len(names), 1), strict=True):
        if confusion[a, b] < confusion[b, a]:
            a, b = b, a
        if confusion[a, b]:
            pair = {
                "classes": [names[a], names[b]],
                "photos": [int(confusion[a].sum()), int(confusion[b].sum())],
                "mistakes": [int(confusion[a, b]), int(confusion[b, a])],
            }
            pairs.append(pair)
    return sorted(pairs, key=lambda pair: -sum(pair["mistakes"]))[:count]


def reject(accuracies: np.ndarray, confidences: np.ndarray, share: float) -> dict[str, float]:
    """Compute what leaving the least certain photos unanswered gives.

    Args:
        accuracies: (N,) accuracy on the 1, 2, ..., N most certain photos.
        confidences: (N,) confidence of each photo, in that order.
        share: Fraction of photos to leave unanswered, below 1.

    Returns:
        The fraction left out after rounding to photos, the accuracy on the rest, and the lowest
        confidence among them.
    """
    kept = max(1, round(len(accuracies) * (1 - share)))
    return {
        "rejected": 1 - kept / len(accuracies),
        "accuracy": float(accuracies[kept - 1]),
        "least_confidence": float(confidences[kept - 1]),
    }
