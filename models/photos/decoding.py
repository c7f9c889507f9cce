"""Turn the bytes of a photo into RGB pixels in this process, or say for a person why not."""

import contextlib
import io
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pillow_heif
from PIL import Image

from models.photos.limits import (
    JPEG_FORMATS,
    MAX_PIXELS,
    find_excess,
    max_pixels,
    tile_pixels,
)
from models.photos.memory import release_memory

MIN_SIDE_PX = 16
# Only these decoders ever run: Pillow knows others that start programs or are little tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
# The name in messages about photos that come without one: uploads and pictures in memory.
NAMELESS = "the photo"
CONVERT = "save it as JPEG or PNG and try again"

# What undoes each value of the EXIF tag 274; 1 is upright already.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
RUN_LENGTH_ENCODED = (1, 2)  # values of a BMP header's compression field

# Caps what goes to a model: its resize takes 26 bytes a pixel.
MAX_REDUCED_PIXELS = 8 * 1000**2
# Above this size, only one photo at a time is decoded in a process.
LARGE_PIXELS = 16 * 1000**2
ONE_LARGE = threading.Lock()
# Above this size, memory is given back afterwards: milliseconds, beside a tenth of a second.
KEPT_PIXELS = 4 * 1000**2

# First bytes of files that people take for photos, and what these files are.
MARKUP = (
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG document"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"%pdf", "a PDF document"),
)
BINARY = (
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"8BPS", "a Photoshop document"),
    (b"II*\x00\x10\x00\x00\x00CR", "a raw camera file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
PHOTO_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
PHOTO_BRANDS = (
    *(b"avif", b"avis", b"mif1", b"msf1"),
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
)

# Pillow warns about broken metadata of good photos, which helps nobody here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
pillow_heif.register_heif_opener()


class PhotoError(ValueError):
    """A photo that cannot be read; the message says why and what to do, for a person."""


def decode_bytes(
    data: bytes, name: str, side_px: int | None, formats: tuple[str, ...]
) -> np.ndarray:
    """Decode the bytes of a file in this process.

    Args:
        data: The bytes.
        name: What messages call the photo.
        side_px: As for models.photos.read_photo.
        formats: The decoders that may run, by Pillow's names.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        PhotoError: As read_photo.
    """
    # Before any decoder: some spend minutes or gigabytes on a few kilobytes.
    if excess := find_excess(data):
        raise PhotoError(f"{name} {excess}, unlike any real photo; {CONVERT}")
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(_too_many_pixels(name)) from error
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise PhotoError(f"{name} {describe_unreadable(data)}") from error
    with image:
        pixels = decode_image(image, name, side_px, is_ours=True)
    if image.width * image.height > KEPT_PIXELS:
        del image  # else its memory is not free yet
        release_memory()
    return pixels


def decode_image(
    image: Image.Image, name: str, side_px: int | None, is_ours: bool = False
) -> np.ndarray:
    """Return the pixels of an opened image, after checking the limits that its header shows.

    Args:
        image: Opened, perhaps not decoded yet; a caller's own stays as it is.
        name: What messages call the photo.
        side_px: As for models.photos.read_photo.
        is_ours: Opened here, so that its size may be changed before decoding.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        PhotoError: As read_photo.
    """
    try:
        _check_limits(image, name)
        if side_px and is_ours and image.format in JPEG_FORMATS:
            image.draft(None, (side_px, side_px))  # decodes at 1/2, 1/4 or 1/8: far less work
        width, height = _reduced_size(image.size, side_px)
        if side_px and width * height > MAX_REDUCED_PIXELS:
            raise PhotoError(f"{name} is too elongated; crop it to the landmark")
        is_large = image.width * image.height > LARGE_PIXELS
        with ONE_LARGE if is_large else contextlib.nullcontext():
            image.load()
            return _upright_pixels(image, side_px)
    except PhotoError:
        raise
    except Exception as error:  # as above
        cut_off = "truncated" in str(error) or isinstance(error, EOFError)
        what = "is cut off: the file ends too early" if cut_off else "is damaged"
        raise PhotoError(f"{name} {what}; copy it again from its source") from error


def describe_unreadable(data: bytes) -> str:
    """Tell by its first bytes what a file is that no decoder takes.

    Returns:
        A phrase that continues "the photo ...".
    """
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    for signature, what in MARKUP:
        if start[: len(signature)].lower() == signature:
            return f"is {what}, not a photo; {CONVERT}"
    if start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return f"is a text file, not a photo; {CONVERT}"
    for signature, what in BINARY:
        if data.startswith(signature):
            return f"is {what}, not a photo; {CONVERT}"
    is_riff, is_container = data.startswith(b"RIFF"), data[4:8] == b"ftyp"
    if is_container and data[8:12] == b"crx ":
        return f"is a raw camera file, not a photo; {CONVERT}"
    if (is_riff and data[8:12] != b"WEBP") or (is_container and data[8:12] not in PHOTO_BRANDS):
        return "is a video or audio file, not a photo; save a still picture from it"
    if is_riff or is_container or data.startswith(PHOTO_SIGNATURES):
        return "is damaged: it begins like a photo, but cannot be read; copy it again"
    return f"is not a photo in a known format; {CONVERT}"


def shrink(
    image: Image.Image, size: tuple[int, int], to_rgb: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    """Average the area that each output pixel covers.

    A few rows at a time, so that no second full-size copy is made. The average is that of
    resize_weights in the model file's preprocess, which then has nothing left to do on a photo of
    the size that it wants. Pillow's own reduce() stops at whole factors, and what is resized again
    after it is blurred: on sharp content by 3 grey levels on average where it leaves twice the
    side, by 10 where it leaves little more than the side itself.

    Args:
        image: A decoded image of any mode.
        size: Width and height wanted; at most the image's.
        to_rgb: Converts some rows of it to RGB.

    Returns:
        (H, W, 3) uint8.
    """
    width, height = size
    across = _row_averager(image.width, width)
    small = np.empty((height, width, 3), np.uint8)
    scale = image.height / height
    for row in range(height):
        top, bottom = row * scale, min((row + 1) * scale, image.height)
        first, last = int(top), min(int(np.ceil(bottom)), image.height)
        rows = np.asarray(to_rgb(image.crop((0, first, image.width, last))))
        # The first and last row count for the part of them that lies between top and bottom.
        edges = np.arange(first, last, dtype=np.float64)
        share = np.minimum(edges + 1, bottom) - np.maximum(edges, top)
        share = (share / share.sum()).astype(np.float32)
        line = (share @ rows.reshape(len(rows), -1).astype(np.float32)).reshape(-1, 3)
        small[row] = np.rint(across(line))
    return small


def _row_averager(length: int, wanted: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what averages a row of pixels, (length, 3) float32, to (wanted, 3)."""
    edges = np.arange(wanted + 1) * (length / wanted)
    complete = np.minimum(edges.astype(np.int64), length - 1)
    part = (edges - complete)[:, None]

    def average(line: np.ndarray) -> np.ndarray:
        # The integral of the row up to each edge; double, for sums of 100,000 pixels.
        sums = np.zeros((length + 1, 3))
        np.cumsum(line, axis=0, dtype=np.float64, out=sums[1:])
        integral = sums[complete] + part * line[complete]
        return np.diff(integral, axis=0) / (length / wanted)

    return average


def _check_limits(image: Image.Image, name: str) -> None:
    width, height = image.size
    pixels = max(width * height, tile_pixels(image))
    if pixels > MAX_PIXELS:
        raise PhotoError(_too_many_pixels(name))
    if pixels > (most := max_pixels(image.format, len(image.getbands()))):
        instead = "" if image.format in JPEG_FORMATS else "save it as JPEG or "
        raise PhotoError(
            f"{name} has {pixels / 1e6:.1f} megapixels; the limit for a {image.format} of its kind "
            f"is {most // 10**6}: {instead}make it smaller and try again"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise PhotoError(
            f"{name} is {width} x {height} pixels; both sides must be at least {MIN_SIDE_PX}"
        )
    # A few bytes can stand for millions of pixels, which Pillow expands one by one in Python.
    if image.format == "BMP" and image.info.get("compression") in RUN_LENGTH_ENCODED:
        raise PhotoError(f"{name} is a run-length encoded BMP, unlike any real photo; {CONVERT}")


def _reduced_size(size: tuple[int, int], side_px: int | None) -> tuple[int, int]:
    """Return width and height to average a photo down to; its own if it is small enough."""
    width, height = size
    short = min(size)
    if side_px is None or short <= side_px:
        return size
    if short < 2 * side_px and width * height <= MAX_REDUCED_PIXELS:
        return size
    # Rounds as the model file's preprocess (mode crop), so that the photo is resized only once.
    return int(width * side_px / short + 0.5), int(height * side_px / short + 0.5)


def _upright_pixels(image: Image.Image, side_px: int | None) -> np.ndarray:
    # Not the size from before loading: Pillow turns a TIFF upright while it loads it.
    size = _reduced_size(image.size, side_px)
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
    """Return the largest value of a float image, at least 1: the value that becomes white."""
    rows = (np.asarray(image.crop((0, y, image.width, y + 1))) for y in range(image.height))
    return max(1.0, max(float(np.nan_to_num(row).max()) for row in rows))


def _to_rgb(image: Image.Image, peak: float) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    # convert() would clip 16-bit and float values at 255 instead of scaling them.
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


def _too_many_pixels(name: str) -> str:
    return f"{name} has over {MAX_PIXELS // 10**6} megapixels; make it smaller and try again"
