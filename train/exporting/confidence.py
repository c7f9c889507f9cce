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
from train.config import TrainConfig
from train.data.batches import PhotoDataset
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.split import Split
from train.data.transforms import build_eval_transform
from train.exporting.inputs import find_outside
from train.exporting.known_score import (
    PROTOTYPE_PHOTOS,
    KnownFit,
    find_prototypes,
    fit_known,
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
    """

    logits: Tensor
    calibration: Calibration
    known: KnownFit


def fit_confidence(
    model: nn.Module, preprocess: Preprocess, config: TrainConfig, split: Split, cache: PhotoCache
) -> ConfidenceFit:
    """Fit the calibration and the known score of a trained network.

    Args:
        model: The trained network.
        preprocess: Resize, crop and normalisation of its input.
        config: Settings of the run; half A of its outside photos, if any, teaches the known score.
        split: Its validation photos set temperature and threshold, its training photos the
            prototypes.
        cache: All of these photos, decoded.

    Raises:
        DataError: There are no photos in the outside folder.
    """
    extract = build_extractor(model, preprocess, config.seed)
    logits, features = extract(cache.subset(split.val))
    calibration = fit_calibration(logits, torch.from_numpy(split.labels(split.val)))
    some, labels = pick_per_class(split.train, split.labels(split.train), config.seed)
    prototypes = find_prototypes(
        extract(cache.subset(some))[1], torch.from_numpy(labels), config.seed
    )

    def to_inputs(logits: Tensor, features: Tensor) -> Tensor:
        return score_inputs(features, calibrate(logits, calibration), prototypes)

    others = None
    if config.outside is not None:
        paths = find_outside(config.outside, "A")
        others = to_inputs(*extract(decode_folder(config, preprocess, config.outside, paths)))
    # Photos that trained the network look surer to it than new ones, so the score is fitted on
    # validation photos, and only the prototypes come from training photos.
    known = fit_known(to_inputs(logits, features), prototypes, others, config.seed)
    return ConfidenceFit(logits, calibration, known)


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


def decode_folder(
    config: TrainConfig, preprocess: Preprocess, root: Path, paths: list[Path]
) -> PhotoCache:
    """Decode photos that are in no split, at the size that the network needs."""
    names = [path.relative_to(root).as_posix() for path in paths]
    return decode_photos(root, names, preprocess.resize_px, config.cache_dir)


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
