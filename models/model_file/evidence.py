"""Place the maps of a model file in the photo: the region it saw, an overlay, a box."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.model_file.preprocess import Preprocess

BOX_LEVEL = 0.25
"""Fraction of a map's largest value that counts as evidence; see benchmarks/evidence.py."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in fractions of the upright photo's width and height.

    May reach beyond the photo.

    Attributes:
        left: Distance from the left edge.
        top: Distance from the top edge.
        width: Fraction of the photo's width.
        height: Fraction of the photo's height.
    """

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Fraction of the photo's area."""
        return self.width * self.height

    def overlap(self, other: "Box") -> float:
        """Return the intersection over union, in [0, 1]."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        shared = max(0.0, wide) * max(0.0, high)
        return shared / max(1e-12, self.area + other.area - shared)


def seen_region(preprocess: Preprocess, height_px: int, width_px: int) -> Box:
    """Return the part of a photo that the network sees.

    Args:
        preprocess: The model file's.
        height_px: Height of the upright photo, at any scale.
        width_px: Its width, at the same scale.

    Returns:
        For mode "crop", a part of the photo; for "pad", it reaches beyond the photo's edges.
    """
    high, wide = preprocess.resized(height_px, width_px)
    # As in resize_rows: a crop starts at floor(excess / 2), and a border is floor(missing / 2)
    # wide; int() rounds both towards zero.
    top, left = int((high - preprocess.crop_px) / 2), int((wide - preprocess.crop_px) / 2)
    side = preprocess.crop_px
    return Box(left / wide, top / high, side / wide, side / high)


def spread(evidence: np.ndarray, region: Box, height_px: int, width_px: int) -> np.ndarray:
    """Stretch a map over its photo.

    Args:
        evidence: (h, w) float32 >= 0, over the region.
        region: What the network saw.
        height_px: Height of the result.
        width_px: Width of the result.

    Returns:
        (height_px, width_px) float32 in [0, 1], where 1 is the map's largest value; 0 outside the
        region.
    """
    # Centres of the result's pixels, in fractions of the photo; then in cells of the map.
    rows = (np.arange(height_px) + 0.5) / height_px
    columns = (np.arange(width_px) + 0.5) / width_px
    high, wide = evidence.shape
    y = (rows - region.top) / region.height * high - 0.5
    x = (columns - region.left) / region.width * wide - 0.5
    inside_y, inside_x = (y >= -0.5) & (y <= high - 0.5), (x >= -0.5) & (x <= wide - 0.5)
    grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    peak = max(1e-12, float(evidence.max()))  # an empty map stays empty
    laid = cv2.remap(
        evidence / peak, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return laid * (inside_y[:, None] & inside_x[None, :])


def find_box(
    evidence: np.ndarray, region: Box, level: float = BOX_LEVEL, side_px: int = 128
) -> Box | None:
    """Return the box around the largest connected part of the evidence above a level.

    Args:
        evidence: (h, w) float32 >= 0, over the region.
        region: What the network saw.
        level: Fraction of the map's largest value, in (0, 1).
        side_px: Resolution of the box: the map is cut at this many pixels per side.

    Returns:
        None where the map is empty, or speaks only outside the photo.
    """
    if not evidence.max() > 0:
        return None
    mask = largest_part(spread(evidence, region, side_px, side_px) >= level)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None  # it lies entirely in the border around a padded photo
    top, left = rows[0] / side_px, columns[0] / side_px
    return Box(
        left=float(left),
        top=float(top),
        width=float((columns[-1] + 1) / side_px - left),
        height=float((rows[-1] + 1) / side_px - top),
    )


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Keep only the largest connected part of a mask: (H, W) bool -> (H, W) bool."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if len(statistics) == 1:  # part 0 is the background
        return mask
    return parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
