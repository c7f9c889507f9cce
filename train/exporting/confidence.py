"""What a trained network still learns before its export: how sure it may be, and what it knows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.model_file.classifier import Calibration, feature_layout, pool_features
from models.model_file.preprocess import Preprocess
from train.config import TrainConfig
from train.data.batches import PhotoDataset
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.split import Split
from train.data.transforms import build_eval_transform
from train.exporting.calibration import calibrate, fit_calibration
from train.exporting.known_score import (
    PROTOTYPE_PHOTOS,
    KnownFit,
    describe,
    find_outside,
    find_prototypes,
    fit_known,
)

Find = Callable[[PhotoCache], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trust:
    """What was fitted on validation photos.

    Attributes:
        logits: (N, K) float32 of the validation photos by the training-side pipeline.
        calibration: Of the probabilities.
        known: The score of known landmarks.
    """

    logits: Tensor
    calibration: Calibration
    known: KnownFit


def learn_trust(
    model: nn.Module, preprocess: Preprocess, config: TrainConfig, split: Split, cache: PhotoCache
) -> Trust:
    """Fit the calibration and the known score.

    Args:
        model: The trained network.
        preprocess: What it sees.
        config: Of the run; half A of its outside photos, if any, teaches the known score.
        split: Its validation photos set temperature and threshold, its training photos the
            prototypes.
        cache: All of them, decoded.

    Raises:
        ValueError: There are no photos in the outside folder.
    """
    find = build_finder(model, preprocess, config.seed)
    logits, features = find(cache.subset(split.val))
    calibration = fit_calibration(logits, torch.from_numpy(split.labels(split.val)))
    some, labels = pick_per_class(split.train, split.labels(split.train), config.seed)
    prototypes = find_prototypes(find(cache.subset(some))[1], torch.from_numpy(labels), config.seed)

    def describe_photos(logits: Tensor, features: Tensor) -> Tensor:
        return describe(features, calibrate(logits, calibration), prototypes)

    others = None
    if config.outside is not None:
        paths = find_outside(config.outside, "A")
        others = describe_photos(*find(decode_folder(config, preprocess, config.outside, paths)))
    known = fit_known(describe_photos(logits, features), prototypes, others, config.seed)
    return Trust(logits, calibration, known)


def build_finder(model: nn.Module, preprocess: Preprocess, seed: int) -> Find:
    """Photos -> (N, K) logits and (N, C) features, float32, by the training-side pipeline."""
    transform = build_eval_transform(preprocess)

    def find(photos: PhotoCache) -> tuple[Tensor, Tensor]:
        labels = np.zeros(len(photos.paths), dtype=np.int64)  # of no meaning here
        return eager_outputs(model, PhotoDataset(photos, labels, transform, seed))

    return find


def decode_folder(
    config: TrainConfig, preprocess: Preprocess, root: Path, paths: list[Path]
) -> PhotoCache:
    """Photos of a folder that are in no split, as large as the network needs them."""
    names = [path.relative_to(root).as_posix() for path in paths]
    return decode_photos(root, names, preprocess.resize_px, config.cache_dir)


def pick_per_class(paths: list[str], labels: np.ndarray, seed: int) -> tuple[list[str], np.ndarray]:
    """At most PROTOTYPE_PHOTOS photos of each class, and their labels."""
    order = np.random.default_rng(seed).permutation(len(labels))
    picked = np.concatenate(
        [order[labels[order] == label][:PROTOTYPE_PHOTOS] for label in np.unique(labels)]
    )
    return [paths[photo] for photo in picked], labels[picked]


@torch.inference_mode()
def eager_outputs(model: nn.Module, dataset: PhotoDataset) -> tuple[Tensor, Tensor]:
    """What the training-side pipeline finds, in fp32 on the CPU.

    Returns:
        (N, K) float32 logits, and (N, C) float32 features averaged over each photo.
    """
    model = model.to("cpu", torch.float32).eval()
    prefix = getattr(model, "num_prefix_tokens", 0)
    logits, pooled = [], []
    for first in tqdm(range(0, len(dataset), 32), "eager", unit="batch", leave=False):
        photos = range(first, min(first + 32, len(dataset)))
        images = torch.stack([dataset[(0, photo)]["images"] for photo in photos])
        features = model.forward_features(images)
        logits.append(model.forward_head(features))
        pooled.append(pool_features(features, feature_layout(model, features), prefix))
    return torch.cat(logits), torch.cat(pooled)
