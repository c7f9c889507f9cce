"""What every engine that runs a model file offers: the ONNX twin's and TorchScript's."""

from typing import NamedTuple, Protocol

import numpy as np

from models.photos import MIN_SIDE_PX


class Outputs(NamedTuple):
    """What one pass of the network says of B photos; k is the number of maps asked for.

    Attributes:
        probabilities: (B, K) float32, each row sums to 1.
        logits: (B, K) float32, before any temperature.
        known_scores: (B,) float32, higher is surer.
        maps: (B, k, h, w) float32 >= 0, class activation maps of the likeliest classes.
        classes: (B, k) int64, whose maps these are, the likeliest first.
    """

    probabilities: np.ndarray
    logits: np.ndarray
    known_scores: np.ndarray
    maps: np.ndarray
    classes: np.ndarray


class Engine(Protocol):
    """Runs a model file on (B, 3, H, W) uint8 RGB that check_images has passed."""

    def answer(self, images: np.ndarray, count: int) -> Outputs:
        """Return everything from one pass, with min(count, K) maps."""
        ...

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return only the (B, K) probabilities."""
        ...


def check_images(images: np.ndarray) -> None:
    """Refuse what is not (B, 3, H, W) uint8; the messages are those of PhotoClassifier.squares.

    Raises:
        ValueError: If type or shape is wrong, or a side is below 16 px.
    """
    if images.dtype != np.uint8:
        raise ValueError("images must be uint8 RGB, values 0 to 255")
    if images.ndim != 4:
        raise ValueError("images must have the shape (3, H, W) or (B, 3, H, W)")
    if images.shape[1] != 3:
        raise ValueError("images must have 3 channels first: (B, 3, H, W), red green blue")
    if min(images.shape[2:]) < MIN_SIDE_PX:
        raise ValueError(f"images must be at least {MIN_SIDE_PX} pixels high and wide")
