"""Read when, where and with which camera a photo was taken, as it or its sidecar says."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from models.photos.gps import Position, from_block
from models.photos.metadata_blocks import (
    MAX_METADATA_BYTES,
    MAX_SIDECAR_BYTES,
    find_blocks,
    find_sidecars,
    read_directory,
    read_start,
)
from models.photos.xmp import find_property

# Zones are whole quarters of an hour, at most 14 hours from UTC.
QUARTER, MAX_QUARTERS = timedelta(minutes=15), 14 * 4
# A receiver's time may be that of its last fix, a little before the photo.
STALE = timedelta(minutes=5)
FIRST_YEAR = 1826  # of the oldest photo that there is


@dataclass(frozen=True)
class Capture:
    """What a photo says of its origin.

    Attributes:
        taken: With a zone where the file says one, directly or through its GPS time; else what the
            camera's clock showed.
        camera: Maker and model.
        position: Of the camera.
    """

    taken: datetime | None = None
    camera: str | None = None
    position: Position | None = None


def read_capture(photo: Path) -> Capture:
    """Return when, with what and where a photo was taken; its EXIF comes first, then its XMP.

    Only the time of the exposure counts, never that of the file, of an edit or of a scan.

    Args:
        photo: Its sidecars say what it does not. Nothing is raised for a bad file.
    """
    found = Capture()
    for block, limit in _all_blocks(photo):
        if found.taken is None or found.camera is None:
            with suppress(Exception):  # decoders raise whatever a broken file makes them raise
                said = _from_xmp(block[:limit]) if isinstance(block, bytes) else _from_exif(block)
                taken, camera = found.taken or said.taken, found.camera or said.camera
                found = replace(found, taken=taken, camera=camera)
        if found.position is None:
            found = replace(found, position=from_block(block, limit))
        if found.taken is not None and found.position is not None:
            break
    return found


def _all_blocks(photo: Path) -> Iterator[tuple[Image.Exif | bytes, int]]:
    """Yield the blocks of a photo and of its sidecars, each with how much XMP is read."""
    with suppress(Exception):
        for block in find_blocks(read_start(photo)):
            yield block, MAX_METADATA_BYTES
    with suppress(OSError, ValueError, RuntimeError):  # RuntimeError: links that form a loop
        for path in find_sidecars(photo):
            with suppress(OSError):
                yield read_start(path, MAX_SIDECAR_BYTES), MAX_SIDECAR_BYTES


def _from_exif(exif: Image.Exif) -> Capture:
    words = " ".join(str(exif.get(tag) or "").strip("\0 ") for tag in (Base.Make, Base.Model))
    # Many models begin with their maker: Canon Canon EOS 80D.
    camera = re.sub(r"^(\S+)( \1)+\b", r"\1", " ".join(words.split()), flags=re.IGNORECASE)
    times, gps = read_directory(exif, IFD.Exif), read_directory(exif, IFD.GPSInfo)
    zones = (_text(times.get(tag)) for tag in (Base.OffsetTimeOriginal, Base.OffsetTime))
    zone = next((each for each in zones if re.fullmatch(r"[+-]\d\d:\d\d|Z", each)), "")
    digits = _text(times.get(Base.SubsecTimeOriginal))
    fraction = f".{digits[:6]:0<6}" if digits.isdecimal() else ""
    date, _, clock = _text(times.get(Base.DateTimeOriginal)).partition(" ")
    taken = _parse(f"{date.replace(':', '-')}T{clock}{fraction}{zone}")
    return Capture(_in_zone(taken, _gps_time(gps)), camera[:100] or None)


def _from_xmp(xmp: bytes) -> Capture:
    taken = _parse(find_property(xmp, "DateTimeOriginal"))
    return Capture(taken or _parse(find_property(xmp, "DateCreated")))


def _in_zone(taken: datetime | None, utc: datetime | None) -> datetime | None:
    """Return a time with the zone that a receiver's time implies, if that is one."""
    if taken is None or utc is None or taken.tzinfo is not None:
        return taken or utc
    ahead = taken.replace(tzinfo=UTC) - utc
    quarters = round(ahead / QUARTER)
    if abs(quarters) > MAX_QUARTERS or abs(ahead - quarters * QUARTER) > STALE:
        return taken
    return datetime.fromisoformat(f"{taken.isoformat()}{_zone(quarters)}")


def _zone(quarters: int) -> str:
    hours, rest = divmod(abs(quarters), 4)
    return f"{'-' if quarters < 0 else '+'}{hours:02}:{15 * rest:02}"


def _gps_time(gps: dict[int, object]) -> datetime | None:
    with suppress(KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        hours, minutes, seconds = (float(part) for part in gps[GPS.GPSTimeStamp])
        day = _parse(f"{_text(gps[GPS.GPSDateStamp]).replace(':', '-')}T00:00:00+00:00")
        return day and day + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return None


def _parse(text: str) -> datetime | None:
    """Return a time in ISO 8601; None for a date without time, zeros and what is no time."""
    with suppress(ValueError):
        taken = datetime.fromisoformat(text)
        if len(text) >= len("2024-05-06T14:03") and taken.year >= FIRST_YEAR:
            return taken
    return None


def _text(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ")
