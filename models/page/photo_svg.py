"""Draw an answered photo as SVG: the photo, and over it what spoke for each guess."""

import base64
import html

import cv2
import numpy as np

from models.model_file.evidence import Box, find_box, spread
from models.predictor import Answer

OVERLAY_PX = 160  # long side; the network's own maps are coarser
SHADE = 0.6  # opacity of the dark over what did not count
QUALITY = 82


def write_photo(image: np.ndarray, answer: Answer, labels: list[str]) -> str:
    """Draw a photo with a layer of evidence for each guess that is shown, hidden until asked for.

    The photo is sent as it was decoded, since browsers cannot show every format that is read.

    Args:
        image: (H, W, 3) uint8 RGB, upright.
        answer: The model's.
        labels: Of the guesses, best first, as the page names them.

    Returns:
        An inline SVG element with nothing to fetch. Where the verdict is none it has no layers:
        nothing speaks for a guess that is refused.
    """
    height, width = image.shape[:2]
    layers = ""
    if answer.verdict != "none":
        layers = "".join(
            _draw_layer(rank, label, evidence, answer.region, height, width)
            for rank, (label, evidence) in enumerate(zip(labels, answer.evidence, strict=False))
        )
    jpeg = _encode(".jpg", image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, QUALITY)
    return (
        f'<svg viewBox="0 0 {width} {height}"><image role="img" aria-label="Your photo" '
        f'width="{width}" height="{height}" href="data:image/jpeg;base64,{jpeg}"/>{layers}</svg>'
        '<button type="button" class="large" aria-label="Show the photo large">⤢</button>'
    )


def _draw_layer(
    rank: int, label: str, evidence: np.ndarray, region: Box, height_px: int, width_px: int
) -> str:
    """Darken what did not speak for a guess, and frame what spoke most for it."""
    scale = OVERLAY_PX / max(height_px, width_px)
    height, width = max(1, round(scale * height_px)), max(1, round(scale * width_px))
    levels = spread(evidence, region, height, width)
    layer = np.zeros((height, width, 4), np.uint8)
    layer[..., 3] = 255 * SHADE * (1 - np.sqrt(levels))  # the root: weak evidence stays in sight
    description, frame = f"Evidence for {label}", ""
    box = find_box(evidence, region)
    if box is not None:
        right, bottom = box.left + box.width, box.top + box.height
        description += (
            f", strongest from {box.left:.0%} to {right:.0%} of the photo's width and from "
            f"{box.top:.0%} to {bottom:.0%} of its height"
        )
        # White on black, so that the frame shows on any photo.
        frame = "".join(
            f'<rect x="{box.left * width_px:.1f}" y="{box.top * height_px:.1f}" fill="none" '
            f'width="{box.width * width_px:.1f}" height="{box.height * height_px:.1f}" '
            f'stroke="{colour}" stroke-width="{line}" vector-effect="non-scaling-stroke"/>'
            for colour, line in (("#000", 6), ("#fff", 2))
        )
    return (
        f'<g class="evidence rank-{rank}" role="img" aria-label="{html.escape(description)}">'
        f'<image width="{width_px}" height="{height_px}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{_encode(".png", layer)}"/>{frame}</g>'
    )


def _encode(extension: str, image: np.ndarray, *settings: int) -> str:
    """Encode (H, W, 3 or 4) uint8 in OpenCV's order of channels as base64 text."""
    return base64.b64encode(cv2.imencode(extension, image, settings)[1]).decode()
