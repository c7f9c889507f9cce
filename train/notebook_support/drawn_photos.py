"""Draw photos of landmarks: a small data set, made in seconds, that anybody may show."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from train.notebook_support.drawn_landmarks import LANDMARKS, Colour, Pen

OVERSAMPLING = 3  # drawn larger and then shrunk, for smooth edges
# Colours at the top and the foot of the sky, and of the ground.
SKIES: list[tuple[Colour, Colour, Colour]] = [
    ((74, 134, 200), (205, 226, 240), (120, 150, 90)),  # noon
    ((58, 62, 110), (244, 170, 120), (96, 88, 70)),  # dusk
    ((150, 160, 172), (214, 216, 218), (116, 128, 104)),  # overcast
    ((120, 150, 205), (250, 218, 205), (150, 146, 104)),  # dawn
]


def draw_photo(name: str, variant: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """Draw a landmark in a scene; the variant decides place, distance, light and everything else.

    Args:
        name: One of LANDMARKS.
        variant: Seed; the same variant gives the same picture.
        size: Width and height in pixels.

    Returns:
        An RGB picture.
    """
    painter, colour = LANDMARKS[name]
    rng = np.random.default_rng((list(LANDMARKS).index(name), variant))
    width, height = (side * OVERSAMPLING for side in size)
    horizon = height * rng.uniform(0.62, 0.8)
    image, ground = draw_backdrop(rng, width, height, horizon)
    draw = ImageDraw.Draw(image)
    foot = (width * rng.uniform(0.38, 0.62), horizon + height * rng.uniform(0.02, 0.1))
    unit_px = foot[1] * rng.uniform(0.6, 0.9)
    stone = np.array(colour) * rng.uniform(0.82, 1.12) + rng.normal(0, 5, 3)
    painter(Pen(draw, foot, unit_px, stone))
    draw_bushes(rng, draw, width, height, foot[1], ground)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.0)
    image = tilt(image, rng.normal(0, 1.5)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7)))
    grain = rng.normal(0, rng.uniform(1, 5), (size[1], size[0], 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def tilt(image: Image.Image, degrees: float) -> Image.Image:
    """Turn a picture a little, as a camera held askew does; empty corners are cropped away."""
    width, height = image.size
    rim = math.ceil(max(width, height) / 2 * math.tan(math.radians(abs(degrees))))
    turned = image.rotate(degrees, Image.Resampling.BICUBIC)
    whole = (rim, rim, width - rim, height - rim)
    return turned.resize(image.size, Image.Resampling.BICUBIC, box=whole)


def draw_backdrop(
    rng: np.random.Generator, width: int, height: int, horizon: float
) -> tuple[Image.Image, Colour]:
    """Draw sky with clouds, hills and ground.

    Returns:
        The picture, and the colour of the ground.
    """
    top, bottom, ground = (np.array(each) for each in SKIES[rng.integers(len(SKIES))])
    share = np.linspace(0, 1, height)[:, None] ** 0.8
    rows = top + (bottom - top) * share + rng.normal(0, 4, 3)
    rows[int(horizon) :] = ground * np.linspace(1.05, 0.8, height - int(horizon))[:, None]
    picture = np.broadcast_to(rows[:, None], (height, width, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 4)):
        x, y = width * rng.uniform(0, 1), horizon * rng.uniform(0.05, 0.6)
        cloud = tuple((bottom * 1.04).clip(0, 255).astype(int))
        for _ in range(5):
            across, up = width * rng.uniform(0.03, 0.09), height * rng.uniform(0.012, 0.03)
            x += across * 0.7
            draw.ellipse([x - across, y - up, x + across, y + up], fill=cloud)
    for depth in (0.75, 0.9):
        columns = np.linspace(0, width, 40)
        waves = rng.uniform(1, 3) * columns / width * math.tau + rng.uniform(0, math.tau)
        tops = horizon - height * rng.uniform(0.01, 0.09) * (1 + np.sin(waves)) / 2
        colour = tuple((bottom * (1 - depth) + ground * depth).astype(int))
        ridge = list(zip(columns.tolist(), tops.tolist(), strict=True))
        draw.polygon([(0, horizon), *ridge, (width, horizon)], fill=colour)
    red, green, blue = (int(value) for value in ground)
    return image, (red, green, blue)


def draw_bushes(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    width: int,
    height: int,
    foot: float,
    ground: Colour,
) -> None:
    """Draw up to four bushes in front of the landmark, which may hide a part of it."""
    for _ in range(rng.integers(0, 5)):
        x, y = width * rng.uniform(0, 1), foot + height * rng.uniform(0, 0.05)
        for _ in range(6):
            radius = height * rng.uniform(0.015, 0.05)
            green = np.array(ground) * rng.uniform(0.45, 0.8)
            near_x, near_y = x + rng.normal(0, radius), y - radius * rng.uniform(0, 1)
            box = [near_x - radius, near_y - radius, near_x + radius, near_y + radius]
            draw.ellipse(box, fill=tuple(green.astype(int)))


def draw_dataset(
    root: Path,
    parts: dict[str, int],
    names: Sequence[str] = tuple(LANDMARKS),
    size: tuple[int, int] = (256, 192),
    seed: int = 0,
) -> Path:
    """Write drawn photos in class folders: root/train/00.Iron_Tower/000.jpg, ...

    Args:
        root: The folder; photos that exist are kept.
        parts: Part (train, test) -> photos per class.
        names: Landmarks, of LANDMARKS.
        size: Width and height in pixels.
        seed: Another seed gives different photos.

    Returns:
        root.
    """
    jobs = []
    variant = 10_000 * seed  # no photo of one part or seed is also in another
    for part, count in parts.items():
        for number in range(variant, variant + count):
            for label, name in enumerate(names):
                folder = root / part / f"{label:02}.{name.replace(' ', '_')}"
                jobs.append((folder / f"{number:03}.jpg", name, number))
        variant += count
    for path, name, number in tqdm(jobs, "drawing", unit="photo", leave=False):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_photo(name, number, size).save(path, quality=90)
    return root
