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
