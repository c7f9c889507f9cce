"""Measure how well a known score keeps landmarks apart from everything else (open-set recognition).

R@5 is the measure: the share of landmark photos that get their right name at the threshold at which
5 of 1,000 other photos get any name, every kind of other photos counting the same.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.model_file.verdict import Thresholds
from train.data.outside import ENOUGH, MIN_PHOTOS
from train.evaluation.metrics import percentile_interval
from train.evaluation.predictions import Predictions

PER_MILLE = (20, 5, 2)
"""Other photos per 1,000 that may get a name; the thresholds that reports show."""
SHARES = (0.01, 0.1, 0.5)
"""Fractions of the photos that show a landmark, for the precision of a tag."""
CURVE = tuple(np.geomspace(1, 1000, 61).round(3).tolist())
"""Other photos per 1,000 that may get a name, where the curves of recall are measured."""


def pass_rates(others: Mapping[str, Tensor], threshold: float) -> dict[str, float]:
    """Return the fraction of each kind of other photos that reaches a threshold.

    Args:
        others: Kind -> (M,) known scores, M > 0.
        threshold: A known score.
    """
    return {
        kind: (scores.double() >= threshold).double().mean().item()
        for kind, scores in others.items()
    }


def mean_threshold(others: Mapping[str, Tensor], per_mille: float) -> float:
    """Return the lowest known score that at most per_mille of 1,000 other photos reach.

    Args:
        others: Kind -> (M,) known scores, M > 0; every kind counts the same.
        per_mille: Photos per 1,000, the mean over the kinds.
    """
    scores = np.concatenate([each.double().numpy() for each in others.values()])
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in others.values()])
    order = np.argsort(-scores, kind="stable")
    passing = np.cumsum(weights[order]) / len(others)
    # A hair above what is counted: fractions of kinds do not add up exactly.
    count = int(np.searchsorted(passing, per_mille / 1000 + 1e-12, side="right"))
    return _above(scores[order], count)


def strict_threshold(others: Mapping[str, Tensor], per_mille: float) -> float:
    """Return the lowest known score that at most per_mille of 1,000 photos of *each* kind reach.

    Of a kind with too few photos to measure that, none may reach it.

    Args:
        others: Kind -> (M,) known scores, M > 0.
        per_mille: Photos per 1,000.
    """
    return max(
        _above(np.sort(each.double().numpy())[::-1], int(len(each) * per_mille / 1000))
        for each in others.values()
    )


def recall_at(
    known: Tensor, right: Tensor, others: Mapping[str, Tensor], per_mille: float
) -> float:
    """Return R@per_mille: the fraction of landmark photos named rightly at mean_threshold.

    Args:
        known: (N,) known scores of photos of landmarks.
        right: (N,) bool, whether the best guess is right.
        others: Kind -> (M,) known scores.
        per_mille: Other photos per 1,000 that may get a name.
    """
    return ((known.double() >= mean_threshold(others, per_mille)) & right).double().mean().item()


def recall_intervals(
    known: Tensor,
    right: Tensor,
    others: Mapping[str, Tensor],
    draws: int = 2_000,
    seed: int = 0,
) -> dict[int, tuple[float, float]]:
    """Return the 95 % interval of each R@n of PER_MILLE (percentile bootstrap, Efron 1979).

    The photos of landmarks and those of each kind are resampled, so the interval also holds how
    little a few other photos tell of the threshold.

    Args:
        known: (N,) known scores of photos of landmarks.
        right: (N,) bool, whether the best guess is right.
        others: Kind -> (M,) known scores, M > 0.
        draws: Number of resamples.
        seed: Seed of the resampling.
    """
    rng, count = np.random.default_rng(seed), len(known)
    sizes = [len(each) for each in others.values()]
    scores = np.concatenate([each.double().numpy() for each in others.values()])
    order = np.argsort(-scores, kind="stable")
    named = np.sort(known[right].double().numpy())
    # Fraction of the landmark photos named rightly by a threshold just above each other photo.
    rates = (len(named) - np.searchsorted(named, scores[order], side="right")) / count
    drawn: dict[int, list[np.ndarray]] = {n: [] for n in PER_MILLE}
    for first in range(0, draws, 250):  # (250, M) counts at a time, not (draws, M)
        rows = min(250, draws - first)
        weights = [rng.multinomial(size, np.full(size, 1 / size), rows) / size for size in sizes]
        passing = np.concatenate(weights, axis=1)[:, order].cumsum(1) / len(sizes)
        for n, found in drawn.items():
            stopped = (passing > n / 1000 + 1e-12).argmax(1)
            # Resampling hits with replacement is a binomial draw.
            found.append(rng.binomial(count, rates[stopped]) / count)
    return {n: percentile_interval(np.concatenate(found)) for n, found in drawn.items()}


def tag_precision(named: float, right: float, passing: float, share: float) -> float | None:
    """Return the fraction of the names that are right where a share of the photos shows landmarks.

    Args:
        named: Fraction of the landmark photos that get a name.
        right: Fraction that get the right one.
        passing: Fraction of the other photos that get a name.
        share: Fraction of the photos that show a landmark.

    Returns:
        None where nothing is named.
    """
    names = share * named + (1 - share) * passing
    return share * right / names if names > 0 else None


def wrong_share(
    known: Tensor, right: Tensor, others: Mapping[str, Tensor], low: float, high: float
) -> float | None:
    """Return the fraction of wrong names from one known score up to another.

    Counted as if half of the photos showed a landmark and each kind of other photos were equally
    frequent.

    Args:
        known: (N,) known scores of photos of landmarks.
        right: (N,) bool, whether the best guess is right.
        others: Kind -> (M,) known scores.
        low: The lowest score that counts.
        high: The lowest that does not.
    """
    inside, *others_inside = (
        # In double, as the thresholds are: beside float32 they would be rounded to the score that
        # they lie just above.
        (scores.double() >= low) & (scores.double() < high)
        for scores in (known, *others.values())
    )
    correct = (inside & right).double().mean()
    total = (
        inside.double().mean()
        + torch.stack([each.double().mean() for each in others_inside]).mean()
    )
    return 1 - (correct / total).item() if total > 0 else None


def measure_open_set(
    predictions: Predictions,
    others: Mapping[str, Tensor],
    guesses: Mapping[str, Tensor],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Measure what gets a name, of landmarks and of each kind of other photos.

    Args:
        predictions: What a model file says of photos of landmarks, with known scores.
        others: Kind -> (M,) known scores of other photos, M > 0.
        guesses: Kind -> (M,) int64, their likeliest classes.
        thresholds: Those of the file.

    Returns:
        JSON-ready; docs/evaluation.md says what the keys mean.
    """
    known, right = predictions.known_scores, predictions.right()
    levels = {"maybe": thresholds.maybe, "sure": thresholds.sure}
    if thresholds.sure is None:  # nothing is sure then; without maybe, everything is named
        del levels["sure"]
    levels |= {f"R@{n}": mean_threshold(others, n) for n in PER_MILLE}
    intervals = recall_intervals(known, right, others)

    def draw(some: Mapping[str, Tensor]) -> list[float]:
        return [recall_at(known, right, some, n) for n in CURVE]

    return {
        "kinds": {kind: len(scores) for kind, scores in others.items()},
        "recall_at": {str(n): recall_at(known, right, others, n) for n in PER_MILLE},
        "recall_at_interval_95": {str(n): interval for n, interval in intervals.items()},
        "thresholds": {
            name: describe_names(predictions, others, guesses, level)
            for name, level in levels.items()
        },
        "curves": {
            "per_mille": list(CURVE),
            "mean": draw(others),
            "kinds": {kind: draw({kind: scores}) for kind, scores in others.items()},
        },
    }


