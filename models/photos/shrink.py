"""Photos averaged down a few rows at a time, so that no second full-size copy is made."""

from collections.abc import Callable

import numpy as np
from PIL import Image


def shrink(
    image: Image.Image, size: tuple[int, int], to_rgb: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    """Average the area that each output pixel covers.

    The same average as resize_weights of the model file's preprocess, which then has nothing left
    to do on a photo of the size that it wants. Pillow's own reduce() stops at whole factors, and
    what is resized again after it is blurred: on sharp content by 3 grey levels in the mean where
    it leaves twice the side, by 10 where it leaves little more than the side itself.

    Args:
        image: A decoded image of any mode.
        size: Width and height wanted; at most the image's.
        to_rgb: Makes some rows of it RGB.

    Returns:
        (H, W, 3) uint8.
    """
    width, height = size
    across = _weights(image.width, width)
    small = np.empty((height, width, 3), np.uint8)
    scale = image.height / height
    for row in range(height):
        top, bottom = row * scale, min((row + 1) * scale, image.height)
        first, last = int(top), min(int(np.ceil(bottom)), image.height)
        rows = np.asarray(to_rgb(image.crop((0, first, image.width, last))))
        edges = np.arange(first, last, dtype=np.float64)
        share = np.minimum(edges + 1, bottom) - np.maximum(edges, top)
        share = (share / share.sum()).astype(np.float32)
        line = (share @ rows.reshape(len(rows), -1).astype(np.float32)).reshape(-1, 3)
        small[row] = np.rint(across(line))
    return small


def _weights(length: int, wanted: int) -> Callable[[np.ndarray], np.ndarray]:
    """What averages a line of pixels, (length, 3) float32, to (wanted, 3)."""
    edges = np.arange(wanted + 1) * (length / wanted)
    whole = np.minimum(edges.astype(np.int64), length - 1)
    part = (edges - whole)[:, None]

    def average(line: np.ndarray) -> np.ndarray:
        # The integral of the line up to each edge; double, for sums of 100,000 pixels.
        sums = np.zeros((length + 1, 3))
        np.cumsum(line, axis=0, dtype=np.float64, out=sums[1:])
        integral = sums[whole] + part * line[whole]
        return np.diff(integral, axis=0) / (length / wanted)

    return average
