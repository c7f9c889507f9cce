"""Turn the bytes of a photo into RGB pixels in this process, or say for a person why not."""

import contextlib
import io
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pillow_heif
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from models.photos.colour import find_colours, find_png_codes
from models.photos.file_kind import CONVERT, describe_unreadable, find_unsupported, unsupported
from models.photos.limits import (
    JPEG_FORMATS,
    MAX_PIXELS,
    find_excess,
    max_pixels,
    tile_pixels,
)
from models.photos.memory import release_memory
from models.photos.mending import (
    continue_jpeg,
    find_coded,
    has_end,
    is_grey_at_end,
    without_large_metadata,
)
from models.photos.tiff_values import find_grey_levels, mend_tiff

MIN_SIDE_PX = 16
# Only these decoders ever run: Pillow knows others that start programs or are little tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
# The name in messages about photos that come without one: uploads and pictures in memory.
NAMELESS = "the photo"
CUT_OFF = "is cut off: the file ends too early; copy it again from its source"
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG"

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

# Caps what goes to a model: its resize takes up to 30 bytes a pixel.
MAX_REDUCED_PIXELS = 8 * 1000**2
# Above this size, only one photo at a time is decoded in a process.
LARGE_PIXELS = 16 * 1000**2
ONE_LARGE = threading.Lock()
# Above this size, memory is given back afterwards: milliseconds, beside a tenth of a second.
KEPT_PIXELS = 4 * 1000**2

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
    if data.startswith(PNG_START):
        data = without_large_metadata(data)
    if data.startswith(JPEG_START):
        return _decode_jpeg(data, name, side_px, formats)
    return _decode_file(data, name, side_px, formats)


def _decode_jpeg(
    data: bytes, name: str, side_px: int | None, formats: tuple[str, ...]
) -> np.ndarray:
    """Decode a JPEG; without its end too, where that hides no missing pixels."""
    try:
        pixels = _decode_file(data, name, side_px, formats, refuse_grey=True)
        if has_end(data):
            return pixels
        failure = PhotoError(f"{name} {CUT_OFF}")
    except PhotoError as error:
        if error.__cause__ is None:  # intact, but beyond a limit
            raise
        failure = error

    def decode(coded: bytes) -> np.ndarray | None:
        first = None
        for file in continue_jpeg(coded):
            pixels = _decode_file(file, name, side_px, formats)
            if first is not None and not np.array_equal(first, pixels):
                return None
            first = pixels
        return first

    try:
        for coded, shorter in find_coded(data):
            pixels = decode(coded)
            if pixels is not None and (shorter == coded or decode(shorter) is None):
                return pixels
    except PhotoError:
        pass
    raise failure from failure.__cause__


def _decode_file(
    data: bytes,
    name: str,
    side_px: int | None,
    formats: tuple[str, ...],
    refuse_grey: bool = False,
) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(_too_many_pixels(name)) from error
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise PhotoError(f"{name} {describe_unreadable(data)}") from error
    if image.format == "AVIF":  # Pillow says nothing of its colours
        with contextlib.suppress(Exception):
            image.info["nclx_profile"] = pillow_heif.open_heif(data).info["nclx_profile"]
    if image.format == "PNG" and (codes := find_png_codes(data)):
        image.info["nclx_profile"] = codes
        image.info.pop("icc_profile", None)
    with image:
        pixels = decode_image(image, name, side_px, data)
        if refuse_grey and image.format in JPEG_FORMATS and is_grey_at_end(image):
            raise PhotoError(f"{name} {CUT_OFF}") from EOFError("grey at the end")
    if image.width * image.height > KEPT_PIXELS:
        del image  # else its memory is not free yet
        release_memory()
    return pixels


def decode_image(
    image: Image.Image, name: str, side_px: int | None, data: bytes = b""
) -> np.ndarray:
    """Return the pixels of an opened image, after checking the limits that its header shows.

    Args:
        image: Opened, perhaps not decoded yet; a caller's own stays as it is.
        name: What messages call the photo.
        side_px: As for models.photos.read_photo.
        data: The file, if it was opened here, so that its size may be changed before decoding.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        PhotoError: As read_photo.
    """
    try:
        _check_limits(image, name)
        if isinstance(image, TiffImageFile) and (kind := mend_tiff(image)):
            raise PhotoError(f"{name} {unsupported(kind)}")
        if side_px and data and image.format in JPEG_FORMATS:
            image.draft(None, (side_px, side_px))  # decodes at 1/2, 1/4 or 1/8: far less work
        width, height = _reduced_size(image.size, side_px)
        if side_px and width * height > MAX_REDUCED_PIXELS:
            raise PhotoError(f"{name} is too elongated; crop it to the landmark")
        is_large = image.width * image.height > LARGE_PIXELS
        with ONE_LARGE if is_large else contextlib.nullcontext():
            if data:
                image.info.pop("xmp", None)  # Pillow would turn a TIFF as it says
            image.load()
            return _upright_pixels(image, side_px)
    except PhotoError:
        raise
    except Exception as error:  # as above
        if "truncated" in str(error) or isinstance(error, EOFError):
            what = CUT_OFF
        elif kind := find_unsupported(data):
            what = unsupported(kind)
        else:
            what = "is damaged; copy it again from its source"
        raise PhotoError(f"{name} {what}") from error


