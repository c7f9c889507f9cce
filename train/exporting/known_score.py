"""Fit the score that tells photos of known landmarks from all others.

The field calls this open-set recognition or out-of-distribution detection: a classifier names one
of its K classes whatever it is shown, so a second number has to say that a photo shows none of
them. benchmarks/known_scores.py compares this score with the usual ones.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn.functional import normalize

from models.model_file.classifier import KnownScore, find_shortfall, log_odds
from models.model_file.verdict import Thresholds
from train.data.outside import ENOUGH, MIN_PHOTOS
from train.evaluation.open_set import pass_rates, strict_threshold, wrong_share

ACCEPTED = 0.95
"""Fraction of the photos of known landmarks that the threshold accepts."""
PROTOTYPES, PROTOTYPE_PHOTOS = 2, 100
"""Prototypes per class, and how many of its training photos they come from at most."""
MIN_SHARE = 0.2
"""Fraction of a class's photos that a prototype must stand for. A few odd ones, such as drawings,
get none, or screenshots would pass for landmarks."""
SURE_PER_MILLE = 5
"""Photos per 1,000 of each kind of other things that may be taken for a landmark, for sure."""
FOLDS = 5
"""Of the cross-validation."""
# Weights held back less learn what these outside photos look like, and do worse on landmarks that
# the network was never shown (benchmarks/known_scores.py).
STRENGTH, SCALAR_WEIGHT = 0.0005, 20.0
FLOOR = 0.01
"""Fraction of the photos of known landmarks that may lie below the floor of the cosine."""


@dataclass(frozen=True)
class KnownFit:
    """Hold a fitted score and its threshold.

    Attributes:
        score: What the model file computes.
        threshold: Photos that score at least this count as known.
        figures: auroc and fpr95 by cross-validation, and the number of photos of each kind; empty
            where there were no photos of other things.
        held_out: (N,) float64 scores of the validation photos, each from a fold that did not learn
            from it.
        held_out_outside: (M,) float64, those of the photos of other things that taught the score;
            (0,) where there were none.
    """

    score: KnownScore
    threshold: float
    figures: dict[str, float]
    held_out: Tensor
    held_out_outside: Tensor


def detection_figures(known: Tensor, other: Tensor) -> dict[str, float]:
    """Measure how well scores tell photos of known landmarks from others.

    Args:
        known: (N,) float32, scores of photos of known landmarks.
        other: (M,) float32, scores of photos of anything else.

    Returns:
        auroc, the probability that a known photo scores higher than another one (ties count
        half); fpr95, the fraction of the others that reach the score which 95 % of the known ones
        reach.
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
    """Measure a known score and its threshold on photos that neither was fitted on.

    Args:
        known: (N,) float32, scores of photos of known landmarks.
        right: (N,) bool, whether the best guess on each is right.
        other: (M,) float32, scores of photos of anything else.
        threshold: The model file's; None accepts all.

    Returns:
        auroc and fpr95 as detection_figures; the fractions of both kinds that are accepted; top-1
        on the accepted known photos and on the rejected ones; and the counts.
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
    """Find what the photos of each class look like to the network: two cluster centres a class.

    Args:
        features: (B, C) float32 of training photos, averaged over each photo.
        labels: (B,) int64.
        seed: Of the clustering.

    Returns:
        (P, C) float32 of length 1 each, one or two per class.
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


def score_inputs(features: Tensor, probabilities: Tensor, prototypes: Tensor) -> Tensor:
    """Compute the columns that a known score weighs.

    Args:
        features: (B, C) float32, averaged over each photo.
        probabilities: (B, K) float32, calibrated.
        prototypes: (P, C) float32.

    Returns:
        (B, C + 2) float32: direction of the features, log-odds of the best guess, cosine to the
        nearest prototype.
    """
    directions = normalize(features, dim=1)
    nearest = (directions @ prototypes.T).amax(1)
    return torch.cat([directions, log_odds(probabilities)[:, None], nearest[:, None]], dim=1)


