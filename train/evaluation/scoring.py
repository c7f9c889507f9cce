"""Score photos with a model file, as it is served: the one loop behind every figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.photos import PhotoError
from models.predictor import Predictor
from train.data.folders import DataError
from train.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Scores:
    """Hold what a model file says of the N photos that could be read.

    Attributes:
        photos: N paths, as they were given.
        probabilities: (N, K) float32.
        logits: (N, K) float32, before calibration.
        known_scores: (N,) float32.
        class_names: K labels.
        unreadable: Path -> why, of the photos that were skipped.
    """

    photos: list[str]
    probabilities: Tensor
    logits: Tensor
    known_scores: Tensor
    class_names: list[str]
    unreadable: dict[str, str]

    def best(self, position: int, k: int) -> list[tuple[str, float]]:
        """Return the k likeliest labels of one photo with their probabilities, best first."""
        # By logits, as the model file ranks them: probabilities may round to a tie.
        classes = self.logits[position].topk(k).indices.tolist()
        return [(self.class_names[i], self.probabilities[position, i].item()) for i in classes]

    def with_labels(self, labels: Tensor) -> Predictions:
        """Return the scores beside the truth, (N,) int64."""
        return Predictions(
            self.photos,
            labels,
            self.probabilities,
            self.class_names,
            self.logits,
            self.known_scores,
        )


def score_photos(
    predictor: Predictor,
    root: Path,
    photos: Sequence[str],
    title: str = "scoring",
    skip_unreadable: bool = False,
    keep_bar: bool = False,
) -> Scores:
    """Read each photo as the page does and score it.

    One photo at a time: their sizes differ, and the figures should be those of the page.

    Args:
        predictor: The model file.
        root: Folder of the photos.
        photos: Paths relative to root.
        title: Of the progress bar.
        skip_unreadable: List photos that cannot be read instead of raising.
        keep_bar: Leave the progress bar on the screen at the end.

    Raises:
        DataError: None of the photos can be read.
        PhotoError: One of them cannot, unless skip_unreadable is set.
    """
    read, rows, unreadable = [], [], {}
    for photo in tqdm(photos, title, unit="photo", leave=keep_bar):
        try:
            rows.append(predictor.measure(root / photo))
            read.append(photo)
        except PhotoError as error:
            if not skip_unreadable:
                raise
            unreadable[photo] = str(error)
    if not rows:
        raise DataError(f"none of the {len(photos)} photos in {root} can be read")
    probabilities, logits, known_scores = zip(*rows, strict=True)
    return Scores(
        read,
        torch.from_numpy(np.stack(probabilities)),
        torch.from_numpy(np.stack(logits)),
        torch.tensor(known_scores),
        predictor.class_names,
        unreadable,
    )
