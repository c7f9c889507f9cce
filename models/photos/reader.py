"""One way to read a photo, for training, tagging and the demo."""

import contextlib
import io
import os
import stat
import threading
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from models.photos.avif_process import decode_apart
from models.photos.file_kind import CONVERT, describe_unreadable
from models.photos.limits import (
    JPEG_FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    find_excess,
    is_avif,
    max_pixels,
    tile_pixels,
)
from models.photos.memory import release_memory
from models.photos.shrink import shrink

MIN_SIDE_PX = 16
PHOTO_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)
# Only these decoders ever run: Pillow knows others that start programs or are little tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
# AVIF is decoded in a process of its own.
OPENED_HERE = tuple(format for format in FORMATS if format != "AVIF")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112
NAMELESS = "the photo"
RUN_LENGTH_CODED = (1, 2)  # BMP
# What goes to a model stays small: its resize takes 26 bytes a pixel.
MAX_REDUCED_PIXELS = 8 * 1000**2
# Above this, one photo at a time is decoded in a process.
LARGE_PIXELS = 16 * 1000**2
ONE_LARGE = threading.Lock()
# Above this, memory is given back afterwards: a few milliseconds beside a tenth of a second.
KEPT_PIXELS = 4 * 1000**2

# Pillow's notes on broken metadata of good photos help nobody here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
pillow_heif.register_heif_opener()


class PhotoError(ValueError):
    """A photo that cannot be read; the message says why and what to do, for a person."""


def read_photo(
    source: str | os.PathLike | bytes | Image.Image, side_px: int | None = None
) -> np.ndarray:
    """Read a photo, upright and in colour, whatever its format.

    JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC/HEIF and AVIF, told by content; of animations the first
    frame. Transparency is laid over white, 16-bit values are scaled to 8, colour profiles are
    ignored. What it may cost is limited: models.photos.limits.

    Args:
        source: A path, the bytes of a file, or a PIL image (its current frame).
        side_px: The short side, in pixels, that the caller needs. JPEGs are then decoded at 1/2,
            1/4 or 1/8 where that still leaves it, which is several times as fast; and whatever
            still has twice the side is averaged down to it.

    Returns:
        (H, W, 3) uint8 RGB, EXIF orientation applied.

    Raises:
        PhotoError: Whatever is wrong with it: empty, truncated, not a photo, over 50 MB, too many
            pixels for its format (100 megapixels at most), a side under 16 pixels.
    """
    if isinstance(source, Image.Image):
        return _decode(source, NAMELESS, side_px, is_ours=False)
    name = NAMELESS if isinstance(source, bytes) else _shown(Path(source).name)
    data = source if isinstance(source, bytes) else _read_file(Path(source), name)
    if not data:
        raise PhotoError(f"{name} is empty (0 bytes); choose another photo")
    if len(data) > MAX_BYTES:
        raise PhotoError(_too_heavy(name))
    if is_avif(data):
        answer = decode_apart(data, side_px)
        if isinstance(answer, str):
            raise PhotoError(f"{name} {answer}")
        return answer
    return read_here(data, name, side_px, OPENED_HERE)


def read_here(data: bytes, name: str, side_px: int | None, formats: tuple[str, ...]) -> np.ndarray:
    """The bytes of a file, decoded in this process by one of the formats' decoders.

    Raises:
        PhotoError: As read_photo.
    """
    if excess := find_excess(data):
        raise PhotoError(f"{name} {excess}, as no photo does; {CONVERT}")
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(_too_many_pixels(name)) from error
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise PhotoError(f"{name} {describe_unreadable(data)}") from error
    with image:
        pixels = _decode(image, name, side_px, is_ours=True)
    if image.width * image.height > KEPT_PIXELS:
        del image
        release_memory()
    return pixels


