"""Draw ten landmarks from a few shapes each, for photos that anybody may show."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
WATER = (86, 128, 160)


@dataclass(frozen=True)
class Pen:
    """Draw in a landmark's own units: x from its middle, y from 0 at its foot to 1 at its top.

    Attributes:
        draw: Of the enlarged picture.
        foot: Position of (0, 0) in pixels.
        unit_px: Pixels per unit.
        colour: (3,) float RGB of the stone or steel.
    """

    draw: ImageDraw.ImageDraw
    foot: tuple[float, float]
    unit_px: float
    colour: np.ndarray

    def place(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return the pixels of points."""
        x, y = self.foot
        return [(x + self.unit_px * across, y - self.unit_px * up) for across, up in points]

    def shade(self, light: float) -> Colour:
        """Return the colour, darker (light below 1) or lighter."""
        red, green, blue = (int(value) for value in (self.colour * light).clip(0, 255))
        return red, green, blue

    def shape(self, *points: tuple[float, float], light: float = 1.0) -> None:
        """Draw a filled polygon."""
        self.draw.polygon(self.place(points), fill=self.shade(light))

    def box(self, left: float, foot: float, right: float, top: float, light: float = 1.0) -> None:
        """Draw a rectangle, its right third in shadow."""
        edge = left + 0.65 * (right - left)
        self.shape((left, foot), (right, foot), (right, top), (left, top), light=0.8 * light)
        self.shape((left, foot), (edge, foot), (edge, top), (left, top), light=light)

    def disc(self, x: float, y: float, across: float, up: float, light: float = 1.0) -> None:
        """Draw a filled ellipse around (x, y)."""
        box = self.place([(x - across, y + up), (x + across, y - up)])
        self.draw.ellipse(box, fill=self.shade(light))

    def line(self, *points: tuple[float, float], width: float, light: float = 1.0) -> None:
        """Draw a line through points, of a width in units."""
        thick = max(1, round(width * self.unit_px))
        self.draw.line(self.place(points), fill=self.shade(light), width=thick, joint="curve")

    def gate(self, x: float, width: float, height: float, light: float = 0.35) -> None:
        """Draw a round-arched opening that stands on the ground."""
        half = width / 2
        left, right, top = x - half, x + half, height - half
        self.shape((left, 0), (right, 0), (right, top), (left, top), light=light)
        self.disc(x, top, half, half, light)


def draw_tower(pen: Pen) -> None:
    """Draw four curved legs of steel lattice."""
    # Wide at the foot and almost straight above: a power of the height left.
    ends = [(0.30 * (1 - up) ** 2.2 + 0.015, up) for up in np.linspace(0, 0.94, 12)]
    for side in (-1, 1):
        pen.line(*((side * across, up) for across, up in ends), width=0.035)
    for (wide, low), (narrow, high) in pairwise(ends):
        pen.line((-wide, low), (narrow, high), width=0.012, light=0.85)
        pen.line((wide, low), (-narrow, high), width=0.012, light=0.85)
    for up in (0.3, 0.58):
        across = 0.30 * (1 - up) ** 2.2 + 0.05
        pen.box(-across, up, across, up + 0.03)
    pen.line((0, 0.9), (0, 1), width=0.012)


def draw_bridge(pen: Pen) -> None:
    """Draw two portals, cables, and a deck over water."""
    pen.draw.rectangle([*pen.place([(-3, 0.12)])[0], *pen.place([(3, -0.5)])[0]], WATER)
    pen.box(-1.5, 0.3, 1.5, 0.36, 0.9)
    for x in (-0.55, 0.55):
        for side in (-0.05, 0.05):
            pen.box(x + side - 0.02, 0, x + side + 0.02, 1)
        for up in (0.55, 0.78, 0.95):
            pen.box(x - 0.06, up, x + 0.06, up + 0.035)
    # A hanging cable is nearly a parabola.
    cable = [(x, 0.4 + 0.6 * (x / 0.55) ** 2) for x in np.linspace(-0.55, 0.55, 15)]
    pen.line(*cable, width=0.018)
    for side in (-1, 1):
        pen.line((side * 0.55, 1), (side * 1.5, 0.36), width=0.018)
    for x, up in cable:
        pen.line((x, 0.36), (x, up), width=0.008)


def draw_pyramid(pen: Pen) -> None:
    """Draw a large and a small pyramid of courses of stone."""
    for x, size in ((0.75, 0.45), (0, 1.0)):
        pen.shape((x - 0.75 * size, 0), (x + 0.75 * size, 0), (x, size))
        pen.shape((x + 0.25 * size, 0), (x + 0.75 * size, 0), (x, size), light=0.7)
        for up in np.linspace(0.08, 0.9, 10) * size:
            across = 0.75 * (size - up)
            pen.line((x - across, up), (x + across, up), width=0.006, light=0.85)


def draw_dome(pen: Pen) -> None:
    """Draw a dome between four minarets."""
    for x in (-0.85, -0.62, 0.62, 0.85):
        pen.box(x - 0.025, 0, x + 0.025, 0.8)
        pen.disc(x, 0.82, 0.04, 0.05)
    pen.box(-0.45, 0, 0.45, 0.42)
    pen.gate(0, 0.22, 0.34)
    for x in (-0.32, 0.32):
        pen.gate(x, 0.11, 0.26)
    pen.box(-0.2, 0.42, 0.2, 0.52)
    pen.disc(0, 0.66, 0.26, 0.22)
    pen.disc(0.07, 0.66, 0.19, 0.2, 0.92)
    pen.line((0, 0.86), (0, 1), width=0.02, light=0.8)


