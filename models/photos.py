"""One way to read a photo, for training, tagging and the demo."""

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

MAX_BYTES = 50 * 1000**2
MAX_PIXELS = 100 * 1000**2
MIN_SIDE_PX = 16
PHOTO_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)
# Only these decoders ever run: Pillow knows others that start programs or are little tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
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
    b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx",
)  # fmt: skip
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
CONVERT = "save it as JPEG or PNG and try again"

# Pillow's notes on broken metadata of good photos help nobody here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Its guard, at our limit: it checks the header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
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
    ignored.

    Args:
        source: A path, the bytes of a file, or a PIL image (its current frame, at full size).
        side_px: The short side, in pixels, that the caller needs. JPEGs are then decoded at 1/2,
            1/4 or 1/8 where that still leaves it, which is several times as fast.

    Returns:
        (H, W, 3) uint8 RGB, EXIF orientation applied.

    Raises:
        PhotoError: Empty, truncated, not a photo, over 50 MB, over 100 megapixels, or a side
            under 16 pixels.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "the photo", None)
    name = "the photo" if isinstance(source, bytes) else Path(source).name
    data = source if isinstance(source, bytes) else _read_file(Path(source))
    if not data:
        raise PhotoError(f"{name} is empty (0 bytes); choose another photo")
    if len(data) > MAX_BYTES:
        raise PhotoError(_too_heavy(name))
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(_too_many_pixels(name)) from error
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise PhotoError(_not_a_photo(name, data)) from error
    with image:
        return _decode(image, name, side_px)


def _read_file(path: Path) -> bytes:
    name = path.name
    if path.suffix and path.suffix.lower() not in PHOTO_EXTENSIONS:
        raise PhotoError(
            f"{name} has the extension {path.suffix}, which is not a photo's; "
            "expected .jpg, .png, .webp, .heic or the like: rename it if it is a photo"
        )
    try:
        status = path.stat()
        is_file, size = stat.S_ISREG(status.st_mode), status.st_size
        data = path.read_bytes() if is_file and size <= MAX_BYTES else b""
    except FileNotFoundError as error:
        raise PhotoError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise PhotoError(f"{name!r} cannot be opened; check its name and permissions") from error
    if not is_file:
        raise PhotoError(f"{name or path} is not a file; choose a photo")
    if size > MAX_BYTES:
        raise PhotoError(_too_heavy(name))
    return data


def _decode(image: Image.Image, name: str, side_px: int | None) -> np.ndarray:
    """Pixels of an opened image, after the limits that its header shows."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoError(_too_many_pixels(name))
    if min(width, height) < MIN_SIDE_PX:
        raise PhotoError(
            f"{name} is {width} x {height} pixels; both sides must have at least {MIN_SIDE_PX}"
        )
    if side_px and image.format in ("JPEG", "MPO"):
        image.draft(None, (side_px, side_px))
    try:
        image.load()
        method = UPRIGHT.get(_orientation(image))
        image = _to_rgb(image)
        if method is not None:
            image = image.transpose(method)
        return np.array(image)
    except Exception as error:  # as above
        cut_off = "truncated" in str(error) or isinstance(error, EOFError)
        what = "is cut off: the file ends too early" if cut_off else "is damaged"
        raise PhotoError(f"{name} {what}; copy it again from where it came from") from error


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1  # unreadable metadata does not spoil a good picture


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    # convert() would clip these at 255 instead of scaling.
    if image.mode.startswith("I"):
        values = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image)).clip(0, None)
        values = values * (255 / max(1.0, values.max())) + 0.5
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


def _not_a_photo(name: str, data: bytes) -> str:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    for signature, what in MARKUP:
        if start[: len(signature)].lower() == signature:
            return f"{name} is {what}, not a photo; {CONVERT}"
    if start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return f"{name} is a text file, not a photo; {CONVERT}"
    for signature, what in BINARY:
        if data.startswith(signature):
            return f"{name} is {what}, not a photo; {CONVERT}"
    is_riff, is_container = data.startswith(b"RIFF"), data[4:8] == b"ftyp"
    if is_container and data[8:12] == b"crx ":
        return f"{name} is a raw camera file, not a photo; {CONVERT}"
    if (is_riff and data[8:12] != b"WEBP") or (is_container and data[8:12] not in PHOTO_BRANDS):
        return f"{name} is a video or sound, not a photo; take a still picture from it"
    if is_riff or is_container or data.startswith(PHOTO_SIGNATURES):
        return f"{name} is damaged: it begins like a photo, but cannot be read; copy it again"
    return f"{name} is no photo of a known format; {CONVERT}"
