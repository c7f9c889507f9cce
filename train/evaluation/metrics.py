"""Compute figures of a classifier: pure functions of logits or probabilities, and labels."""

import numpy as np
import torch
from torch import Tensor


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int = 5) -> float:
    """Return the fraction of images whose true landmark is among the k best guesses.

    Args:
        logits: (B, K) float, any scale; only the order per row matters.
        labels: (B,) int64 in [0, K).
        k: Guesses allowed, at least 1; more than K means K.

    Returns:
        Fraction in [0, 1]; the mean over the batch.

    Raises:
        ValueError: If B is 0 or k is below 1.
    """
    if len(labels) == 0 or k < 1:
        raise ValueError(f"need at least one image and k >= 1, got {len(labels)} and {k}")
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(dim=1).float().mean().item()


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return loss in nats (no smoothing), top1 and top5 in [0, 1], of (B, K) logits."""
    return {
        "loss": torch.nn.functional.cross_entropy(logits, labels).item(),
        "top1": top_k_accuracy(logits, labels, 1),
        "top5": top_k_accuracy(logits, labels, 5),
    }


def bootstrap_interval(
    correct: Tensor, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of an accuracy (Efron 1979).

    Args:
        correct: (B,) bool, one per image.
        draws: Number of resamples.
        level: Coverage in (0, 1).
        seed: Seed of the resampling.

    Returns:
        Lower and upper end, fractions in [0, 1].
    """
    count = len(correct)
    # Resampling hits with replacement is a binomial draw: no (draws, B) array is needed.
    generator = torch.Generator().manual_seed(seed)
    rate = correct.double().mean().expand(draws)
    means = torch.binomial(torch.full((draws,), float(count)).double(), rate, generator) / count
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return how far confidence and accuracy lie apart, on average (Guo et al. 2017).

    Args:
        probabilities: (B, K) float32, rows sum to 1.
        labels: (B,) int64 in [0, K).
        bins: Number of equal-width bins of the largest probability.

    Returns:
        Fraction in [0, 1]; 0 is perfectly calibrated.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    classes = probabilities.shape[1]
    # A softmax in float32 may exceed 1 by a rounding error, which torchmetrics takes for logits.
    return multiclass_calibration_error(
        probabilities.clamp(0, 1), labels, classes, n_bins=bins, norm="l1"
    ).item()


def macro_f1(probabilities: Tensor, labels: Tensor) -> float:
    """Return F1 in [0, 1], averaged over the classes that have photos or were guessed."""
    from sklearn.metrics import f1_score

    guesses = probabilities.argmax(1)
    return float(f1_score(labels, guesses, average="macro", zero_division=0.0))


def bootstrap_difference(
    before: Tensor, after: Tensor, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of an accuracy gain on the same photos (paired).

    Args:
        before: (B,) bool, whether each image was right.
        after: (B,) bool, the same of another model or of changed images.
        draws: Number of resamples.
        level: Coverage in (0, 1).
        seed: Seed of the resampling.

    Returns:
        Lower and upper end of after minus before, fractions in [-1, 1].
    """
    count = len(before)
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    # Resampling images that won, lost or stayed is a multinomial draw.
    shares = [won / count, lost / count, (count - won - lost) / count]
    drawn = np.random.default_rng(seed).multinomial(count, shares, draws)
    return percentile_interval((drawn[:, 0] - drawn[:, 1]) / count, level)


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the lower and upper end of the middle that holds this share of drawn values."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return low, high


def bootstrap_draws(
    probabilities: Tensor, labels: Tensor, draws: int = 2_000, bins: int = 15, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return figures of resampled photos (Efron 1979), all from the same resamples.

    Args:
        probabilities: (B, K) float32, rows sum to 1.
        labels: (B,) int64 in [0, K).
        draws: Number of resamples.
        bins: Number of bins of the calibration error.
        seed: Seed of the resampling.

    Returns:
        macro_f1, ece and overconfidence (mean confidence minus accuracy), (draws,) float64 each.
        The calibration error of a resample is too high on average: noise adds to it.
    """
    count, classes = probabilities.shape
    confidences, guesses = probabilities.max(1)
    right = (guesses == labels).double()
    gaps = confidences.clamp(0, 1).double() - right
    truth, guessed = (torch.nn.functional.one_hot(each, classes) for each in (labels, guesses))
    hits, places = truth * guessed, confidence_bins(confidences, bins)
    binned = torch.nn.functional.one_hot(places, bins + 1) * gaps[:, None]
    # Every figure comes from sums over photos, so a resample is one row of a matrix product:
    # 2,000 draws of a thousand photos take a fraction of a second instead of minutes.
    columns = torch.cat([gaps[:, None], binned, truth + guessed, hits], 1).numpy()
    rng, sums = np.random.default_rng(seed), []
    for first in range(0, draws, 250):  # (250, B) counts at a time, not (draws, B)
        size = min(250, draws - first)
        sums.append(rng.multinomial(count, np.full(count, 1 / count), size) @ columns)
    gap, binned, either, hits = np.split(
        np.concatenate(sums), [1, bins + 2, bins + 2 + classes], axis=1
    )
    f1 = 2 * hits / np.maximum(either, 1)
    return {
        "macro_f1": f1.sum(1) / (either > 0).sum(1),
        "ece": np.abs(binned).sum(1) / count,
        "overconfidence": gap[:, 0] / count,
    }


def confidence_bins(confidences: Tensor, bins: int = 15) -> Tensor:
    """Return the bin of each confidence, numbered as torchmetrics does: 1.0 is in bin `bins`."""
    edges = torch.linspace(0, 1, bins + 1)
    return torch.bucketize(confidences.clamp(0, 1), edges, right=True) - 1


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 15) -> list[dict[str, float]]:
    """Return photos, mean confidence and accuracy of each bin of confidence that has photos."""
    confidences, guesses = probabilities.max(1)
    right, places = guesses == labels, confidence_bins(confidences, bins).clamp(max=bins - 1)
    rows = []
    for place in places.unique().tolist():
        inside = places == place
        row = {
            "from": place / bins,
            "to": (place + 1) / bins,
            "photos": int(inside.sum()),
            "confidence": confidences[inside].mean().item(),
            "accuracy": right[inside].float().mean().item(),
        }
        rows.append(row)
    return rows


def selective_accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) float64, the accuracy on the 1, 2, ..., B photos with the surest guesses.

    One minus its mean is the area under the risk-coverage curve (Geifman et al. 2019).
    """
    confidences, guesses = probabilities.max(1)
    right = (guesses == labels)[confidences.argsort(descending=True, stable=True)].double()
    return right.cumsum(0) / torch.arange(1, len(labels) + 1)


def wilson_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of a fraction that holds for few photos, and at 0 or 1 (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)
