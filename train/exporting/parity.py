"""Compare a model file with the network that was trained: the gate of an export."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from models.predictor import Predictor
from train.evaluation.scoring import score_photos

# Both pipelines resize the same photo, but from differently decoded pixels and in other numerics,
# so a photo on the border between two classes may change sides; a broken export moves far more.
MAX_TOP1_DIFFERENCE = 0.002
MAX_FLIP_FRACTION = 0.005
# The ONNX twin gets the same pixels, so only the order of additions differs.
MAX_TWIN_DIFFERENCE = 1e-4


class ParityError(ValueError):
    """A model file that scores photos differently from the network that was trained."""


@dataclass(frozen=True)
class Parity:
    """Compare the training pipeline and the model file on the same photos.

    Attributes:
        photos: Number of photos.
        eager_top1: Accuracy of the eager fp32 network on the decoded cache, a fraction.
        file_top1: Accuracy of the file, fed from the original bytes as the page feeds it.
        flips: Photos whose best label differs.
        twin_flips: Photos to which the file's ONNX twin gives another best label than its
            TorchScript.
        twin_difference: The largest difference of their probabilities; None: there is no twin.
    """

    photos: int
    eager_top1: float
    file_top1: float
    flips: int
    twin_flips: int = 0
    twin_difference: float | None = None

    def __str__(self) -> str:
        """Return one line for people."""
        line = (
            f"validation top-1 {self.file_top1:.1%} on {self.photos} photos "
            f"(training pipeline {self.eager_top1:.1%}, {self.flips} best labels differ)"
        )
        if self.twin_difference is not None:
            line += f"; the ONNX twin gives the same within {self.twin_difference:.0e}"
        return line

    def check(self) -> None:
        """Raise ParityError beyond 0.2 points of top-1 or 0.5 % flips (one photo is allowed).

        Also if the ONNX twin changes any best label, or a probability by over 0.0001.
        """
        allowed = max(1, int(MAX_FLIP_FRACTION * self.photos))
        hits = round(abs(self.eager_top1 - self.file_top1) * self.photos)
        if self.flips > allowed or hits > max(1, int(MAX_TOP1_DIFFERENCE * self.photos)):
            raise ParityError(
                f"the model file disagrees with the training pipeline on {self.photos} validation "
                f"photos: top-1 {self.eager_top1:.4f} against {self.file_top1:.4f}, "
                f"{self.flips} best labels differ ({allowed} allowed). Nothing was exported"
            )
        # Written so that NaN fails, too.
        if self.twin_flips or not (self.twin_difference or 0.0) <= MAX_TWIN_DIFFERENCE:
            raise ParityError(
                f"the ONNX twin disagrees with the model file on {self.photos} validation photos: "
                f"{self.twin_flips} best labels differ, probabilities by up to "
                f"{self.twin_difference:.1e} ({MAX_TWIN_DIFFERENCE:.0e} allowed). "
                "Nothing was exported"
            )


def measure_parity(
    logits: Tensor,
    labels: Tensor,
    predictor: Predictor,
    twin: Predictor | None,
    root: Path,
    photos: Sequence[str],
) -> tuple[Parity, Tensor]:
    """Score the original files with the model file and compare with the eager logits.

    Args:
        logits: (N, K) float32, what the training pipeline finds on the photos.
        labels: (N,) int64, the truth.
        predictor: The exported file, answering through torch.
        twin: The same file, answering through its ONNX twin; None: it has none.
        root: Folder of the photos.
        photos: N paths relative to root.

    Returns:
        The comparison, and the (N, K) probabilities of the file.

    Raises:
        PhotoError: A photo can no longer be read.
    """
    probabilities = score_photos(predictor, root, photos, "model file").probabilities
    eager, served = logits.argmax(1), probabilities.argmax(1)
    twin_flips, twin_difference = 0, None
    if twin is not None:
        theirs = score_photos(twin, root, photos, "ONNX twin").probabilities
        twin_flips = int((theirs.argmax(1) != served).sum())
        twin_difference = (theirs - probabilities).abs().max().item()
    parity = Parity(
        photos=len(photos),
        eager_top1=(eager == labels).float().mean().item(),
        file_top1=(served == labels).float().mean().item(),
        flips=int((eager != served).sum()),
        twin_flips=twin_flips,
        twin_difference=twin_difference,
    )
    return parity, probabilities
