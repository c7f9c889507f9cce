"""Photos made worse on purpose, at five severities, to score a model on them.

After ImageNet-C (Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations, ICLR 2019). Its strengths are meant for photos whose short side has
256 pixels, so that is what shrink() makes of larger ones first.
"""

import zlib
from collections.abc import Callable

import cv2
import numpy as np

SIDE_PX = 256
SEVERITIES = (1, 2, 3, 4, 5)


def blur(image: np.ndarray, sigma_px: float, _rng: np.random.Generator) -> np.ndarray:
    """Out of focus (ImageNet-C's gaussian_blur)."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px)


def noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A bad sensor (ImageNet-C's gaussian_noise); the deviation is of values in [0, 1]."""
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return to_bytes(image + 255 * deviation * grain)


def jpeg(image: np.ndarray, quality: float, _rng: np.random.Generator) -> np.ndarray:
    """Compressed too much (ImageNet-C's jpeg_compression)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def darkness(image: np.ndarray, stops: float, _rng: np.random.Generator) -> np.ndarray:
    """Exposed too little: each stop halves the light. Not in ImageNet-C, which only brightens."""
    return to_bytes(image * 2 ** (-stops / 2.2))  # values are light to the power of 1 / 2.2


def rotation(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Held askew, to a side that is drawn; mirrored where the corners would be empty."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.choice([-1, 1]) * degrees, 1)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def low_resolution(image: np.ndarray, factor: float, _rng: np.random.Generator) -> np.ndarray:
    """A thumbnail, enlarged again (ImageNet-C's pixelate, without its hard edges)."""
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    thumbnail = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(thumbnail, (width, height), interpolation=cv2.INTER_LINEAR)


def moire(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Photographed from a screen; the share of that in the result.

    As Yuan et al. made the photos of the AIM 2019 demoireing challenge: the screen shows each pixel
    as red, green and blue stripes, and a camera with a Bayer filter looks at it from a slight
    angle. The result is turned back, so that the pattern alone is measured.
    """
    height, width = image.shape[:2]
    stripes = np.zeros_like(image, shape=(3, 3, 3))
    for colour in range(3):
        stripes[:2, colour, colour] = 1  # the third row is the dark gap between pixels
    screen = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1) * np.tile(
        stripes, (height, width, 1)
    )
    screen = cv2.GaussianBlur(screen.astype(np.float32) * 4.5, (0, 0), 0.9)  # the camera's lens
    # A camera pixel for about each pixel of the screen: the closer, the wider the bands.
    angle, scale = rng.choice([-1, 1]) * rng.uniform(1, 4), rng.uniform(0.95, 1.08)
    look = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    sampled = look @ np.array([[1 / 3, 0, 0], [0, 1 / 3, 0], [0, 0, 1]])
    seen = to_bytes(
        cv2.warpAffine(screen, sampled, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    )
    sensor = seen[..., 1].copy()
    sensor[::2, ::2], sensor[1::2, 1::2] = seen[::2, ::2, 0], seen[1::2, 1::2, 2]
    photo = cv2.cvtColor(sensor, cv2.COLOR_BayerRGGB2RGB)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    photo = cv2.warpAffine(
        photo, look, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return to_bytes((1 - share) * image + share * photo.astype(np.float32))


# What it does, its strength at the severities 1 to 5, and how to show that strength.
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
    """The photo, made worse.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        name: One of CORRUPTIONS.
        severity: 1 to 5.
        photo: What else the draws depend on, usually its path. The severity is none of it: noise
            grows, its grain stays.
        seed: Of the draws.

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
    """The strength of a corruption, for people."""
    _, strengths, text = CORRUPTIONS[name]
    return text.format(strengths[severity - 1])


def shrink(image: np.ndarray) -> np.ndarray:
    """The photo with a short side of at most 256 px, to which the severities belong."""
    height, width = image.shape[:2]
    factor = SIDE_PX / min(height, width)
    if factor >= 1:
        return image
    size = (round(width * factor), round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped to uint8."""
    return np.rint(values).clip(0, 255).astype(np.uint8)
