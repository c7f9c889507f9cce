"""Read where a photo was taken, as it or its sidecar says; nothing leaves this machine."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.ExifTags import GPS, IFD

from models.photos.metadata_blocks import (
    MAX_METADATA_BYTES,
    MAX_SIDECAR_BYTES,
    find_blocks,
    find_sidecars,
    read_directory,
    read_start,
)
from models.photos.xmp import find_coordinates, find_property

ESTIMATED = "ESTIMATED"
"""GPSProcessingMethod of positions that models.tag --estimates writes: they are nobody's own."""


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
    """Return where a photo was taken, as its EXIF, its XMP or else a sidecar of it says.

    Works for every format of models.photos, without decoding a pixel.

    Args:
        source: A path, or the bytes of a file, which have no sidecar.

    Returns:
        None where there is no position, or none to trust: a reference (N, S, E, W) that is missing
        or belongs to the other axis, a division by zero, a value out of range, a file that cannot
        be read or exceeds the limits of models.photos. Also for exactly 0, 0, which is open sea:
        cameras and editors without a fix write that.
    """
    if isinstance(source, bytes):
        return _from_photo(source)
    found = find_position(Path(source))
    return found and found[0]


def find_position(photo: Path) -> tuple[Position, Path] | None:
    """Return where a photo was taken, and the file that says so: the photo, or else a sidecar.

    As read_position.
    """
    with suppress(OSError, ValueError, RuntimeError):  # RuntimeError: links that form a loop
        position = _from_photo(read_start(photo))
        if position is not None:
            return position, photo
        for path in find_sidecars(photo):
            with suppress(OSError):
                position = from_block(read_start(path, MAX_SIDECAR_BYTES), MAX_SIDECAR_BYTES)
                if position is not None:
                    return position, path
    return None


def _from_photo(data: bytes) -> Position | None:
    try:
        return next((found for block in find_blocks(data) if (found := from_block(block))), None)
    except Exception:
        return None  # decoders raise whatever a broken file makes them raise


def from_block(block: Image.Exif | bytes, limit: int = MAX_METADATA_BYTES) -> Position | None:
    """Return the position that EXIF or XMP holds; None as for read_position.

    Args:
        block: As find_blocks yields them.
        limit: Bytes of XMP that are read.
    """
    if isinstance(block, bytes):
        return _from_xmp(block[:limit])
    with suppress(Exception):  # broken EXIF does not hide XMP
        return _from_exif(block)
    return None


def _from_exif(exif: Image.Exif) -> Position | None:
    gps = read_directory(exif, IFD.GPSInfo)
    if ESTIMATED in str(gps.get(GPS.GPSProcessingMethod)):
        return None
    return _position(
        gps.get(GPS.GPSLatitude),
        gps.get(GPS.GPSLatitudeRef),
        gps.get(GPS.GPSLongitude),
        gps.get(GPS.GPSLongitudeRef),
    )


def _from_xmp(xmp: bytes) -> Position | None:
    found = (_position(*north, *east) for north, east in find_coordinates(xmp))
    position = next((each for each in found if each is not None), None)
    if position and ESTIMATED in find_property(xmp, "GPSProcessingMethod"):
        return None
    return position


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
