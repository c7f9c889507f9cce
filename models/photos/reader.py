"""Read a photo: the one way for training, tagging and the web page."""

import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image

from models.photos.avif_process import decode_avif
from models.photos.decoding import FORMATS, NAMELESS, PhotoError, decode_bytes, decode_image
from models.photos.limits import MAX_BYTES, is_avif
from models.photos.raw import is_raw

PHOTO_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)
# AVIF is decoded in a process of its own.
DECODED_HERE = tuple(format for format in FORMATS if format != "AVIF")


def read_photo(
    source: str | os.PathLike | bytes | Image.Image, side_px: int | None = None
) -> np.ndarray:
    """Read a photo, upright and in colour, whatever its format.

    JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC/HEIF and AVIF are told apart by content; of an animation
    the first frame is read. Transparency is laid over white, 16-bit values are scaled to 8, colours
    become sRGB. models.photos.limits caps the memory and time that a photo may cost.

    Args:
        source: A path, the bytes of a file, or a PIL image (its current frame).
        side_px: The short side, in pixels, that the caller needs; None: full size. JPEGs are then
            decoded at 1/2, 1/4 or 1/8 where that still leaves this side, which is several times as
            fast; whatever still has twice this side is averaged down to it.

    Returns:
        (H, W, 3) uint8 RGB, EXIF orientation applied.

    Raises:
        PhotoError: Anything wrong with the photo: empty, truncated, not a photo, over 50 MB, too
            many pixels for its format (100 megapixels at most), a side under 16 pixels.
    """
    if isinstance(source, Image.Image):
        return decode_image(source, NAMELESS, side_px)
    name = NAMELESS if isinstance(source, bytes) else _shown(Path(source).name)
    data = source if isinstance(source, bytes) else _read_file(Path(source), name)
    if not data:
        raise PhotoError(f"{name} is empty (0 bytes); choose another photo")
    if len(data) > MAX_BYTES:
        raise PhotoError(_too_heavy(name))
    if is_avif(data):
        return decode_avif(data, name, side_px)
    return decode_bytes(data, name, side_px, DECODED_HERE)


def _shown(name: str) -> str:
    """Return a file's name for a message: one line of moderate length, no control characters."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) <= 80 else f"{clean[:60]}...{clean[-15:]}"


def _read_file(path: Path, name: str) -> bytes:
    if is_raw(path.name):  # only models.tag hands photos to exiftool, never the page
        raise PhotoError(f"{name} is a RAW photo; export it as JPEG and try again")
    if path.suffix and path.suffix.lower() not in PHOTO_EXTENSIONS:
        raise PhotoError(
            f"{name} has the extension {_shown(path.suffix)}, which no photo has; expected .jpg, "
            ".png, .webp, .heic or the like: rename it if it is a photo"
        )
    try:
        # Size and kind first: reading a pipe would wait for ever, and a film fills the memory.
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


def _too_heavy(name: str) -> str:
    return f"{name} is over {MAX_BYTES // 10**6} MB; make it smaller and try again"
