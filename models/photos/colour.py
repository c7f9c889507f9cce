"""Convert a photo's colours to sRGB: embedded ICC profiles, HDR, and what PNGs say in chunks."""

import functools
import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms, ImageFilter

# Profiles of displays take kilobytes, those of presses 0.5 to 3 MB.
MAX_PROFILE_BYTES = 4 * 1000**2
# Programs in a profile, of any length, that run for each colour; none of photos is known.
PROGRAM = b"mpet"
# Displays, cameras and scanners, presses, colour spaces; others are no colours of a photo.
CLASSES = ("mntr", "scnr", "prtr", "spac")
# Profiles of sRGB differ by rounding; up to this many levels of 255 it is sRGB, left as it is.
SRGB_LEVELS = 3
SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")

# Code points of ITU-T H.273 in HEIC, AVIF and PNG: primaries as (x, y) of red, green and blue.
WHITE = (0.3127, 0.3290)
REC709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
PRIMARIES = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # Rec. 2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
PQ, HLG = 16, 18
# Of white paper, and of the brightest that is kept apart from it (ITU-R BT.2408).
WHITE_NITS, PEAK_NITS = 203, 1000
PAPER = 0.5  # what white paper becomes, in linear light
ROLL_OFF = 7.0
LUT_SIDE = 65
# A PNG's gamma and primaries that differ by less are those of sRGB, rounded: libpng's tolerances.
GAMMA, GAMMA_PART, PRIMARY_DISTANCE = 1 / 2.2, 0.05, 0.01
MAX_CHUNKS = 1000
Convert = Callable[[Image.Image], Image.Image]


def find_colours(image: Image.Image) -> tuple[str, Convert] | None:
    """Return how to convert a photo's colours to sRGB.

    Args:
        image: Opened, perhaps not decoded yet.

    Returns:
        The mode that the conversion takes (L, RGB or CMYK) and the conversion, in which each
        pixel stands alone; None where the colours are sRGB already, or what a profile says is
        broken, too large, or meant for another kind of picture.
    """
    codes = image.info.get("nclx_profile") or {}
    primaries, transfer = codes.get("color_primaries"), codes.get("transfer_characteristics")
    profile = image.info.get("icc_profile")
    if transfer not in (PQ, HLG) and isinstance(profile, bytes) and profile:
        mode = SPACES.get(profile[16:20].decode("latin-1").strip())
        fits = mode == "RGB" or mode == ("L" if image.mode in GREY_MODES else image.mode)
        if image.mode == "CMYK" and mode != "CMYK":
            fits = False
        transform = _transform(profile, mode) if fits else None
        return transform and (mode, transform.apply)
    if not codes and "gamma" in image.info and "srgb" not in image.info:  # of a PNG
        convert = _gamma_conversion(image.info["gamma"], image.info.get("chromaticity"))
        return convert and ("RGB", convert)
    if image.mode == "CMYK" or not (transfer in (PQ, HLG) or primaries in PRIMARIES):
        return None
    return "RGB", lambda rgb: rgb.filter(_table(PRIMARIES.get(primaries, REC709), transfer))


def find_png_codes(png: bytes) -> dict[str, int] | None:
    """Return what a PNG's cICP chunk says of its colours, as pillow_heif does of a HEIC.

    It overrides a profile (PNG specification, third edition, 4.3); None where there is none, or
    one that says nothing.
    """
    position = 8
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(png):
            return None
        length, kind = struct.unpack_from(">I4s", png, position)
        if kind == b"IDAT":
            return None
        if kind == b"cICP":
            codes = png[position + 8 : position + 8 + length]
            if codes[2:] != b"\0\1" or codes[0] not in (1, *PRIMARIES):
                return None
            return {"color_primaries": codes[0], "transfer_characteristics": codes[1]}
        position += 12 + length
    return None


