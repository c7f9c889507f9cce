"""Limit what a photo may cost to read: small files can claim much memory or time."""

import contextlib
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import IO

from PIL import Image
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, ImageFileDirectory_v2, TiffImageFile

MAX_BYTES = 50 * 1000**2
MAX_PIXELS = 100 * 1000**2
MAX_DECODE_BYTES = 600 * 1000**2
# What decoding takes, measured for the worst colour modes that Pillow reads: its own copy, the
# decoder's, and the strip, canvas or planes between them. For JPEG, the coefficients of a
# progressive file, per band.
BYTES_PER_PIXEL = {"PNG": 4, "GIF": 4, "BMP": 4, "TIFF": 12, "HEIF": 12, "WEBP": 16, "AVIF": 12}
JPEG_BYTES_PER_PIXEL = 2
# HEIC as phones write it, with 8 bits, 4:2:0 and no alpha: 7.5 bytes measured, 450 MB for a
# panorama of 60 megapixels.
PHONE_HEIF_BYTES_PER_PIXEL = 8
# HEIF of 10 or 12 bits with full chroma, or with alpha: 15 and 20 measured.
DEEP_HEIF_BYTES_PER_PIXEL = {3: 16, 4: 20}

# Each scan of a progressive JPEG passes over all pixels, however few bytes it has: 100 scans of 50
# megapixels decode in 2 s. Encoders write about 10, the most thorough ones about 70.
MAX_SCANS = 100
# Pillow handles segments, chunks and blocks one by one in Python.
MAX_PARTS = 65_536
# It joins a GIF's comment blocks one by one, so the time grows with their square.
MAX_COMMENT_BLOCKS = 8192
MAX_EXIF_BYTES = 4 * 1000**2
# Of a TIFF or EXIF directory; cameras and scanners write a few hundred entries.
MAX_ENTRIES = 4096
MAX_NUMBERS = 2**18
MAX_METADATA_BYTES = 64 * 1000**2

JPEG_FORMATS = ("JPEG", "MPO")
JPEG_WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})
AVIF_BRANDS = (b"avif", b"avis")