def apply_score(score: KnownScore, columns: Tensor) -> Tensor:
    """Turn (B, C + 2) score_inputs into the (B,) scores that a model file computes."""
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

    The score is a logistic regression on photos of both kinds (outlier exposure, Hendrycks et al.
    2019), less what find_shortfall takes from photos that resemble no class at all.

    Args:
        known: (B, C + 2) float32 score_inputs of validation photos.
        prototypes: (P, C) float32.
        outside: (M, C + 2) float32 score_inputs of photos of other things. With none, or fewer than
            20 of either kind, the score is the cosine to the nearest prototype.
        seed: Of the folds.
        strength: Inverse regularisation of the weights (C of scikit-learn).

    Returns:
        The score, and the threshold that 95 % of the validation photos reach.
    """
    if outside is None or min(len(known), len(outside)) < MIN_PHOTOS:
        nearest = known[:, -1].double()
        level = torch.quantile(nearest, 1 - ACCEPTED).item()
        return KnownFit(KnownScore(0.0, 1.0, prototypes), level, {}, nearest, nearest[:0])
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    columns = torch.cat([known, outside]).double().numpy()
    truth = np.r_[np.ones(len(known)), np.zeros(len(outside))]
    mean, scale = columns.mean(0), columns.std(0).clip(min=1e-9)
    # The penalty is the same for all columns, so a column that is scaled up is held back less: the
    # two scalars hold for any photo, the hundreds of directions partly for these photos only.
    scale[-2:] /= SCALAR_WEIGHT
    columns = (columns - mean) / scale
    # A photo scores too well under weights that it taught: the threshold would accept fewer new
    # photos than 95 %. So threshold and figures come from folds that did not see the photo.
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(C=strength, max_iter=2000)
    scores = torch.from_numpy(
        cross_val_predict(model, columns, truth, cv=folds, method="decision_function")
    )
    # Noise and text lie far from all photos, where a linear score may still be high.
    floor = torch.quantile(known[:, -1].double(), FLOOR).item()
    scores -= find_shortfall(torch.cat([known, outside])[:, -1].double(), floor)
    figures = detection_figures(scores[truth == 1], scores[truth == 0])
    model.fit(columns, truth)
    # The model file sees raw columns: fold the standardisation into weights and bias.
    *weights, certainty, similarity = (model.coef_[0] / scale).tolist()
    bias = float(model.intercept_[0] - (model.coef_[0] / scale * mean).sum())
    score = KnownScore(certainty, similarity, prototypes, torch.tensor(weights), bias, floor)
    counts = {"photos": len(known), "outside_photos": len(outside)}
    held_out = scores[truth == 1]
    threshold = torch.quantile(held_out, 1 - ACCEPTED).item()
    return KnownFit(score, threshold, figures | counts, held_out, scores[truth == 0])


def fit_thresholds(known: KnownFit, right: Tensor, measured: Mapping[str, Tensor]) -> Thresholds:
    """Set the scores from which an answer is maybe and sure.

    Maybe is what 95 % of the validation photos reach; sure is what at most 5 of 1,000 photos of
    each kind of other things reach, and never less than maybe.

    Args:
        known: The fitted score.
        right: (N,) bool, whether the best guess on each validation photo is right.
        measured: Kind -> (M,) scores of photos that taught neither network nor score. Kinds of
            fewer than 20 photos are ignored; without 200 in the others, nothing is sure.
    """
    usable = {kind: scores for kind, scores in measured.items() if len(scores) >= MIN_PHOTOS}
    counts = {kind: len(scores) for kind, scores in usable.items()}
    if sum(counts.values()) < ENOUGH:
        return Thresholds(known.threshold)
    sure = max(known.threshold, strict_threshold(usable, SURE_PER_MILLE))
    return Thresholds(
        known.threshold,
        sure,
        {
            "maybe": pass_rates(usable, known.threshold),
            "sure": pass_rates(usable, sure),
        },
        counts,
        wrong_share(known.held_out, right, usable, known.threshold, sure),
    )
