"""Fit the softmax temperature and the open-set score on validation photos, before export."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from models.model_file.classifier import Calibration, feature_layout, pool_features, temperatures
from models.model_file.preprocess import Preprocess
from models.model_file.verdict import Thresholds
from train.config import TrainConfig
from train.data.batches import PhotoDataset
from train.data.outside import OutsidePhotos
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.split import Split
from train.data.transforms import build_eval_transform
from train.exporting.known_score import (
    PROTOTYPE_PHOTOS,
    KnownFit,
    apply_score,
    find_prototypes,
    fit_known,
    fit_thresholds,
    score_inputs,
)

FeatureExtractor = Callable[[PhotoCache], tuple[Tensor, Tensor]]
"""N decoded photos -> (N, K) float32 logits and (N, C) float32 features."""


@dataclass(frozen=True)
class ConfidenceFit:
    """Hold what was fitted on validation photos.

    Attributes:
        logits: (N, K) float32 of the validation photos by the training-side pipeline.
        calibration: Turns logits into probabilities.
        known: The score that tells known landmarks from everything else.
        thresholds: From which score an answer is maybe or sure.
    """

    logits: Tensor
    calibration: Calibration
    known: KnownFit
    thresholds: Thresholds


def fit_confidence(
    model: nn.Module,
    preprocess: Preprocess,
    config: TrainConfig,
    split: Split,
    cache: PhotoCache,
    outside: OutsidePhotos | None = None,
) -> ConfidenceFit:
    """Fit the calibration, the known score and the thresholds of a trained network.

    Args:
        model: The trained network.
        preprocess: Resize, crop and normalisation of its input.
        config: Settings of the run.
        split: Its validation photos set temperature and thresholds, its training photos the
            prototypes.
        cache: All of these photos, decoded.
        outside: Photos of other things: those of half A that the network did not learn from teach
            the score, half B sets the threshold of sure.
    """
    extract = build_extractor(model, preprocess, config.seed)
    logits, features = extract(cache.subset(split.val))
    labels = torch.from_numpy(split.labels(split.val))
    calibration = fit_calibration(logits, labels)
    some, classes = pick_per_class(split.train, split.labels(split.train), config.seed)
    prototypes = find_prototypes(
        extract(cache.subset(some))[1], torch.from_numpy(classes), config.seed
    )

    def to_inputs(logits: Tensor, features: Tensor) -> Tensor:
        return score_inputs(features, calibrate(logits, calibration), prototypes)

    taught, measured = None, {}
    if outside is not None:
        learned = config.outside_weight > 0 and outside.can_teach_network()
        paths = list(outside.for_score() if learned else outside.all_learned())
        taught = to_inputs(*extract(decode_outside(config, preprocess, outside, paths)))
        measured = {
            kind: to_inputs(*extract(decode_outside(config, preprocess, outside, paths)))
            for kind, paths in outside.measure.items()
        }
    # Photos that trained the network look surer to it than new ones, so the score is fitted on
    # validation photos, and only the prototypes come from training photos.
    known = fit_known(to_inputs(logits, features), prototypes, taught, config.seed)
    right = logits.argmax(1) == labels
    scores = {kind: apply_score(known.score, columns) for kind, columns in measured.items()}
    thresholds = fit_thresholds(known, right, scores)
    return ConfidenceFit(logits, calibration, known, thresholds)


def fit_calibration(logits: Tensor, labels: Tensor, adaptive: bool = True) -> Calibration:
    """Fit the temperature under which held-out photos are least surprising (Guo et al. 2017).

    It minimises the summed negative log-likelihood plus half the squares of the two parameters,
    log(T) and the exponent: a prior that weighs little against hundreds of photos, and keeps a
    handful from making the network certain.

    Args:
        logits: (B, K) float32 of photos that the network was not trained on.
        labels: (B,) int64 in [0, K).
        adaptive: Let the temperature depend on how far the logits of a photo spread (in the
            manner of Balanya et al. 2024); else one temperature for all.

    Raises:
        ValueError: If B is 0.
    """
    from scipy.optimize import minimize

    if len(labels) == 0:
        raise ValueError("a temperature needs at least one photo")
    logits = logits.double()
    spread = max(1e-3, logits.std(1, correction=0).mean().item())

    def calibration(parameters: np.ndarray) -> Calibration:
        exponent = float(parameters[1]) if adaptive else 0.0
        return Calibration(math.exp(parameters[0]), spread, exponent)

    def surprise(parameters: np.ndarray) -> float:
        scaled = logits / temperatures(logits, calibration(parameters))
        loss = cross_entropy(scaled, labels, reduction="sum")
        return loss.item() + float((parameters**2).sum()) / 2

    # Two parameters: a simplex search needs no gradient through temperatures().
    return calibration(minimize(surprise, np.zeros(2), method="Nelder-Mead").x)


def calibrate(logits: Tensor, calibration: Calibration) -> Tensor:
    """Turn (B, K) logits into (B, K) float32 probabilities."""
    return torch.softmax(logits / temperatures(logits, calibration), dim=1).float()


def build_extractor(model: nn.Module, preprocess: Preprocess, seed: int) -> FeatureExtractor:
    """Return a function from decoded photos to their logits and features."""
    transform = build_eval_transform(preprocess)

    def extract(photos: PhotoCache) -> tuple[Tensor, Tensor]:
        labels = np.zeros(len(photos.paths), dtype=np.int64)  # the data set wants some; unused
        return eager_outputs(model, PhotoDataset(photos, labels, transform, seed))

    return extract


def decode_outside(
    config: TrainConfig, preprocess: Preprocess, outside: OutsidePhotos, paths: list[str]
) -> PhotoCache:
    """Decode outside photos at the size that the network needs."""
    return decode_photos(Path(outside.root), paths, preprocess.resize_px, config.cache_dir)


def pick_per_class(paths: list[str], labels: np.ndarray, seed: int) -> tuple[list[str], np.ndarray]:
    """Draw up to PROTOTYPE_PHOTOS photos of each class; return them and their labels."""
    order = np.random.default_rng(seed).permutation(len(labels))
    picked = np.concatenate(
        [order[labels[order] == label][:PROTOTYPE_PHOTOS] for label in np.unique(labels)]
    )
    return [paths[photo] for photo in picked], labels[picked]


@torch.inference_mode()
def eager_outputs(model: nn.Module, dataset: PhotoDataset) -> tuple[Tensor, Tensor]:
    """Run the training-side pipeline in fp32 on the CPU, where the model file runs, too.

    Returns:
        (N, K) float32 logits, and (N, C) float32 features averaged over each photo.
    """
    model = model.to("cpu", torch.float32).eval()
    prefix = getattr(model, "num_prefix_tokens", 0)
    logits, pooled = [], []
    for first in tqdm(range(0, len(dataset), 32), "eager", unit="batch", leave=False):
        photos = range(first, min(first + 32, len(dataset)))
        # Epoch 0 of a transform without random draws.
        images = torch.stack([dataset[(0, photo)]["images"] for photo in photos])
        features = model.forward_features(images)
        logits.append(model.forward_head(features))
        pooled.append(pool_features(features, feature_layout(model, features), prefix))
    return torch.cat(logits), torch.cat(pooled)