@functools.lru_cache(maxsize=8)
def _gamma_conversion(gamma: float, points: tuple[float, ...] | None) -> Convert | None:
    """Return what a PNG's gAMA and cHRM chunks ask for, as Chromium shows it.

    Args:
        gamma: Of the code for light, such as 1 / 2.2.
        points: x and y of white, red, green and blue; None: those of sRGB, as also without gAMA.
    """
    white, *primaries = zip(points[::2], points[1::2], strict=True) if points else (WHITE, *REC709)
    if not 0.1 <= gamma <= 10 or min(y for _, y in (white, *primaries)) <= 0:
        return None
    is_srgb = np.abs(np.subtract(primaries, REC709)).max() < PRIMARY_DISTANCE
    if is_srgb and abs(gamma / GAMMA - 1) < GAMMA_PART:
        return None
    curve = np.rint(255 * _to_srgb((np.arange(256) / 255) ** (1 / gamma))).astype(int).tolist()
    if is_srgb:
        return lambda rgb: rgb.point(curve * 3)
    try:
        table = _table(tuple(primaries), None, white)
    except np.linalg.LinAlgError:
        return None
    return lambda rgb: rgb.point(curve * 3).filter(table)


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if len(profile) > MAX_PROFILE_BYTES or PROGRAM in profile:
        return None
    if profile[12:16].decode("latin-1") not in CLASSES:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            SRGB,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None  # a broken profile does not spoil a good picture
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    colours = Image.fromarray(grid if mode == "RGB" else grid[..., 0])
    change = np.asarray(transform.apply(colours), int) - np.asarray(colours.convert("RGB"))
    return None if np.abs(change).max() <= SRGB_LEVELS else transform


@functools.lru_cache(maxsize=8)
def _table(
    primaries: tuple[tuple[float, float], ...],
    transfer: int | None,
    white: tuple[float, float] = WHITE,
) -> ImageFilter.Color3DLUT:
    """Tabulate a conversion to sRGB, with a tone curve where the light exceeds white paper."""
    codes = np.linspace(0, 1, LUT_SIDE)
    blue, green, red = np.meshgrid(codes, codes, codes, indexing="ij")  # red changes fastest
    colours = np.stack([red, green, blue], axis=-1)
    light = {PQ: _pq_light, HLG: _hlg_light}.get(transfer, _srgb_light)(colours)
    if primaries != REC709:
        matrix = np.linalg.inv(_to_xyz(REC709, WHITE)) @ _to_xyz(primaries, white)
        light = light @ (matrix / matrix.sum(axis=1, keepdims=True)).T  # white stays white
    if transfer in (PQ, HLG):
        brightest = light.max(axis=-1, keepdims=True)
        light *= _tone(brightest) / np.maximum(brightest, 1e-9)
    light = light.clip(0, 1)
    return ImageFilter.Color3DLUT(LUT_SIDE, _to_srgb(light).ravel().tolist())


def _tone(light: np.ndarray) -> np.ndarray:
    """Return light, 1 being white paper, as a share of what sRGB can show.

    Halves it up to white paper and rolls off to the peak: what Chromium shows, within 5 levels.
    """
    above = (light - 1).clip(0) / (PEAK_NITS / WHITE_NITS - 1)
    rolled = np.log1p(ROLL_OFF * above) / np.log1p(ROLL_OFF)
    return PAPER * light.clip(None, 1) + (1 - PAPER) * rolled


def _to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _srgb_light(codes: np.ndarray) -> np.ndarray:
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def _pq_light(codes: np.ndarray) -> np.ndarray:
    """Return the light of PQ (SMPTE ST 2084) codes; 1 is white paper."""
    power = codes ** (32 / 2523)
    ratio = (power - 0.8359375).clip(0) / (18.8515625 - 18.6875 * power)
    return 10_000 / WHITE_NITS * ratio ** (8192 / 1305)


def _hlg_light(codes: np.ndarray) -> np.ndarray:
    """Return the light of HLG codes (ITU-R BT.2100) on a display of 1,000 nits; 1 is white."""
    bright = (np.exp((codes - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(codes <= 0.5, codes**2 / 3, bright)
    luminance = scene @ (0.2627, 0.6780, 0.0593)
    return PEAK_NITS / WHITE_NITS * scene * np.maximum(luminance, 1e-9)[..., None] ** 0.2


def _to_xyz(primaries: tuple[tuple[float, float], ...], white: tuple[float, float]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ whose white has a luminance of 1."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*primaries, white)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