def shrink(
    image: Image.Image, size: tuple[int, int], to_rgb: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    """Average the area that each output pixel covers.

    A few rows at a time, so that no second full-size copy is made. The average is that of
    resize_rows inside the model file, which then has nothing left to do on a photo of
    the size that it wants. Pillow's own reduce() stops at whole factors, and what is resized again
    after it is blurred: on sharp content by 3 grey levels on average where it leaves twice the
    side, by 10 where it leaves little more than the side itself.

    Args:
        image: A decoded image of any mode.
        size: Width and height wanted; at most the image's.
        to_rgb: Converts some rows of it to RGB, or leaves them CMYK.

    Returns:
        (H, W, C) uint8, of 3 or 4 channels.
    """
    width, height = size
    across = _row_averager(image.width, width)
    small = np.empty((height, width, len(to_rgb(image.crop((0, 0, 1, 1))).getbands())), np.uint8)
    scale = image.height / height
    for row in range(height):
        top, bottom = row * scale, min((row + 1) * scale, image.height)
        first, last = int(top), min(int(np.ceil(bottom)), image.height)
        rows = np.asarray(to_rgb(image.crop((0, first, image.width, last))))
        # The first and last row count for the part of them that lies between top and bottom.
        edges = np.arange(first, last, dtype=np.float64)
        share = np.minimum(edges + 1, bottom) - np.maximum(edges, top)
        share = (share / share.sum()).astype(np.float32)
        line = (share @ rows.reshape(len(rows), -1).astype(np.float32)).reshape(image.width, -1)
        small[row] = np.rint(across(line))
    return small


def _row_averager(length: int, wanted: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what averages a row of pixels, (length, C) float32, to (wanted, C)."""
    edges = np.arange(wanted + 1) * (length / wanted)
    complete = np.minimum(edges.astype(np.int64), length - 1)
    part = (edges - complete)[:, None]

    def average(line: np.ndarray) -> np.ndarray:
        # The integral of the row up to each edge; double, for sums of 100,000 pixels.
        sums = np.zeros((length + 1, line.shape[1]))
        np.cumsum(line, axis=0, dtype=np.float64, out=sums[1:])
        integral = sums[complete] + part * line[complete]
        return np.diff(integral, axis=0) / (length / wanted)

    return average


def _check_limits(image: Image.Image, name: str) -> None:
    width, height = image.size
    pixels = max(width * height, tile_pixels(image))
    if pixels > MAX_PIXELS:
        raise PhotoError(_too_many_pixels(name))
    if pixels > (most := max_pixels(image.format, len(image.getbands()), image.info)):
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
    mode, convert = find_colours(image) or ("RGB", None)
    to_rgb = (lambda rows: rows) if mode == "CMYK" else _find_conversion(image)
    if size != image.size:
        image = Image.fromarray(shrink(image, size, to_rgb), "CMYK" if mode == "CMYK" else "RGB")
    else:
        image = to_rgb(image)
    if convert:
        image = convert(image.getchannel(0) if mode == "L" else image)
    return np.array(image if method is None else image.transpose(method))


def _orientation(image: Image.Image) -> int:
    """Return the value of the EXIF tag; that in XMP is a copy, which editors leave behind."""
    exif = Image.Exif()
    try:
        if content := image.info.get("exif"):
            exif.load(content)
        elif text := image.info.get("Raw profile type exif"):  # a PNG by ImageMagick
            exif.load(bytes.fromhex("".join(text.split("\n")[3:])))
        return exif.get(ORIENTATION, 1)
    except Exception:
        return 1  # unreadable metadata does not spoil a good picture


def _find_conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return what converts some rows of a decoded image to RGB."""
    if image.mode == "F" or image.mode.startswith("I"):
        # convert() would clip 16-bit and float values at 255 instead of scaling them.
        levels = find_grey_levels(image)
        return lambda rows: Image.fromarray(levels(np.asarray(rows))).convert("RGB")
    return _to_rgb


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _too_many_pixels(name: str) -> str:
    return f"{name} has over {MAX_PIXELS // 10**6} megapixels; make it smaller and try again"