# Pillow's own guard, set to the limit here: it checks the header before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def max_pixels(
    format: str | None, bands: int, info: Mapping[str, object] = MappingProxyType({})
) -> int:
    """Return how many pixels of a format can be decoded within MAX_DECODE_BYTES.

    Args:
        format: Pillow's name; None for an image that is in memory already.
        bands: Channels of the image; matters for JPEG and HEIF only.
        info: Pillow's, with the bit depth and chroma of a HEIF.
    """
    depth, chroma = info.get("bit_depth") or 0, info.get("chroma")
    if format == "HEIF" and bands <= 3 and depth == 8 and chroma == 420:
        return MAX_DECODE_BYTES // PHONE_HEIF_BYTES_PER_PIXEL
    if format == "HEIF" and depth > 8 and (bands == 4 or chroma == 444):
        return MAX_DECODE_BYTES // DEEP_HEIF_BYTES_PER_PIXEL[max(bands, 3)]
    if format in JPEG_FORMATS:
        return min(MAX_PIXELS, MAX_DECODE_BYTES // (JPEG_BYTES_PER_PIXEL * bands))
    return min(MAX_PIXELS, MAX_DECODE_BYTES // BYTES_PER_PIXEL.get(format, 4))


def tile_pixels(image: Image.Image) -> int:
    """Return the pixels of a TIFF tile, else 0: libtiff allocates one, however small the photo."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    return tags.get(TILEWIDTH, 0) * tags.get(TILELENGTH, 0)


def is_avif(data: bytes) -> bool:
    """Tell whether a file names AVIF among its brands; without it, libavif refuses the file."""
    if data[4:8] != b"ftyp":
        return False
    brands = data[8 : min(int.from_bytes(data[:4]), 1024)]
    return any(brands[i : i + 4] in AVIF_BRANDS for i in range(0, len(brands), 4))


def find_excess(data: bytes, for_pixels: bool = True) -> str | None:
    """Find what in a file's structure would cost far more than its size, before it is decoded.

    Pillow and libheif have limits of their own for pixels, compressed text, colour profiles, items
    and tiles; these are the gaps that they leave.

    Args:
        data: Of the file.
        for_pixels: Whether its pixels will be decoded, too; what only they cost is looked for in
            the whole file, which takes most of the time.

    Returns:
        A phrase that continues "the photo ...", or None.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg_excess(data, for_pixels)
    if data.startswith(b"\x89PNG"):
        return _png_excess(data)
    if data.startswith(b"GIF8"):
        return _gif_excess(data)
    if data[4:8] == b"ftyp" and not is_avif(data):
        return _heif_excess(data)
    return None


def _jpeg_excess(data: bytes, for_pixels: bool) -> str | None:
    # A scan's marker and the high byte of its length; coded data never contain these bytes.
    if for_pixels and (scans := data.count(b"\xff\xda\x00")) > MAX_SCANS:
        return f"has {scans:,} scans"
    position, exif_bytes = 2, 0
    for _ in range(MAX_PARTS):
        kind = data[position + 1 : position + 2]
        if not kind or kind == b"\xda":
            return None
        if kind[0] in JPEG_WITHOUT_LENGTH:
            position += 1 if kind == b"\xff" else 2
            continue
        if data.startswith(b"Exif", position + 4):
            exif_bytes += int.from_bytes(data[position + 2 : position + 4])
        if exif_bytes > MAX_EXIF_BYTES:
            return f"has over {MAX_EXIF_BYTES // 10**6} MB of EXIF"
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return f"has over {MAX_PARTS:,} segments"


def _png_excess(data: bytes) -> str | None:
    position = 8
    for _ in range(MAX_PARTS):
        if position >= len(data):
            return None
        position += 12 + int.from_bytes(data[position : position + 4])
    return f"has over {MAX_PARTS:,} chunks"


def _gif_excess(data: bytes) -> str | None:
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    blocks = comments = 0
    while data[position : position + 1] == b"!":  # extensions before the first frame
        is_comment = data[position + 1 : position + 2] == b"\xfe"
        position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
            blocks += 1
            comments += is_comment
            if blocks > MAX_PARTS or comments > MAX_COMMENT_BLOCKS:
                return "has over a megabyte of comments"
        position += 1
    return None


def _heif_excess(data: bytes) -> str | None:
    """Count metadata as often as it is copied: once for each image that an Exif item describes."""
    copied = 0
    with contextlib.suppress(ValueError):  # what follows the last complete box is not read
        for kind, (start, end) in _boxes(data, 0, len(data)):
            if kind == b"meta":
                try:
                    copied += _described_bytes(data, start + 4, end)
                except (IndexError, ValueError):
                    return "has a broken index"
    if copied > MAX_METADATA_BYTES:
        return f"has over {MAX_METADATA_BYTES // 10**6} MB of metadata"
    return None


def _described_bytes(data: bytes, start: int, end: int) -> int:
    """Return the bytes of metadata in a meta box, times the images that refer to them ("cdsc")."""
    boxes = list(_boxes(data, start, end))
    lengths: dict[int, int] = {}
    for kind, (first, last) in boxes:
        if kind == b"iloc":
            lengths |= _item_lengths(data[first:last], len(data))
    total = 0
    for kind, (first, last) in boxes:
        if kind == b"iref":
            wide = 4 if data[first] else 2  # bytes of an item number, by the box's version
            for name, (position, _) in _boxes(data, first + 4, last):
                if name == b"cdsc":
                    item = int.from_bytes(data[position : position + wide])
                    images = int.from_bytes(data[position + wide : position + wide + 2])
                    total += images * lengths.get(item, 0)
    return total


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Walk the boxes of an ISO base media file: kind, start and end of content.

    The format is ISO/IEC 14496-12, section 4.2.
    """
    while start + 8 <= end:
        size, content = int.from_bytes(data[start : start + 4]), start + 8
        if size == 1:
            size, content = int.from_bytes(data[start + 8 : start + 16]), start + 16
        stop = start + size if size else end
        if not content <= stop <= end:
            raise ValueError("a box that is larger than its file")
        yield data[start + 4 : start + 8], (content, stop)
        start = stop


def _item_lengths(iloc: bytes, file_bytes: int) -> dict[int, int]:
    """Return the bytes of each item, from the item location box (ISO/IEC 14496-12, 8.11.3).

    Args:
        iloc: The box's content.
        file_bytes: Length of the file, which an extent without a length stands for.
    """
    version, position = iloc[0], 8 if iloc[0] == 2 else 6
    offset_size, length_size = iloc[4] >> 4, iloc[4] & 15
    base_size, index_size = iloc[5] >> 4, iloc[5] & 15 if version else 0

    def take(size: int) -> int:
        nonlocal position
        position += size
        if position > len(iloc):
            raise ValueError("an item location box that is cut off")
        return int.from_bytes(iloc[position - size : position])

    lengths: dict[int, int] = {}
    for _ in range(take(4 if version == 2 else 2)):
        item = take(4 if version == 2 else 2)
        take(2 * bool(version) + 2 + base_size)
        for _ in range(take(2)):
            take(index_size + offset_size)
            lengths[item] = lengths.get(item, 0) + (take(length_size) or file_bytes)
    return lengths


def _load_directory(directory: ImageFileDirectory_v2, file: IO[bytes]) -> None:
    """Load a TIFF or EXIF directory with Pillow, after checking what its entries claim.

    Entries may share their bytes, so each of 4,000 entries of a 10 MB file can be a copy of nearly
    all of it.
    """
    start = file.tell()
    order = directory._endian
    # Layouts of the count and of an entry: tag, type, number of values, value or offset.
    counted, entry = ("Q", "HHQ8s") if directory._bigtiff else ("H", "HHL4s")
    head = file.read(struct.calcsize(order + counted))
    count = struct.unpack(order + counted, head)[0] if head else 0
    size = struct.calcsize(order + entry)
    entries = file.read(size * min(count, MAX_ENTRIES))
    claimed = numbers = 0
    for _, kind, values, _ in struct.iter_unpack(
        order + entry, entries[: len(entries) // size * size]
    ):
        unit = directory._load_dispatch.get(kind, (0, None))[0]
        claimed += unit * values
        numbers += values if unit > 1 else 0
    if count > MAX_ENTRIES or numbers > MAX_NUMBERS or claimed > MAX_METADATA_BYTES:
        raise ValueError("a directory that claims more than a photo's metadata can be")
    file.seek(start)
    _load_unchecked(directory, file)


# Pillow offers no hook before it reads the values, and gps.py and decoding.py both need this.
_load_unchecked = ImageFileDirectory_v2.load
ImageFileDirectory_v2.load = _load_directory
