"""Figures of a classifier, as pure functions of logits (or log-probabilities) and labels."""

import torch
from torch import Tensor


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int = 5) -> float:
    """Fraction of images whose true landmark is among the k best guesses.

    Args:
        logits: (B, K) float, any scale; only the order per row matters.
        labels: (B,) int64 in [0, K).
        k: Guesses allowed, at least 1; more than K count as K.

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
    """The loss in nats (no smoothing), top1 and top5 in [0, 1], of (B, K) logits."""
    return {
        "loss": torch.nn.functional.cross_entropy(logits, labels).item(),
        "top1": top_k_accuracy(logits, labels, 1),
        "top5": top_k_accuracy(logits, labels, 5),
    }


def bootstrap_interval(
    correct: Tensor, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of an accuracy (Efron 1979).

    Args:
        correct: (B,) bool, one per image.
        draws: Resamples.
        level: Coverage in (0, 1).
        seed: Of the resampling.

    Returns:
        Lower and upper end, fractions in [0, 1].
    """
    count = len(correct)
    # Resampling hits with replacement is a binomial draw.
    generator = torch.Generator().manual_seed(seed)
    rate = correct.double().mean().expand(draws)
    means = torch.binomial(torch.full((draws,), float(count)).double(), rate, generator) / count
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, on average (Guo et al. 2017).

    Args:
        probabilities: (B, K) float32, rows sum to 1.
        labels: (B,) int64 in [0, K).
        bins: Equal-width bins of the largest probability.

    Returns:
        Fraction in [0, 1]; 0 is perfectly calibrated.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    classes = probabilities.shape[1]
    return multiclass_calibration_error(
        probabilities.clamp(0, 1), labels, classes, n_bins=bins, norm="l1"
    ).item()


def macro_f1(probabilities: Tensor, labels: Tensor) -> float:
    """F1 of each class that has photos or was guessed, averaged with equal weight, in [0, 1]."""
    from sklearn.metrics import f1_score

    guesses = probabilities.argmax(1)
    return float(f1_score(labels, guesses, average="macro", zero_division=0.0))
