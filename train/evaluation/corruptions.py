"""Corrupt photos on purpose, at five severities, to measure how robust a model is.

After ImageNet-C (Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations, ICLR 2019). Its strengths are meant for photos whose short side has
256 pixels, so larger ones go through shrink() first.
"""

import zlib
from collections.abc import Callable

import cv2
import numpy as np

SIDE_PX = 256
SEVERITIES = (1, 2, 3, 4, 5)


def blur(image: np.ndarray, sigma_px: float, _rng: np.random.Generator) -> np.ndarray:
    """Put the photo out of focus (ImageNet-C's gaussian_blur)."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px)


def noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add the noise of a bad sensor (ImageNet-C's gaussian_noise), for values in [0, 1]."""
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return to_bytes(image + 255 * deviation * grain)


def jpeg(image: np.ndarray, quality: float, _rng: np.random.Generator) -> np.ndarray:
    """Compress too much (ImageNet-C's jpeg_compression)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def darkness(image: np.ndarray, stops: float, _rng: np.random.Generator) -> np.ndarray:
    """Underexpose: each stop halves the light. ImageNet-C has only the opposite, brightness."""
    return to_bytes(image * 2 ** (-stops / 2.2))  # values are light to the power of 1 / 2.2


def rotation(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Hold the camera askew, to a random side; corners show the mirrored photo, not black."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.choice([-1, 1]) * degrees, 1)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def low_resolution(image: np.ndarray, factor: float, _rng: np.random.Generator) -> np.ndarray:
    """Enlarge a thumbnail (ImageNet-C's pixelate, without its hard edges)."""
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    thumbnail = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(thumbnail, (width, height), interpolation=cv2.INTER_LINEAR)


def moire(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Photograph a screen; the share is that of the screen photo in the result.

    As Yuan et al. made the photos of the AIM 2019 demoireing challenge: the screen shows each pixel
    as red, green and blue stripes, and a camera with a Bayer filter looks at it from a slight
    angle. The result is turned back, so that only the pattern is measured, not the rotation.
    """
    height, width = image.shape[:2]
    stripes = np.zeros_like(image, shape=(3, 3, 3))
    for colour in range(3):
        stripes[:2, colour, colour] = 1  # the third row is the dark gap between pixels
    screen = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1) * np.tile(
        stripes, (height, width, 1)
    )
    # The stripes let 2 of 9 parts of each colour through: 4.5 restores the brightness. The blur is
    # the camera's lens.
    screen = cv2.GaussianBlur(screen.astype(np.float32) * 4.5, (0, 0), 0.9)
    # About one camera pixel for each pixel of the screen: the closer to one, the wider the bands.
    angle, scale = rng.choice([-1, 1]) * rng.uniform(1, 4), rng.uniform(0.95, 1.08)
    look = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    sampled = look @ np.array([[1 / 3, 0, 0], [0, 1 / 3, 0], [0, 0, 1]])
    seen = to_bytes(
        cv2.warpAffine(screen, sampled, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    )
    # The Bayer filter keeps one colour per pixel: green on a chessboard, red and blue between.
    sensor = seen[..., 1].copy()
    sensor[::2, ::2], sensor[1::2, 1::2] = seen[::2, ::2, 0], seen[1::2, 1::2, 2]
    photo = cv2.cvtColor(sensor, cv2.COLOR_BayerRGGB2RGB)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    photo = cv2.warpAffine(
        photo, look, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return to_bytes((1 - share) * image + share * photo.astype(np.float32))


# Name -> the function, its strength at severities 1 to 5, and how to show that strength.
CORRUPTIONS: dict[str, tuple[Callable[..., np.ndarray], tuple[float, ...], str]] = {
    "blur": (blur, (1, 2, 3, 4, 6), "sigma {:g} px"),
    "noise": (noise, (0.08, 0.12, 0.18, 0.26, 0.38), "deviation {:g}"),
    "JPEG": (jpeg, (25, 18, 15, 10, 7), "quality {:g}"),
    "darkness": (darkness, (1, 2, 3, 4, 5), "{:g} stops"),
    "rotation": (rotation, (3, 6, 10, 15, 20), "{:g} degrees"),
    "low resolution": (low_resolution, (0.6, 0.5, 0.4, 0.3, 0.25), "scale {:g}"),
    "screen photo": (moire, (0.2, 0.4, 0.6, 0.8, 1.0), "share {:g}"),
}


def corrupt(
    image: np.ndarray, name: str, severity: int, photo: str = "", seed: int = 0
) -> np.ndarray:
    """Return the photo made worse.

    The random draws depend on seed, name and photo but not on the severity: as noise grows, its
    grain stays the same, so that severities differ in strength only.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        name: One of CORRUPTIONS.
        severity: 1 to 5.
        photo: Anything that tells this photo from others, usually its path.
        seed: Seed of the draws.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: No such corruption or severity.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(
            f"no corruption {name!r} of severity {severity}; there are {', '.join(CORRUPTIONS)}, "
            "each from 1 to 5"
        )
    change, strengths, _ = CORRUPTIONS[name]
    rng = np.random.default_rng((seed, zlib.crc32(f"{name}/{photo}".encode())))
    return change(image, strengths[severity - 1], rng)


def describe(name: str, severity: int) -> str:
    """Return the strength of a corruption, for people."""
    _, strengths, text = CORRUPTIONS[name]
    return text.format(strengths[severity - 1])


def shrink(image: np.ndarray) -> np.ndarray:
    """Return the photo with a short side of at most 256 px, which the severities are meant for."""
    height, width = image.shape[:2]
    factor = SIDE_PX / min(height, width)
    if factor >= 1:
        return image
    size = (round(width * factor), round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Round and clip to uint8."""
    return np.rint(values).clip(0, 255).astype(np.uint8)
