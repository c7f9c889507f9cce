"""Measure how well a known score keeps landmarks apart from everything else (open-set recognition).

R@5 is the measure: the share of landmark photos that get their right name at the threshold at which
5 of 1,000 other photos get any name, every kind of other photos counting the same.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

PER_MILLE = (20, 5, 2)
"""Other photos per 1,000 that may get a name; the thresholds that reports show."""
SHARES = (0.01, 0.1, 0.5)
"""Fractions of the photos that show a landmark, for the precision of a tag."""


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
    inside = (known >= low) & (known < high)
    others_inside = torch.stack(
        [((each >= low) & (each < high)).double().mean() for each in others.values()]
    ).mean()
    correct = (inside & right).double().mean()
    total = inside.double().mean() + others_inside
    return 1 - (correct / total).item() if total > 0 else None


def _above(descending: np.ndarray, count: int) -> float:
    """Return the lowest threshold that at most count of some scores, best first, reach."""
    if count >= len(descending):
        return float(descending[-1])
    return float(np.nextafter(descending[count], np.inf))
