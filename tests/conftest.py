"""What all tests share: drawn photos, no network, no cache of the user's."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

COLOURS = ["crimson", "seagreen", "royalblue", "gold", "orchid", "sienna"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, help="folder of real photos, for slow tests")


def draw_landmark(label: int, variant: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A drawn photo: the label decides shape and colour, the variant place, size and noise."""
    rng = np.random.default_rng((label, variant))
    width, height = size
    noise = rng.normal(150, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise)
    draw = ImageDraw.Draw(image)
    centre_x, centre_y = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
    radius = min(size) * rng.uniform(0.25, 0.38)
    colour = COLOURS[label % len(COLOURS)]
    draw.regular_polygon((centre_x, centre_y, radius), 3 + label, rng.uniform(0, 90), fill=colour)
    return image


@pytest.fixture(scope="session")
def landmark_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: train/ of 3 classes with 12 drawn photos each, and a test/ folder."""
    root = tmp_path_factory.mktemp("landmark_photos")
    for part, count, first in (("train", 12, 0), ("test", 2, 100)):
        for label, name in enumerate(["Red_Tower", "Green_Castle", "Blue_Bridge"]):
            folder = root / part / f"{label:02}.{name}"
            folder.mkdir(parents=True)
            for variant in range(first, first + count):
                draw_landmark(label, variant).save(folder / f"{variant:03}.jpg", quality=95)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded photos of tests stay out of the user's cache; shared within a test session."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("LANDMARKS_CACHE", str(folder))
    return folder