def draw_arch(pen: Pen) -> None:
    """Draw a triumphal arch with a deep passage."""
    pen.box(-0.55, 0, 0.55, 1)
    pen.gate(0, 0.42, 0.7)
    for side in (-1, 1):
        pen.box(side * 0.42 - 0.07, 0.12, side * 0.42 + 0.07, 0.5, 0.88)
    for up in (0.74, 0.93):
        pen.box(-0.6, up, 0.6, up + 0.05, 1.06)


def draw_lighthouse(pen: Pen) -> None:
    """Draw a tapering tower in two colours, with a lantern."""
    steps = np.linspace(0, 0.78, 7)
    for number, (low, high) in enumerate(pairwise(steps)):
        wide, narrow = 0.17 - 0.1 * low, 0.17 - 0.1 * high
        light = 1.0 if number % 2 else 1.7
        pen.shape((-wide, low), (wide, low), (narrow, high), (-narrow, high), light=light)
        pen.shape(
            (wide / 3, low), (wide, low), (narrow, high), (narrow / 3, high), light=0.8 * light
        )
    pen.box(-0.14, 0.78, 0.14, 0.81, 0.6)
    pen.box(-0.07, 0.81, 0.07, 0.91, 1.9)
    pen.shape((-0.1, 0.91), (0.1, 0.91), (0, 1))


def draw_temple(pen: Pen) -> None:
    """Draw eight columns under a gable."""
    for step, half in enumerate((0.85, 0.81, 0.77)):
        pen.box(-half, 0.04 * step, half, 0.04 * (step + 1), 0.95)
    pen.box(-0.68, 0.12, 0.68, 0.66, 0.45)
    for x in np.linspace(-0.68, 0.68, 8):
        pen.box(x - 0.045, 0.12, x + 0.045, 0.66)
    pen.box(-0.77, 0.66, 0.77, 0.75)
    pen.shape((-0.8, 0.75), (0.8, 0.75), (0, 1))
    pen.shape((-0.55, 0.785), (0.55, 0.785), (0, 0.95), light=0.75)


def draw_windmill(pen: Pen) -> None:
    """Draw a tapering mill with four sails."""
    pen.shape((-0.24, 0), (0.24, 0), (0.15, 0.62), (-0.15, 0.62))
    pen.shape((0.08, 0), (0.24, 0), (0.15, 0.62), (0.05, 0.62), light=0.8)
    pen.gate(0, 0.12, 0.2)
    pen.disc(0, 0.62, 0.16, 0.12, 0.6)
    for quarter in range(4):
        angle = math.radians(25 + 90 * quarter)
        across, up = math.cos(angle), math.sin(angle)
        tip = (0.42 * across, 0.62 + 0.42 * up)
        pen.line((0, 0.62), tip, width=0.02, light=0.5)
        # The sail's cloth is on one side of its arm, so that the mill seems to turn.
        side = (tip[0] - 0.1 * up, tip[1] + 0.1 * across)
        root = (0.1 * across, 0.62 + 0.1 * up)
        pen.shape(root, tip, side, (root[0] - 0.1 * up, root[1] + 0.1 * across), light=1.5)


def draw_pagoda(pen: Pen) -> None:
    """Draw five roofs, each smaller than the one below."""
    for storey in range(5):
        low, half = 0.18 * storey, 0.3 - 0.045 * storey
        pen.box(-half, low, half, low + 0.11, 1.3)
        eave = half + 0.14
        pen.shape(
            (-eave, low + 0.11),
            (eave, low + 0.11),
            (half * 0.7, low + 0.18),
            (-half * 0.7, low + 0.18),
            light=0.6,
        )
        for side in (-1, 1):
            pen.line(
                (side * (eave - 0.03), low + 0.11),
                (side * (eave + 0.05), low + 0.15),
                width=0.02,
                light=0.6,
            )
    pen.line((0, 0.88), (0, 1), width=0.02, light=0.6)


def draw_stones(pen: Pen) -> None:
    """Draw standing stones, some under a lintel."""
    for x, high in (
        (-0.95, 0.5),
        (-0.62, 0.75),
        (-0.3, 0.75),
        (0.1, 0.8),
        (0.45, 0.8),
        (0.85, 0.6),
    ):
        pen.shape((x - 0.1, 0), (x + 0.1, 0), (x + 0.08, high), (x - 0.07, high - 0.02))
        pen.shape((x + 0.03, 0), (x + 0.1, 0), (x + 0.08, high), (x + 0.03, high), light=0.75)
    pen.box(-0.74, 0.75, -0.18, 0.9, 1.05)
    pen.box(-0.02, 0.8, 0.57, 0.95, 1.05)
    pen.disc(0.7, 0.04, 0.14, 0.07, 0.7)


# Name -> painter, colour. The order decides the classes' numbers and seeds: append, never insert.
LANDMARKS: dict[str, tuple[Callable[[Pen], None], Colour]] = {
    "Iron Tower": (draw_tower, (110, 88, 74)),
    "Red Bridge": (draw_bridge, (188, 72, 54)),
    "Desert Pyramid": (draw_pyramid, (208, 178, 122)),
    "White Dome": (draw_dome, (232, 228, 220)),
    "Victory Arch": (draw_arch, (206, 192, 164)),
    "Cape Lighthouse": (draw_lighthouse, (140, 60, 56)),
    "Marble Temple": (draw_temple, (218, 206, 186)),
    "Old Windmill": (draw_windmill, (150, 118, 96)),
    "Lake Pagoda": (draw_pagoda, (168, 92, 66)),
    "Stone Circle": (draw_stones, (142, 140, 134)),
}
