"""The gate of an export: the file must score what the training scored."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from models.predictor import Predictor

MAX_TOP1_DIFFERENCE = 0.002
MAX_FLIP_FRACTION = 0.005


class ParityError(RuntimeError):
    """The model file does not score what the training-side pipeline scores."""


@dataclass(frozen=True)
class Parity:
    """Training-side pipeline against model file, on the same photos.

    Attributes:
        photos: How many.
        eager_top1: Of the eager fp32 pipeline on the decoded cache, fraction.
        file_top1: Of the file, fed from the original bytes through the demo's reader, fraction.
        flips: Photos whose best label differs.
    """

    photos: int
    eager_top1: float
    file_top1: float
    flips: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"validation top-1 {self.file_top1:.1%} on {self.photos} photos "
            f"(training pipeline {self.eager_top1:.1%}, {self.flips} best labels differ)"
        )

    def check(self) -> None:
        """Raise ParityError beyond 0.2 points of top-1 or 0.5 % flips (one photo is allowed)."""
        allowed = max(1, int(MAX_FLIP_FRACTION * self.photos))
        hits = round(abs(self.eager_top1 - self.file_top1) * self.photos)
        if self.flips > allowed or hits > max(1, int(MAX_TOP1_DIFFERENCE * self.photos)):
            raise ParityError(
                f"the model file disagrees with the training pipeline on {self.photos} validation "
                f"photos: top-1 {self.eager_top1:.4f} against {self.file_top1:.4f}, "
                f"{self.flips} best labels differ ({allowed} allowed). Nothing was exported"
            )


def measure_parity(
    logits: Tensor, labels: Tensor, predictor: Predictor, photos: list[Path]
) -> tuple[Parity, Tensor]:
    """Feed the original files to the model file and compare with the eager logits.

    Returns:
        The comparison, and the (N, K) probabilities of the file.
    """
    rows = []
    for photo in tqdm(photos, "model file", unit="photo", leave=False):
        scores = predictor.classify(photo, k=len(predictor.class_names))
        rows.append([scores[name] for name in predictor.class_names])
    probabilities = torch.tensor(rows)
    eager, served = logits.argmax(1), probabilities.argmax(1)
    parity = Parity(
        photos=len(photos),
        eager_top1=(eager == labels).float().mean().item(),
        file_top1=(served == labels).float().mean().item(),
        flips=int((eager != served).sum()),
    )
    return parity, probabilities
