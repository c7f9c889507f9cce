"""Score variants of the same photos: several views averaged (TTA), and corrupted photos."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.photos import MIN_SIDE_PX, read_photo
from models.predictor import Predictor
from train.evaluation.corruptions import CORRUPTIONS, SIDE_PX, corrupt, describe, shrink
from train.evaluation.metrics import bootstrap_difference
from train.evaluation.predictions import Predictions

SEED = 0
CROP = 7 / 8
"""Side of a crop, as a fraction of the photo's side."""


@dataclass(frozen=True)
class ViewScores:
    """Hold what the model file says of n photos and of their variants.

    Attributes:
        photos: n positions in the predictions of the test.
        plain: (n, K) probabilities of the photos themselves.
        averaged: (n, K) mean over each photo's views; None where not asked for.
        plain_seconds: Seconds per photo to read and score it.
        averaged_seconds: Seconds per photo to read it and score all its views.
        clean: (n, K) of the photos at the size at which they are corrupted; None where not asked
            for.
        corrupted: (name, severity) -> (n, K).
    """

    photos: list[int]
    plain: Tensor
    averaged: Tensor | None
    plain_seconds: float
    averaged_seconds: float
    clean: Tensor | None
    corrupted: dict[tuple[str, int], Tensor]


def crop_views(image: np.ndarray) -> list[np.ndarray]:
    """Cut views of a photo: itself, and its corners and middle at 7/8 of its sides; mirrored, too.

    The ten crops of Krizhevsky et al. (2012), beside the complete photo.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        Two views of the complete photo, then ten crops of one size.
    """
    height, width = image.shape[:2]
    high, wide = (max(MIN_SIDE_PX, round(CROP * side)) for side in (height, width))
    corners = [(top, left) for top in (0, height - high) for left in (0, width - wide)]
    corners.append(((height - high) // 2, (width - wide) // 2))
    crops = [image[top : top + high, left : left + wide] for top, left in corners]
    return [view for each in (image, *crops) for view in (each, each[:, ::-1])]


def score_images(predictor: Predictor, images: Sequence[np.ndarray]) -> Tensor:
    """Return (B, K) probabilities of photos that have one size."""
    return torch.from_numpy(predictor.probabilities(np.stack(images).transpose(0, 3, 1, 2)))


def score_views(
    predictor: Predictor, data: Path, predictions: Predictions, tta: bool, severities: Sequence[int]
) -> ViewScores | None:
    """Score variants of every photo; Ctrl-C ends that early and keeps what was scored.

    Photos come in random order, so that those scored before an early end are a fair sample.

    Args:
        predictor: The model file.
        data: What the predictions' paths are relative to.
        predictions: What the file says of the readable photos.
        tta: Whether to average several views of each photo (test-time augmentation).
        severities: At which all corruptions are scored; empty for none.

    Returns:
        The scores, or None where nothing was scored.

    Raises:
        PhotoError: A photo has changed since it was scored.
    """
    kinds = [(name, severity) for name in CORRUPTIONS for severity in severities]
    order = np.random.default_rng(SEED).permutation(len(predictions.photos)).tolist()
    rows = []
    try:
        for position in tqdm(order, "views", unit="photo"):
            path = predictions.photos[position]
            # Reading is timed apart, since both "one view" and "12 views" need it once.
            start = time.perf_counter()
            # Decoded once for all variants, large enough for the corruptions, too.
            image = read_photo(data / path, max(predictor.side_px, SIDE_PX))
            read = time.perf_counter()
            plain = score_images(predictor, [image])[0]
            scored = time.perf_counter()
            averaged, corrupted = None, None
            if tta:
                # Only photos of one size fit into one batch: the complete ones, then the crops.
                views = crop_views(image)
                halves = [score_images(predictor, part) for part in (views[:2], views[2:])]
                averaged = torch.cat(halves).mean(0)
            seconds = (scored - start, read - start + time.perf_counter() - scored)
            if kinds:
                small = shrink(image)
                worse = [corrupt(small, name, severity, path, SEED) for name, severity in kinds]
                corrupted = score_images(predictor, [small, *worse])
            rows.append((position, plain, averaged, corrupted, seconds))
    except KeyboardInterrupt:
        tqdm.write(f"stopped: views of {len(rows)} of {len(order)} photos are kept")
    if not rows:
        return None
    photos, plain, averaged, corrupted, seconds = zip(*rows, strict=True)
    worse = torch.stack(corrupted, 1) if kinds else None
    plain_seconds, averaged_seconds = np.mean(seconds, axis=0).tolist()
    return ViewScores(
        photos=list(photos),
        plain=torch.stack(plain),
        averaged=torch.stack(averaged) if tta else None,
        plain_seconds=plain_seconds,
        averaged_seconds=averaged_seconds,
        clean=None if worse is None else worse[0],
        corrupted={kind: worse[1 + i] for i, kind in enumerate(kinds)},
    )


def summarise_views(scores: ViewScores, predictions: Predictions) -> dict[str, Any]:
    """Compute what averaging views gains and costs, and what corruptions cost, JSON-ready."""
    labels = predictions.labels[scores.photos]
    names = [predictions.photos[position] for position in scores.photos]

    def of(probabilities: Tensor) -> Predictions:
        return Predictions(names, labels, probabilities, predictions.class_names)

    found: dict[str, Any] = {}
    if scores.averaged is not None:
        without, averaged = of(scores.plain), of(scores.averaged)
        found["tta"] = {
            "photos": len(names),
            "views": 12,
            "without": without.figures(),
            "with": averaged.figures(),
            "top1_gain_interval_95": bootstrap_difference(without.right(), averaged.right()),
            "milliseconds": [1000 * scores.plain_seconds, 1000 * scores.averaged_seconds],
            "cost_factor": scores.averaged_seconds / scores.plain_seconds,
        }
    if scores.clean is not None:
        clean = of(scores.clean)
        changes: dict[str, dict[str, Any]] = {}
        for (name, severity), probabilities in scores.corrupted.items():
            worse = of(probabilities)
            changes.setdefault(name, {})[str(severity)] = {
                "strength": describe(name, severity),
                **worse.figures(),
                "top1_change_interval_95": bootstrap_difference(clean.right(), worse.right()),
            }
        top1 = [each["top1"] for rows in changes.values() for each in rows.values()]
        found["robustness"] = {
            "photos": len(names),
            "seed": SEED,
            "clean": clean.figures(),
            "mean_top1": float(np.mean(top1)),
            "corruptions": changes,
        }
    return found
