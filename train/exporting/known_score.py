"""Landmark or something else: the score that tells known landmarks from all other photos."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn.functional import normalize

from models.model_file.classifier import KnownScore, find_shortfall, log_odds
from models.photos import PHOTO_EXTENSIONS

ACCEPTED = 0.95
"""Part of the photos of known landmarks that the threshold lets through."""
PROTOTYPES, PROTOTYPE_PHOTOS = 2, 100
"""Per class; and from how many of its training photos, at most."""
MIN_SHARE = 0.2
"""Of a class's photos that a prototype stands for: a few odd ones, such as drawings, get none, else
screenshots pass for landmarks."""
MIN_PHOTOS = 20
FOLDS = 5
# With less restraint the direction learns how these outside photos look, and is worse on landmarks
# that the network was never shown (benchmarks/known_scores.py).
STRENGTH, SCALAR_WEIGHT = 0.0005, 20.0
FLOOR = 0.01
"""Part of the photos of known landmarks that may lie below the floor of the cosine."""


@dataclass(frozen=True)
class KnownFit:
    """A fitted score and its threshold.

    Attributes:
        score: What the model file computes.
        threshold: Photos that score at least this count as known.
        figures: Of photos that did not teach the score they were given (cross-validation), where
            there are photos of other things: auroc and fpr95; and how many of each there were.
        held_out: (N,) float64, those scores of the validation photos.
    """

    score: KnownScore
    threshold: float
    figures: dict[str, float]
    held_out: Tensor


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


def find_prototypes(features: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """What the photos of each class look like to the network: the centres of two clusters.

    Args:
        features: (B, C) float32 of training photos, averaged over each photo.
        labels: (B,) int64.
        seed: Of the clustering.

    Returns:
        (P, C) float32 of length 1 each, one or two a class.
    """
    from sklearn.cluster import KMeans

    found = []
    for label in labels.unique():
        photos = normalize(features[labels == label], dim=1).numpy()
        clusters = KMeans(min(PROTOTYPES, len(photos)), n_init=3, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # copies of one photo
            clusters.fit(photos)
        counts = np.bincount(clusters.labels_, minlength=clusters.n_clusters)
        kept = clusters.cluster_centers_[counts >= MIN_SHARE * len(photos)]
        found.append(torch.from_numpy(kept))
    return normalize(torch.cat(found).float(), dim=1)


def describe(features: Tensor, probabilities: Tensor, prototypes: Tensor) -> Tensor:
    """What a score is made of.

    Args:
        features: (B, C) float32, averaged over each photo.
        probabilities: (B, K) float32, calibrated.
        prototypes: (P, C) float32.

    Returns:
        (B, C + 2) float32: direction of the features, log-odds, cosine to the nearest prototype.
    """
    directions = normalize(features, dim=1)
    nearest = (directions @ prototypes.T).amax(1)
    return torch.cat([directions, log_odds(probabilities)[:, None], nearest[:, None]], dim=1)


def apply_score(score: KnownScore, columns: Tensor) -> Tensor:
    """(B, C + 2), what describe says of photos -> (B,), the score that a model file computes."""
    taught = 0.0 if score.weights is None else columns[:, :-2] @ score.weights
    scalars = score.certainty * columns[:, -2] + score.similarity * columns[:, -1]
    return taught + scalars + score.bias - find_shortfall(columns[:, -1], score.floor)


def fit_known(
    known: Tensor,
    prototypes: Tensor,
    outside: Tensor | None = None,
    seed: int = 0,
    strength: float = STRENGTH,
) -> KnownFit:
    """Learn the score where there are photos of other things, and set its threshold.

    A logistic regression (outlier exposure, Hendrycks et al. 2019), and a floor. The threshold, and
    the figures, come from cross-validation, since photos score too well under a score that they
    taught.

    Args:
        known: (B, C + 2) float32, what describe says of validation photos.
        prototypes: (P, C) float32.
        outside: (M, C + 2) float32 of photos of other things; none, or fewer than 20 of either
            kind, leaves the cosine to the nearest prototype alone.
        seed: Of the folds.
        strength: How little the weights are held back (C of scikit-learn).

    Returns:
        The score, and the threshold that 95 % of the validation photos reach.
    """
    if outside is None or min(len(known), len(outside)) < MIN_PHOTOS:
        nearest = known[:, -1].double()
        level = torch.quantile(nearest, 1 - ACCEPTED).item()
        return KnownFit(KnownScore(0.0, 1.0, prototypes), level, {}, nearest)
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    columns = torch.cat([known, outside]).double().numpy()
    truth = np.r_[np.ones(len(known)), np.zeros(len(outside))]
    mean, scale = columns.mean(0), columns.std(0).clip(min=1e-9)
    scale[-2:] /= SCALAR_WEIGHT
    columns = (columns - mean) / scale
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(C=strength, max_iter=2000)
    scores = torch.from_numpy(
        cross_val_predict(model, columns, truth, cv=folds, method="decision_function")
    )
    floor = torch.quantile(known[:, -1].double(), FLOOR).item()
    scores -= find_shortfall(torch.cat([known, outside])[:, -1].double(), floor)
    figures = detection_figures(scores[truth == 1], scores[truth == 0])
    model.fit(columns, truth)
    *weights, certainty, similarity = (model.coef_[0] / scale).tolist()
    bias = float(model.intercept_[0] - (model.coef_[0] / scale * mean).sum())
    score = KnownScore(certainty, similarity, prototypes, torch.tensor(weights), bias, floor)
    counts = {"photos": len(known), "outside_photos": len(outside)}
    held_out = scores[truth == 1]
    threshold = torch.quantile(held_out, 1 - ACCEPTED).item()
    return KnownFit(score, threshold, figures | counts, held_out)
