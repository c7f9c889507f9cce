"""Find the blocks of metadata in a photo and the sidecars beside it, without decoding a pixel."""

import io
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from models.photos.decoding import FORMATS
from models.photos.limits import JPEG_FORMATS, MAX_BYTES, find_excess
from models.photos.raw import is_raw, read_preview

MAX_METADATA_BYTES = 1000**2
MAX_SIDECAR_BYTES = 8 * 1000**2
MAX_CHUNKS = 20_000
# Of texts in a PNG, each of which may be a kilobyte that unpacks to a megabyte.
MAX_PACKETS = 4
MAX_VALUES = 100_000
BYTES = (1, 2, 7)  # TIFF 6.0: BYTE, ASCII, UNDEFINED
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


def read_start(path: Path, length: int = MAX_BYTES + 1) -> bytes:
    """Read a file up to a length; of a RAW photo, the preview.

    Raises:
        PhotoError: A RAW photo has no preview, or exiftool is not installed.
        OSError: It cannot be read, or is a pipe, folder or device.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
        raise OSError(f"{path} is not a file")
    if is_raw(path.name):
        return read_preview(path)
    with path.open("rb") as file:
        # read() allocates what it is asked for, 50 MB per photo; some file systems say size 0.
        return file.read(min(length, status.st_size or length))


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


def find_blocks(data: bytes) -> Iterator[Image.Exif | bytes]:
    """Find what a photo says about itself: its EXIF, then its XMP packets.

    Args:
        data: Of a file. One that exceeds the limits of models.photos for what is read here has no
            blocks.

    Raises:
        Exception: Whatever decoders raise at a broken file; what came before it counts.
    """
    if len(data) > MAX_BYTES or find_excess(data, for_pixels=False):
        return
    if data.startswith(PNG_START):
        # Pillow would decode all pixels to reach what is behind them, and refuses large texts.
        contents = list(_png_metadata(data))
        for content in contents:
            if content.startswith(EXIF_STARTS):
                exif = Image.Exif()
                with suppress(Exception):  # broken EXIF does not hide XMP
                    exif.load(content)
                yield exif
        yield from (content for content in contents if not content.startswith(EXIF_STARTS))
        return
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        exif = Image.Exif()
        with suppress(Exception):  # as above
            exif = image.getexif()
        yield exif
        if isinstance(xmp := image.info.get("xmp"), bytes):
            yield xmp
        if image.format in JPEG_FORMATS:
            start = len(JPEG_MORE_XMP) + 40
            parts = [part for kind, part in image.applist if part.startswith(JPEG_MORE_XMP)]
            parts.sort(key=lambda part: part[start - 4 : start])
            yield b"".join(part[start:] for part in parts)
        if image.format == "GIF" and (start := data.find(GIF_XMP)) >= 0:  # Pillow skips it
            start += len(GIF_XMP)
            yield data[start : start + MAX_METADATA_BYTES]


def read_directory(exif: Image.Exif, directory: int) -> dict[int, object]:
    """Return a directory of EXIF, such as GPSInfo; empty where it is missing or claims too much."""
    offset = exif.get(directory)
    if not isinstance(offset, int) or _count_values(exif, offset) > MAX_VALUES:
        return {}
    return exif.get_ifd(directory)


def _count_values(exif: Image.Exif, offset: int) -> int:
    """Return how many values a directory claims; 6 million keep Pillow busy for 16 seconds.

    Those that Pillow keeps as bytes, such as a camera's notes, do not count.
    """
    kind, size = ("Q", 20) if exif.bigtiff else ("H", 12)
    exif.fp.seek(offset)
    (entries,) = struct.unpack(exif.endian + kind, exif.fp.read(struct.calcsize(kind)))
    data = exif.fp.read(size * entries)
    entry = exif.endian + ("2xHQ8x" if exif.bigtiff else "2xHI4x")
    return sum(count for kind, count in struct.iter_unpack(entry, data) if kind not in BYTES)


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
