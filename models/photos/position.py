"""Read where a photo was taken, as its own metadata says; nothing leaves this machine."""

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

from models.photos.decoding import FORMATS
from models.photos.limits import MAX_BYTES, find_excess

MAX_METADATA_BYTES = 1000**2
MAX_CHUNKS = 20_000
MAX_VALUES = 100_000
# The signature, before the first chunk.
PNG_START = b"\x89PNG\r\n\x1a\n"
# As an attribute or an element: 48,51.5N or 48,51,30N. An expression instead of an XML parser:
# these bytes are anybody's, and XML can be made to explode.
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
    """Return where a photo was taken, as its EXIF or else its XMP metadata says.

    Works for every format of models.photos, without decoding a pixel.

    Args:
        source: A path, or the bytes of a file.

    Returns:
        None where there is no position, or none to trust: a reference (N, S, E, W) that is missing
        or belongs to the other axis, a division by zero, a value out of range, a file that cannot
        be read or exceeds the limits of models.photos. Also for exactly 0, 0, which is open sea:
        cameras and editors without a fix write that.
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
        # Not image.getexif(): for PNG it decodes all pixels to reach the chunks behind them.
        found = [_from_exif(Image.Image.getexif(image)), _from_xmp(image.info.get("xmp"))]
        if image.format == "PNG" and not any(found):
            for kind, data in _png_metadata(file):
                exif = Image.Exif()
                if kind == b"eXIf":
                    exif.load(data)
                found.append(_from_exif(exif) if kind == b"eXIf" else _from_xmp(data))
    return next((position for position in found if position is not None), None)


def _png_metadata(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Walk a PNG's EXIF and text chunks, wherever they are: kind and content."""
    file.seek(len(PNG_START))
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        wanted = kind in (b"eXIf", b"iTXt") and length <= MAX_METADATA_BYTES
        if wanted:
            yield kind, file.read(length)
        file.seek(4 if wanted else length + 4, os.SEEK_CUR)  # a checksum of 4 bytes ends a chunk


def _from_exif(exif: Image.Exif) -> Position | None:
    offset = exif.get(IFD.GPSInfo)
    if not isinstance(offset, int) or _count_values(exif, offset) > MAX_VALUES:
        return None
    gps = exif.get_ifd(IFD.GPSInfo)
    return _position(
        gps.get(GPS.GPSLatitude),
        gps.get(GPS.GPSLatitudeRef),
        gps.get(GPS.GPSLongitude),
        gps.get(GPS.GPSLongitudeRef),
    )


def _count_values(exif: Image.Exif, offset: int) -> int:
    """Return how many values a directory claims; 6 million keep Pillow busy for 16 seconds."""
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
    north, east = ([float(part or 0) for part in parts] for parts in (latitude, longitude))
    return _position(north, south, east, west)


def _position(
    latitude: object, latitude_ref: object, longitude: object, longitude_ref: object
) -> Position | None:
    north = _degrees(latitude, latitude_ref, "NS", 90)
    east = _degrees(longitude, longitude_ref, "EW", 180)
    if north is None or east is None or north == east == 0:
        return None
    return Position(north, east)


def _degrees(parts: object, reference: object, signs: str, limit: float) -> float | None:
    """Return signed degrees from degrees, minutes and seconds, and N, S, E or W.

    Seconds, or minutes and seconds, may be missing; None where something cannot be right.
    """
    if isinstance(reference, bytes):
        reference = reference.decode("ascii", "replace")
    sign = str(reference or "").strip("\0 ").upper()[:1]
    if not sign or sign not in signs or parts is None:
        return None
    try:  # Pillow unpacks tuples of one
        values = [float(part) for part in (parts if isinstance(parts, (tuple, list)) else [parts])]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    # Rounding sometimes gives 60 seconds. NaN, from 0/0, compares as false.
    tops = (limit, 60, 60)[: len(values)]
    in_range = (0 <= value <= top for value, top in zip(values, tops, strict=True))
    if len(values) > 3 or not all(in_range):
        return None
    degrees = sum(value / 60**power for power, value in enumerate(values))
    return (degrees if sign == signs[0] else -degrees) if degrees <= limit else None
