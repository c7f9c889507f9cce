"""The resize inside the model file: the same pixels as OpenCV, and settings that cannot work."""

import cv2
import numpy as np
import pytest
import torch

from models.model_file.preprocess import Preprocess
from models.model_file.resize import resize_images


@pytest.mark.parametrize(
    "size", [(300, 200), (200, 301), (64, 64), (1000, 333), (20, 30), (17, 400), (65, 64)]
)
def test_resize_equals_opencv_area(size: tuple[int, int]) -> None:
    height, width = size
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 1.5)
    scale = 64 / min(size)
    resized = (int(width * scale + 0.5), int(height * scale + 0.5))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    expected = cv2.resize(image, resized, interpolation=method)
    top, left = (expected.shape[0] - 64) // 2, (expected.shape[1] - 64) // 2
    expected = expected[top : top + 64, left : left + 64].astype(float)
    images = torch.from_numpy(image).permute(2, 0, 1)[None]
    ours = resize_images(images, 64, 64, pad=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).max() <= 1
    assert np.abs(ours - expected).mean() < 0.2


def matrix(side: int, reference: int, resize_px: int, crop_px: int) -> np.ndarray:
    """The share of each pixel of an axis in each output pixel, (crop_px, side), in double."""
    resized = max(1, int(side * resize_px / reference + 0.5))
    scale, place = side / resized, np.arange(crop_px)[:, None] + int((resized - crop_px) / 2)
    centre = np.clip((place + 0.5) * scale - 0.5, 0, side - 1)
    pixel = np.arange(side)
    covered = np.minimum(pixel + 1, (place + 1) * scale) - np.maximum(pixel, place * scale)
    weights = np.maximum(0, covered if scale > 1 else 1 - abs(pixel - centre))
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-6)
    return weights * ((place >= 0) & (place < resized))


SIZES = [(300, 200), (41, 40), (40, 79), (16, 16), (17, 400), (900, 16), (35, 36), (1000, 1030)]
SIZES += np.random.default_rng(0).integers(16, 1200, (30, 2)).tolist()


@pytest.mark.parametrize("preprocess", [(40, 36), (36, 36), (17, 16), (35, 35, "pad")])
@pytest.mark.parametrize("size", SIZES)
def test_blocks_leave_out_no_pixel(size: tuple[int, int], preprocess: tuple) -> None:
    """Against one matrix per axis; crops that are no multiple of a block, enlarged and shrunk."""
    settings = Preprocess(*preprocess)
    reference = (max if settings.mode == "pad" else min)(size)
    image = np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8)
    down, across = (matrix(side, reference, settings.resize_px, settings.crop_px) for side in size)
    ours = resize_images(
        torch.from_numpy(image)[None], settings.resize_px, settings.crop_px, settings.mode == "pad"
    )
    # Half a level from rounding, the rest from places in float32.
    assert np.abs(ours[0].numpy() - down @ image @ across.T).max() <= 0.51


def test_pad_keeps_the_whole_photo_on_black() -> None:
    white = torch.full((1, 3, 30, 60), 255, dtype=torch.uint8)
    square = resize_images(white, 32, 32, pad=True)[0, 0]
    assert square[:8].max() == 0
    assert square[24:].max() == 0
    assert (square[8:24] == 255).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"resize_px": 20, "crop_px": 32},
        {"resize_px": 40, "crop_px": 32, "mode": "pad"},
        {"resize_px": 32, "crop_px": 32, "mode": "squash"},
        {"resize_px": 32, "crop_px": 32, "std": (0.5, 0.5, 0.0)},
        {"resize_px": 8, "crop_px": 8},
    ],
)
def test_impossible_preprocessing_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"crop_px|mode|std"):
        Preprocess(**fields)
