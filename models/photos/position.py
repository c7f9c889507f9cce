"""Where a photo says it was taken: its own GPS position, read on this machine."""

import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image
from PIL.ExifTags import GPS, IFD

from models.photos.limits import MAX_BYTES, find_excess
from models.photos.reader import FORMATS

MAX_METADATA_BYTES = 1000**2
MAX_CHUNKS = 20_000
MAX_VALUES = 100_000
PNG_START = b"\x89PNG\r\n\x1a\n"
# As an attribute or an element: 48,51.5N or 48,51,30N.
XMP_POSITION = (
    rb"exif:GPS%b\s*(?:>|=\s*[\"'])\s*([0-9]{1,3}),([0-9.]{1,20})(?:,([0-9.]{1,20}))?([%b])"
)


@dataclass(frozen=True)
class Position:
    """A point on earth, WGS 84.

    Attributes:
        latitude: Degrees north, in [-90, 90].
        longitude: Degrees east, in [-180, 180].
    """

    latitude: float
    longitude: float


def read_position(source: str | os.PathLike | bytes) -> Position | None:
    """Where a photo was taken, as its EXIF or else its XMP metadata says.

    Every format of models.photos. No pixel is decoded.

    Args:
        source: A path, or the bytes of a file.

    Returns:
        None where there is no position or none to trust: a reference (N, S, E, W) that is missing
        or of the other axis, division by zero, out of range, a file that cannot be read or is over
        the limits of models.photos. Also for exactly 0, 0: it is open sea, and what cameras and
        editors write that had no fix.
    """
    try:
        if not isinstance(source, bytes):
            status = Path(source).stat()  # opening a pipe would wait for its other end
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                return None
            source = Path(source).read_bytes()
        if len(source) > MAX_BYTES or find_excess(source):
            return None
        return _read(io.BytesIO(source))
    except Exception:
        return None  # decoders raise whatever a broken file makes them raise


def _read(file: BinaryIO) -> Position | None:
    with Image.open(file, formats=FORMATS) as image:
        # Not image.getexif(): PNG's decodes all pixels to get at what stands behind them.
        found = [_from_exif(Image.Image.getexif(image)), _from_xmp(image.info.get("xmp"))]
        if image.format == "PNG" and not any(found):
            for kind, data in _png_metadata(file):
                exif = Image.Exif()
                if kind == b"eXIf":
                    exif.load(data)
                found.append(_from_exif(exif) if kind == b"eXIf" else _from_xmp(data))
    return next((position for position in found if position is not None), None)


def _png_metadata(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of a PNG's EXIF and text chunks, wherever they stand."""
    file.seek(len(PNG_START))
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        wanted = kind in (b"eXIf", b"iTXt") and length <= MAX_METADATA_BYTES
        if wanted:
            yield kind, file.read(length)
        file.seek(4 if wanted else length + 4, os.SEEK_CUR)


def _from_exif(exif: Image.Exif) -> Position | None:
    offset = exif.get(IFD.GPSInfo)
    if not isinstance(offset, int) or _count_values(exif, offset) > MAX_VALUES:
        return None
    gps = exif.get_ifd(IFD.GPSInfo)
    return _position(
        gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef),
        gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef),
    )  # fmt: skip


def _count_values(exif: Image.Exif, offset: int) -> int:
    """How many values a directory claims; of 6 million, Pillow makes fractions for 16 seconds."""
    kind, size = ("Q", 20) if exif.bigtiff else ("H", 12)
    exif.fp.seek(offset)
    (entries,) = struct.unpack(exif.endian + kind, exif.fp.read(struct.calcsize(kind)))
    data = exif.fp.read(size * entries)
    entry = "4xQ8x" if exif.bigtiff else "4xI4x"
    return sum(count for (count,) in struct.iter_unpack(exif.endian + entry, data))


def _from_xmp(xmp: bytes | None) -> Position | None:
    if not isinstance(xmp, bytes):
        return None
    head = xmp[:MAX_METADATA_BYTES]
    matches = [
        re.search(XMP_POSITION % axis, head)
        for axis in ((b"Latitude", b"NS"), (b"Longitude", b"EW"))
    ]
    if None in matches:
        return None
    (*latitude, south), (*longitude, west) = (match.groups() for match in matches)
    return _position(
        [float(part or 0) for part in latitude], south,
        [float(part or 0) for part in longitude], west,
    )  # fmt: skip


def _position(
    latitude: object, latitude_ref: object, longitude: object, longitude_ref: object
) -> Position | None:
    north = _degrees(latitude, latitude_ref, "NS", 90)
    east = _degrees(longitude, longitude_ref, "EW", 180)
    if north is None or east is None or north == east == 0:
        return None
    return Position(north, east)


def _degrees(parts: object, reference: object, signs: str, limit: float) -> float | None:
    """Signed degrees from degrees, minutes and seconds (later ones may lack) and N, S, E or W."""
    if isinstance(reference, bytes):
        reference = reference.decode("ascii", "replace")
    sign = str(reference or "").strip("\0 ").upper()[:1]
    if not sign or sign not in signs or parts is None:
        return None
    try:  # Pillow unpacks tuples of one
        values = [float(part) for part in (parts if isinstance(parts, (tuple, list)) else [parts])]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    # Rounding writes 60 seconds at times. NaN, from 0/0, compares as false.
    tops = (limit, 60, 60)[: len(values)]
    in_range = (0 <= value <= top for value, top in zip(values, tops, strict=True))
    if len(values) > 3 or not all(in_range):
        return None
    degrees = sum(value / 60**power for power, value in enumerate(values))
    return (degrees if sign == signs[0] else -degrees) if degrees <= limit else None
