"""Mend files whose pixels are all there, though something around the pixels is not.

JPEGs without their end, and PNGs with more metadata than Pillow takes.
"""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

# Text and profiles of a PNG that unpack to more than this are left out, as Pillow would refuse the
# whole file; the text that orientation may stand in comes from ImageMagick.
MAX_TEXT_BYTES = 1000**2
PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
EXIF_TEXT = b"Raw profile type exif\0"

END = b"\xff\xd9"
SCAN = 0xDA
PROGRESSIVE = (0xC2, 0xCA)
FRAMES = (0xC0, 0xC1, 0xC9, *PROGRESSIVE)
# With its length, for one to four components.
SCAN_START = re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e]")
# What ends the coded data of a scan: any marker but stuffing, restarts and fill bytes.
SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
FLAT = re.compile(rb"(.{1,12})\1\1\Z", re.DOTALL)
# So long a run of one byte is what fills a file whose copy broke off.
RUN_BYTES = 16
# Coded data without an end are foreign, and no rows, where this part of them, less or more in small
# and large photos, could be gone. In a large photo fewer bytes would not show once it is reduced.
TAIL_PART, LEAST_TAIL_BYTES, MOST_TAIL_BYTES = 256, 16, 256
# Of any colour space, before a conversion.
NO_PIXEL = {127, 128}


def find_coded(jpeg: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Find the coded data of a JPEG that has lost its end, or seems to lack rows.

    Yields:
        The file up to where its coded data may end; and the same less what must hold pixels if they
        do: the same again where an end is there, or where all rows came with an earlier scan.
        Nothing if coefficients of some scan are missing altogether.
    """
    if (found := _scans_end(jpeg)) is None:
        return
    start, stop, is_progressive = found
    data = jpeg[:stop]
    ends = [data]
    if stop == len(jpeg):
        kept = _without_run(data)
        # Flat rows repeat some bytes, which may be zeros or end with them.
        others = [kept + b"\0", kept + b"\0\0", data]
        flat = [each for each in others if data.startswith(each) and FLAT.search(each[-48:])]
        ends = [kept] if is_progressive else [kept, *flat]
    for coded in dict.fromkeys(ends):
        tail = min(max((len(coded) - start) // TAIL_PART, LEAST_TAIL_BYTES), MOST_TAIL_BYTES)
        is_told = is_progressive or jpeg.startswith(END, stop)
        yield coded, coded if is_told else coded[: max(start, len(coded) - tail)]


def continue_jpeg(coded: bytes) -> Iterator[bytes]:
    """Yield files with this coded data that decode alike only if no pixel is missing.

    A decoder that is given an end sees it where data are missing and leaves grey there. Each file
    therefore continues with other coded data before the end: where pixels are missing, they become
    pixels, and the files differ.

    Yields:
        Three files, the first without more data.
    """
    rng = np.random.default_rng(0)
    yield coded + END
    # A decoder that waits for a restart marker skips to it. It takes one of the next two for a
    # sign that its own is lost, and then leaves grey: hence two that begin four apart.
    for first in (0, 4):
        rest = rng.integers(0, 255, (17, 512), np.uint8)  # never 255, which begins markers
        restarts = [bytes([0xFF, 0xD0 + (first + i) % 8]) for i in range(16)]
        parts = zip([b"", *restarts], rest, strict=True)
        yield coded + b"".join(m + codes.tobytes() for m, codes in parts) + END


def has_end(jpeg: bytes) -> bool:
    """Tell whether an end follows the last scan of a JPEG; Pillow takes other bytes for rows."""
    end = jpeg.rfind(END)  # also of the thumbnail in its EXIF
    return end >= 0 and SCAN_START.search(jpeg, end) is None


def is_grey_at_end(image: Image.Image) -> bool:
    """Tell whether a decoded JPEG's last pixel is the grey that decoders leave for missing rows."""
    corner = image.crop((image.width - 1, image.height - 1, *image.size))
    return set(corner.tobytes()) <= NO_PIXEL


def _scans_end(data: bytes) -> tuple[int, int, bool] | None:
    """Find the scan after which nothing of a JPEG is missing; None if something is.

    Returns:
        Where its coded data begin and end, and whether the JPEG is progressive.
    """
    missing: dict[int, set[int]] = {}  # component -> its coefficients that lack their lowest bit
    position, is_progressive = 2, False
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker, (length,) = data[position + 1], struct.unpack_from(">H", data, position + 2)
        if marker == 0xFF:
            position += 1
            continue
        content = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker in FRAMES:
            is_progressive = marker in PROGRESSIVE
            missing = {component: set(range(64)) for component in content[6::3]}
        if marker != SCAN:
            continue
        if len(content) != length - 2 or not content or len(content) != 4 + 2 * content[0]:
            return None
        first, last, bits = content[-3:] if is_progressive else (0, 63, 0)
        if bits & 15 == 0:
            for component in content[1 : 1 + 2 * content[0] : 2]:
                missing.get(component, set()).difference_update(range(first, last + 1))
        start, end = position, SCAN_END.search(data, position)
        position = end.start() if end else len(data)
        if not any(missing.values()):
            return start, position, is_progressive
    return None


def _without_run(data: bytes) -> bytes:
    """Cut off zeros, half a marker, or a long run of one byte, from the end of coded data."""
    kept = data.rstrip(b"\0")
    zeros = len(data) - len(kept)
    if kept.endswith(b"\xff"):
        # After 255, one zero belongs to the coded data; without, it began the missing marker.
        return kept + b"\0" if zeros else kept.rstrip(b"\xff")
    short = kept.rstrip(kept[-1:])
    return short if len(kept) - len(short) >= RUN_BYTES else kept


def without_large_metadata(png: bytes) -> bytes:
    """Return a PNG without the text and profiles that Pillow would refuse it for.

    Keeps the profile and the EXIF in a text chunk where each is small; no other text is needed.
    """
    kept, start, position = [], 0, 8
    while position + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        after = position + 12 + length
        if (kind in PNG_TEXT or kind == b"iCCP") and not _is_needed(
            kind, png[position + 8 : after - 4]
        ):
            kept.append(png[start:position])
            start = after
        position = after
    return b"".join([*kept, png[start:]]) if kept else png


def _is_needed(kind: bytes, content: bytes) -> bool:
    if kind != b"iCCP" and not content.startswith(EXIF_TEXT):
        return False
    if kind == b"tEXt":
        return len(content) <= MAX_TEXT_BYTES
    packed = content.partition(b"\0")[2]
    if packed[:1] != b"\0":  # in text 1 means compressed, else no other way exists
        return False
    if kind == b"iTXt":
        return len(packed) <= MAX_TEXT_BYTES
    try:
        text = zlib.decompressobj().decompress(packed[1:], MAX_TEXT_BYTES + 1)
    except zlib.error:
        return False
    return 0 < len(text) <= MAX_TEXT_BYTES
