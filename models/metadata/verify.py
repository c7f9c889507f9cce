"""Verify that a program changed in a photo what it was told to, and nothing else."""

import hashlib
import io
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from PIL import Image, ImageSequence
from PIL.JpegImagePlugin import JpegImageFile

from models.metadata.exiftool import Tags, texts_of
from models.metadata.safe_replace import ChangeError
from models.photos.limits import (
    JPEG_WITHOUT_LENGTH,
    MAX_PIXELS,
    find_excess,
    max_pixels,
    tile_pixels,
)

FORMATS = ("PNG", "WEBP", "TIFF")  # beside JPEG
JPEG_START = b"\xff\xd8\xff"
SCAN, FILL = 0xDA, 0xFF
MP_ENTRIES = 0xB002
STRIP_PX = 256
MAX_FRAMES = 1000
WARNING = "ExifTool:Warning"  # its wording depends on which program wrote the file
# Tags about where things lie in a file and how they are encoded, not about what they say.
VOLATILE = re.compile(
    rf"{WARNING}|File:(FileType|ExifByteOrder|CurrentIPTCDigest)|Photoshop:IPTCDigest"
    r"|XMP-x:XMPToolkit|IPTC:CodedCharacterSet|RIFF:(WebP_Flags|Image(Width|Height))"
    r"|.*(Offsets?|Start)"
)


def digest_pixels(content: bytes) -> bytes:
    """Return a digest of size, mode and pixels of a photo's frames, up to 100 megapixels in all.

    Of a JPEG it is the first picture as it is decoded, each byte from its coded pixels to the end
    of the file, where further pictures and gain maps lie, and where its index says they are.
    Whether Pillow takes such a file for one picture or for several depends on its metadata, so that
    is not asked.

    Raises:
        ChangeError: It cannot be decoded, or costs more than models.photos allows.
    """
    if excess := find_excess(content):
        raise ChangeError(f"{excess}, unlike any real photo")
    digest, budget = hashlib.sha256(), MAX_PIXELS
    try:
        with _open(content) as image:
            pixels = max(image.width * image.height, tile_pixels(image))
            if pixels > max_pixels(image.format, len(image.getbands()), image.info):
                raise ValueError("too many pixels")
            for frame in ImageSequence.Iterator(image):
                digest.update(f"{frame.mode} {frame.size}".encode())
                for top in range(0, frame.height, STRIP_PX):  # not one copy as large as the frame
                    bottom = min(top + STRIP_PX, frame.height)
                    digest.update(frame.crop((0, top, frame.width, bottom)).tobytes())
                # Tiny frames cost more than their pixels: they count as a thousandth of the budget.
                budget -= max(frame.width * frame.height, MAX_PIXELS // MAX_FRAMES)
                if budget < 0:
                    break
            if isinstance(image, JpegImageFile):
                digest.update(repr(_index(image, len(content))).encode())
                digest.update(content[_scan_start(content) :])
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise ChangeError("cannot be decoded completely; a sidecar is possible") from error
    return digest.digest()


def _open(content: bytes) -> Image.Image:
    if content.startswith(JPEG_START):
        return JpegImageFile(io.BytesIO(content))
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _index(image: JpegImageFile, file_bytes: int) -> list[tuple[int, int]]:
    """Return how far from the end each further picture begins, and its length.

    exiftool 12.57 gets the beginning wrong where it adds metadata behind the index (MPF).
    """
    with suppress(Exception):  # a broken index leads nowhere
        entries, start = image._getmp()[MP_ENTRIES][1:], image.info["mpoffset"]
        return [(file_bytes - start - entry["DataOffset"], entry["Size"]) for entry in entries]
    return []


def _scan_start(jpeg: bytes) -> int:
    """Return where the first scan begins: before it lie metadata and tables of the decoder."""
    position = len(JPEG_START) - 1
    while (kind := jpeg[position + 1]) != SCAN:
        if kind in JPEG_WITHOUT_LENGTH:
            position += 1 if kind == FILL else 2
        else:
            position += 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return position


def find_difference(
    before: Tags, after: Tags, added: dict[str, Any], removed: Collection[str]
) -> str | None:
    """Return the first tag that is not what it should be; None: all are.

    Args:
        before: What the photo said.
        after: What it says now.
        added: What was to be written: text, a number, or a list, which joins what was there.
        removed: Tags that may be gone.
    """
    for key, value in added.items():
        found = texts_of(after, key)
        if isinstance(value, list):
            right = found == [*texts_of(before, key), *value]
        elif isinstance(value, str):
            right = found == [value]
        else:  # EXIF stores fractions of seconds; this tolerance is a tenth of a metre
            right = len(found) == 1 and abs(float(found[0]) - value) < 1e-6
        if not right:
            return key
    for key in before:
        may_change = key in added or key in removed or VOLATILE.fullmatch(key)
        if not may_change and after.get(key) != before.get(key):
            return key
    is_worse = len(after.get(WARNING, ())) > len(before.get(WARNING, ()))
    return WARNING if is_worse else None
