"""Landmark or something else: the score that tells known landmarks from all other photos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.classifier import KnownScore
from models.photos import PHOTO_EXTENSIONS

ACCEPTED = 0.95
"""Part of the photos of known landmarks that the threshold lets through."""
MIN_PHOTOS = 20
FOLDS = 5
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)
LOGIT_WEIGHT = 5.0
"""How much less the largest logit is penalised than a feature: it alone tells most."""


@dataclass(frozen=True)
class KnownFit:
    """A fitted score and its threshold.

    Attributes:
        score: What the model file computes.
        threshold: Photos that score at least this count as known.
        figures: Of photos that did not teach the score they were given (cross-validation), where
            there are photos of other things: auroc and fpr95; and how many of each there were.
    """

    score: KnownScore
    threshold: float
    figures: dict[str, float]


def find_outside(folder: Path, half: str) -> list[Path]:
    """Photos of none of the landmarks: half A for learning, half B for measuring.

    Args:
        folder: Searched at any depth.
        half: "A" is every other photo in the order of their paths, from the first; "B" the rest.

    Raises:
        ValueError: There is no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder of outside photos at {folder}")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_EXTENSIONS)
    if not paths:
        raise ValueError(f"no photos in {folder}; expected photos of none of the landmarks")
    return paths["AB".index(half) :: 2]


def detection_figures(known: Tensor, other: Tensor) -> dict[str, float]:
    """How well scores tell photos of known landmarks from others.

    Args:
        known: (N,) float32, scores of photos of known landmarks.
        other: (M,) float32, of photos of anything else.

    Returns:
        auroc, the probability that a known photo scores higher than another one (ties count
        half); fpr95, the part of the others above the score that 95 % of the known ones reach.
    """
    from sklearn.metrics import roc_auc_score

    truth = torch.cat([torch.ones(len(known)), torch.zeros(len(other))])
    reached = torch.quantile(known.double(), 1 - ACCEPTED)
    return {
        "auroc": float(roc_auc_score(truth, torch.cat([known, other]))),
        "fpr95": (other >= reached).double().mean().item(),
    }


def measure_known(
    known: Tensor, right: Tensor, other: Tensor, threshold: float | None
) -> dict[str, float]:
    """What a known score and its threshold are worth on photos that taught neither.

    Args:
        known: (N,) float32, scores of photos of known landmarks.
        right: (N,) bool, whether the best guess on each is the truth.
        other: (M,) float32, scores of photos of anything else.
        threshold: Of the model file; none accepts all.

    Returns:
        auroc and fpr95 as detection_figures; the parts of both kinds that are accepted, top-1 on
        the accepted known photos and on the rejected ones; and the counts.
    """
    level = -float("inf") if threshold is None else threshold
    accepted = known >= level
    return {
        **detection_figures(known, other),
        "accepted": accepted.double().mean().item(),
        "outside_accepted": (other >= level).double().mean().item(),
        "top1_on_accepted": right[accepted].double().mean().item(),
        "top1_on_rejected": right[~accepted].double().mean().item() if (~accepted).any() else None,
        "photos": len(known),
        "outside_photos": len(other),
    }


def fit_known(
    features: Tensor,
    logits: Tensor,
    outside: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> KnownFit:
    """Learn the score where there are photos of other things, and set its threshold.

    A logistic regression (outlier exposure, Hendrycks et al. 2019) on the direction of the
    features and the largest logit. Its strength is chosen, and the threshold set, by
    cross-validation, since photos score too well under a score that they taught.

    Args:
        features: (B, C) float32 of validation photos, averaged over each photo.
        logits: (B, K) float32 of the same.
        outside: Features and logits of photos of other things; none, or fewer than 20 of either
            kind, leaves the largest logit alone.
        seed: Of the folds.

    Returns:
        The score, and the threshold that 95 % of the validation photos reach.
    """
    if outside is None or min(len(features), len(outside[0])) < MIN_PHOTOS:
        scores = logits.amax(1).double()
        return KnownFit(KnownScore(), torch.quantile(scores, 1 - ACCEPTED).item(), {})
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    columns = torch.cat([describe(features, logits), describe(*outside)]).double().numpy()
    truth = np.r_[np.ones(len(features)), np.zeros(len(outside[0]))]
    mean, scale = columns.mean(0), columns.std(0).clip(min=1e-9)
    scale[-1] /= LOGIT_WEIGHT
    columns = (columns - mean) / scale
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    best: tuple[dict[str, float], Tensor, LogisticRegression] | None = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000)
        scores = torch.from_numpy(
            cross_val_predict(model, columns, truth, cv=folds, method="decision_function")
        )
        figures = detection_figures(scores[truth == 1], scores[truth == 0])
        if best is None or figures["auroc"] > best[0]["auroc"]:
            best = figures, scores[truth == 1], model
    figures, scores, model = best
    model.fit(columns, truth)
    weights = model.coef_[0] / scale
    bias = float(model.intercept_[0] - (weights * mean).sum())
    counts = {"photos": len(features), "outside_photos": len(outside[0])}
    return KnownFit(
        KnownScore(float(weights[-1]), tuple(weights[:-1].tolist()), bias),
        torch.quantile(scores, 1 - ACCEPTED).item(),
        figures | counts,
    )


def describe(features: Tensor, logits: Tensor) -> Tensor:
    """(B, C) and (B, K) -> (B, C + 1): the direction of the features, and the largest logit."""
    return torch.cat([normalize(features, dim=1), logits.amax(1, keepdim=True)], dim=1)
