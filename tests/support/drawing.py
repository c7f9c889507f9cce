"""Drawn photos, in place of real ones."""

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ["crimson", "seagreen", "royalblue", "gold", "orchid", "sienna"]
TOY_CLASSES = ["Red Tower", "Green Castle", "Blue Bridge", "Gold Gate", "Pink Palace", "Old Rock"]


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
