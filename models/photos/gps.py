"""Read where a photo was taken, as it or its sidecar says; nothing leaves this machine."""

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.ExifTags import GPS, IFD

from models.photos.decoding import FORMATS
from models.photos.limits import JPEG_FORMATS, MAX_BYTES, find_excess
from models.photos.xmp import find_coordinates

MAX_METADATA_BYTES = 1000**2
MAX_SIDECAR_BYTES = 8 * 1000**2
MAX_CHUNKS = 20_000
# Of texts in a PNG, each of which may be a kilobyte that unpacks to a megabyte.
MAX_PACKETS = 4
MAX_VALUES = 100_000
# The signature, before the first chunk.
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_XMP = b"XML:com.adobe.xmp"
RAW_PROFILES = (b"Raw profile type exif", b"Raw profile type xmp", b"Raw profile type APP1")
EXIF_STARTS = (b"Exif\0\0", b"II*\0", b"MM\0*")
GIF_XMP = b"XMP DataXMP"
# What a JPEG's XMP does not fit into one segment: identifier, then 40 bytes of digest, length and
# offset (XMP specification, part 3, 1.1.3.1).
JPEG_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
# As case-sensitive file systems may hold it.
SIDECAR_ENDINGS = (".xmp", ".XMP", ".Xmp", ".xMP", ".xmP", ".XMp", ".xMp", ".XmP")


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
        position = _from_photo(_read_start(photo, MAX_BYTES + 1))
        if position is not None:
            return position, photo
        for path in find_sidecars(photo):
            with suppress(OSError):
                position = _from_xmp(_read_start(path, MAX_SIDECAR_BYTES), MAX_SIDECAR_BYTES)
                if position is not None:
                    return position, path
    return None


def find_sidecars(photo: Path) -> list[Path]:
    """Return a photo's XMP files: photo.jpg.xmp, then photo.xmp, where they exist.

    A symbolic link also has those of the photo that it leads to.
    """
    found: dict[tuple[int, int], Path] = {}
    for owner in dict.fromkeys((photo, photo.resolve())):
        for name in (owner.name, owner.stem):
            for ending in SIDECAR_ENDINGS:
                with suppress(OSError, ValueError):
                    path = owner.with_name(name + ending)
                    status = path.lstat()
                    # Where case does not matter, all endings lead to one file.
                    found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


def _read_start(path: Path, length: int) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
        raise OSError(f"{path} is not a file")
    with path.open("rb") as file:
        return file.read(length)


def _from_photo(data: bytes) -> Position | None:
    try:
        if len(data) > MAX_BYTES or find_excess(data):
            return None
        return next((found for found in _positions(data) if found is not None), None)
    except Exception:
        return None  # decoders raise whatever a broken file makes them raise


def _positions(data: bytes) -> Iterator[Position | None]:
    if data.startswith(PNG_START):
        # Pillow would decode all pixels to reach what is behind them, and refuses large texts.
        contents = list(_png_metadata(data))
        for content in contents:
            if content.startswith(EXIF_STARTS):
                with suppress(Exception):  # broken EXIF does not hide XMP
                    exif = Image.Exif()
                    exif.load(content)
                    yield _from_exif(exif)
        for content in contents:
            if not content.startswith(EXIF_STARTS):
                yield _from_xmp(content)
        return
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        with suppress(Exception):  # as above
            yield _from_exif(image.getexif())
        yield _from_xmp(image.info.get("xmp"))
        if image.format in JPEG_FORMATS:
            start = len(JPEG_MORE_XMP) + 40
            parts = [part for kind, part in image.applist if part.startswith(JPEG_MORE_XMP)]
            parts.sort(key=lambda part: part[start - 4 : start])
            yield _from_xmp(b"".join(part[start:] for part in parts))
        if image.format == "GIF" and (start := data.find(GIF_XMP)) >= 0:  # Pillow skips it
            start += len(GIF_XMP)
            yield _from_xmp(data[start : start + MAX_METADATA_BYTES])


def _png_metadata(data: bytes) -> Iterator[bytes]:
    """Yield the EXIF and XMP of a PNG, wherever they are."""
    position, packets = len(PNG_START), 0
    for _ in range(MAX_CHUNKS):
        head = data[position : position + 8]
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        position += 8
        content = data[position : position + min(length, MAX_METADATA_BYTES)]
        if kind == b"eXIf":
            yield content
        elif packets < MAX_PACKETS and (text := _png_text(kind, content)):
            packets += 1
            yield text
        position += length + 4  # a checksum of 4 bytes ends a chunk


def _png_text(kind: bytes, content: bytes) -> bytes:
    """Return the XMP, or what ImageMagick writes into text, of a PNG's chunk; else nothing."""
    keyword, _, rest = content.partition(b"\0")
    is_profile = keyword in RAW_PROFILES
    if kind == b"tEXt" and is_profile:
        text = rest
    elif kind == b"zTXt" and is_profile:
        text = _unpack(rest[1:])
    elif kind == b"iTXt" and (is_profile or keyword == PNG_XMP):
        # Flags, language and translation come first.
        text = rest[2:].split(b"\0", 2)[-1]
        text = _unpack(text) if rest[:1] == b"\1" else text
    else:
        return b""
    if not is_profile:
        return text
    # A line with the name, one with the length, then hexadecimal digits.
    digits = b"".join(text.split(b"\n")[3:])
    with suppress(ValueError):
        return bytes.fromhex(digits.decode("ascii"))
    return b""


def _unpack(packed: bytes) -> bytes:
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(packed, MAX_METADATA_BYTES)
    return b""


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


def _from_xmp(xmp: object, limit: int = MAX_METADATA_BYTES) -> Position | None:
    if not isinstance(xmp, bytes):
        return None
    found = (_position(*north, *east) for north, east in find_coordinates(xmp[:limit]))
    return next((position for position in found if position is not None), None)


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
