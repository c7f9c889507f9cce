"""Verify that a program changed in a photo what it was told to, and nothing else."""

import hashlib
import io
import re
from collections.abc import Collection
from typing import Any

from PIL import Image, ImageSequence

from models.metadata.exiftool import Tags, texts_of
from models.metadata.safe_replace import ChangeError
from models.photos.limits import MAX_PIXELS, find_excess, max_pixels, tile_pixels

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
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

    Raises:
        ChangeError: It cannot be decoded, or costs more than models.photos allows.
    """
    if excess := find_excess(content):
        raise ChangeError(f"{excess}, unlike any real photo")
    digest, budget = hashlib.sha256(), MAX_PIXELS
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = max(image.width * image.height, tile_pixels(image))
            if pixels > max_pixels(image.format, len(image.getbands())):
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
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise ChangeError("cannot be decoded completely") from error
    return digest.digest()


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