def describe_names(
    predictions: Predictions,
    others: Mapping[str, Tensor],
    guesses: Mapping[str, Tensor],
    threshold: float | None,
) -> dict[str, Any]:
    """Say what gets a name where photos of at least this known score do.

    Args:
        predictions: What a model file says of photos of landmarks, with known scores.
        others: Kind -> (M,) known scores of other photos, M > 0.
        guesses: Kind -> (M,) int64, their likeliest classes.
        threshold: None names everything.

    Returns:
        threshold; named and right, fractions of the landmark photos; passes, kind -> fraction, and
        their mean; precision, share of photos with a landmark -> fraction; classes, by name.
    """
    level = -float("inf") if threshold is None else threshold
    labels, classes = predictions.labels, len(predictions.class_names)
    named = predictions.known_scores.double() >= level
    right = named & predictions.right()
    passes = pass_rates(others, level)
    mean = sum(passes.values()) / len(passes)
    fractions = [each.double().mean().item() for each in (named, right)]
    taken = torch.cat([guesses[kind][others[kind].double() >= level] for kind in others])
    counted = (labels, labels[named], labels[right], taken)
    rows = zip(*(each.bincount(minlength=classes).tolist() for each in counted), strict=True)
    return {
        "threshold": threshold,
        "named": fractions[0],
        "right": fractions[1],
        "passes": passes,
        "mean_passes": mean,
        "precision": {str(share): tag_precision(*fractions, mean, share) for share in SHARES},
        "classes": {
            name: {
                "photos": photos,
                "named": some / photos if photos else None,
                "right": hits / photos if photos else None,
                "outside_photos": wrong,
            }
            for name, (photos, some, hits, wrong) in zip(predictions.class_names, rows, strict=True)
        },
    }


def warn_of_small_kinds(counts: Mapping[str, int]) -> list[str]:
    """Say which kinds have too few photos for the figures made of them; one line per reason.

    Args:
        counts: Kind -> its photos that were measured.
    """
    few = [f"{kind} ({count})" for kind, count in counts.items() if count < MIN_PHOTOS]
    small = [f"{kind} ({count})" for kind, count in counts.items() if MIN_PHOTOS <= count < ENOUGH]
    lines = []
    if few:
        lines.append(
            f"fewer than {MIN_PHOTOS} outside photos to measure on: {', '.join(few)}; what is said "
            "of such a kind is chance, yet it counts in the mean as much as any: add photos or "
            "leave it out"
        )
    if small:
        lines.append(
            f"fewer than {ENOUGH} outside photos to measure on: {', '.join(small)}; one photo is "
            "more than 5 in 1,000 of such a kind, so none may pass: add photos"
        )
    return lines


def _above(descending: np.ndarray, count: int) -> float:
    """Return the lowest threshold that at most count of some scores, best first, reach."""
    if count >= len(descending):
        return float(descending[-1])
    return float(np.nextafter(descending[count], np.inf))