def _shown(name: str) -> str:
    """A file's name within a message: one line of moderate length, no control characters."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) <= 80 else f"{clean[:60]}...{clean[-15:]}"


def _read_file(path: Path, name: str) -> bytes:
    if path.suffix and path.suffix.lower() not in PHOTO_EXTENSIONS:
        raise PhotoError(
            f"{name} has the extension {_shown(path.suffix)}, which is not a photo's; "
            "expected .jpg, .png, .webp, .heic or the like: rename it if it is a photo"
        )
    try:
        status = path.stat()
        is_file, size = stat.S_ISREG(status.st_mode), status.st_size
        data = path.read_bytes() if is_file and size <= MAX_BYTES else b""
    except FileNotFoundError as error:
        raise PhotoError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise PhotoError(f"{name} cannot be opened; check its name and permissions") from error
    if not is_file:
        raise PhotoError(f"{name or path} is not a file; choose a photo")
    if size > MAX_BYTES:
        raise PhotoError(_too_heavy(name))
    return data


def _decode(image: Image.Image, name: str, side_px: int | None, is_ours: bool) -> np.ndarray:
    """Pixels of an opened image, after the limits that its header shows."""
    try:
        _check_limits(image, name)
        if side_px and is_ours and image.format in JPEG_FORMATS:  # a caller's keeps its size
            image.draft(None, (side_px, side_px))
        width, height = _reduced_size(image.size, side_px)
        if side_px and width * height > MAX_REDUCED_PIXELS:
            raise PhotoError(f"{name} is too long for its width; cut out the landmark")
        is_large = image.width * image.height > LARGE_PIXELS
        with ONE_LARGE if is_large else contextlib.nullcontext():
            image.load()
            return _upright_pixels(image, side_px)
    except PhotoError:
        raise
    except Exception as error:  # as above
        cut_off = "truncated" in str(error) or isinstance(error, EOFError)
        what = "is cut off: the file ends too early" if cut_off else "is damaged"
        raise PhotoError(f"{name} {what}; copy it again from where it came from") from error


def _check_limits(image: Image.Image, name: str) -> None:
    width, height = image.size
    pixels = max(width * height, tile_pixels(image))
    if pixels > MAX_PIXELS:
        raise PhotoError(_too_many_pixels(name))
    if pixels > (most := max_pixels(image.format, len(image.getbands()))):
        instead = "" if image.format in JPEG_FORMATS else "save it as JPEG or "
        raise PhotoError(
            f"{name} has {pixels / 1e6:.1f} megapixels, and a {image.format} of its kind is read "
            f"up to {most // 10**6}; {instead}make it smaller and try again"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise PhotoError(
            f"{name} is {width} x {height} pixels; both sides must have at least {MIN_SIDE_PX}"
        )
    if image.format == "BMP" and image.info.get("compression") in RUN_LENGTH_CODED:
        raise PhotoError(f"{name} is a run-length coded BMP, as no photo is; {CONVERT}")


def _reduced_size(size: tuple[int, int], side_px: int | None) -> tuple[int, int]:
    """Width and height to average a photo down to; its own if it is small enough."""
    width, height = size
    short = min(size)
    if side_px is None or short <= side_px:
        return size
    if short < 2 * side_px and width * height <= MAX_REDUCED_PIXELS:
        return size
    # The rounding of the model file's preprocess: (mode crop) the photo is resized only once.
    return int(width * side_px / short + 0.5), int(height * side_px / short + 0.5)


def _upright_pixels(image: Image.Image, side_px: int | None) -> np.ndarray:
    size = _reduced_size(image.size, side_px)  # anew: loading turns a TIFF
    method = UPRIGHT.get(_orientation(image))
    peak = _peak(image) if image.mode == "F" else 0.0
    if size != image.size:
        pixels = shrink(image, size, lambda rows: _to_rgb(rows, peak))
        if method is None:
            return pixels
        image = Image.fromarray(pixels)
    else:
        image = _to_rgb(image, peak)
    return np.array(image if method is None else image.transpose(method))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1  # unreadable metadata does not spoil a good picture


def _peak(image: Image.Image) -> float:
    """The largest value of a float image, at least 1, that becomes white."""
    rows = (np.asarray(image.crop((0, y, image.width, y + 1))) for y in range(image.height))
    return max(1.0, max(float(np.nan_to_num(row).max()) for row in rows))


def _to_rgb(image: Image.Image, peak: float) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    # convert() would clip these at 255 instead of scaling.
    if image.mode.startswith("I"):
        values = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image)).clip(0, None) * (255 / peak) + 0.5
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _too_heavy(name: str) -> str:
    return f"{name} is over {MAX_BYTES // 10**6} MB; make it smaller and try again"


def _too_many_pixels(name: str) -> str:
    return f"{name} has over {MAX_PIXELS // 10**6} megapixels; make it smaller and try again"
