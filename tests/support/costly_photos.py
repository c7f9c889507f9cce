"""Small files that ask for much memory or time, built byte by byte, unlike any real photo."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.support.bad_photos import draw, encode

HALF = (8192, 6100)  # 50 megapixels


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def progressive(size: tuple[int, int], scans: int) -> bytes:
    """A grey progressive JPEG whose scans each say in a few bytes that nothing changes."""
    width, height = size
    blocks = -(-width // 8) * -(-height // 8)
    nothing = bytes(-(-blocks // 16384) * 15 // 8 + 2)  # runs of 2^14 blocks, 15 bits each
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, bytes([0]) + bytes([1]) * 64),
            segment(0xC2, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),
            segment(0xC4, bytes([0x00, 1, *bytes(15), 0])),
            segment(0xC4, bytes([0x10, 1, *bytes(15), 0xE0])),
            segment(0xDA, bytes([1, 1, 0, 0, 0, 0])),
            bytes(blocks // 8 + 1),
            *[segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + nothing] * (scans - 1),
            b"\xff\xd9",
        ]
    )


def after_start(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def directory(entries: bytes, rest: bytes = b"") -> bytes:
    """A little-endian TIFF file, or EXIF block, of one directory with 12-byte entries."""
    count = len(entries) // 12
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4) + rest


def shared_values(count: int, size: int) -> bytes:
    """Each of count entries claims the same size bytes."""
    entries = [struct.pack("<HHII", 50_000 + i, 7, size, 8) for i in range(count)]
    return directory(b"".join(entries), bytes(size))


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A PNG chunk."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def after_header(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


def flat_png(size: tuple[int, int], channels: int) -> bytes:
    """A PNG of one colour, 8 bits a channel."""
    width, height = size
    kind = {1: 0, 3: 2, 4: 6}[channels]
    pack = zlib.compressobj(1)
    row = bytes(1) + bytes([90]) * (width * channels)
    pixels = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def gif_comments(blocks: int) -> bytes:
    gif = encode(draw(), "GIF")
    start = 13 + (3 << (gif[10] & 7) + 1)
    return gif[:start] + b"!\xfe" + (b"\xff" + bytes(255)) * blocks + b"\0" + gif[start:]


def run_length_bmp(size: tuple[int, int], content: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, 1, len(content), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return (
        struct.pack("<2sIII", b"BM", start + len(content), 0, start) + head + bytes(1024) + content
    )


def wide_tiles(side: int) -> bytes:
    """A TIFF of 64 x 64 pixels in one tile of side x side."""
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    content = zlib.compress(bytes(1_000_000))
    tags |= {324: 8 + 2 + 12 * 10 + 4, 325: len(content)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    return directory(b"".join(entries), content)


def box(kind: bytes, content: bytes, version: int | None = None) -> bytes:
    """A box of an ISO base media file; with a version, a full box."""
    if version is not None:
        content = bytes([version, 0, 0, 0]) + content
    return struct.pack(">I4s", len(content) + 8, kind) + content


def boxes(data: bytes) -> dict[bytes, bytes]:
    found, start = {}, 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        found[kind] = data[start : start + size]
        start += size
    return found


def heif(
    items: list[tuple[bytes, bytes]], references: list[tuple[bytes, int, list[int]]], primary: int
) -> bytes:
    """A HEIC of items (kind, content), numbered from 1; kind "hvc1" stands for a 64 px picture."""
    picture = boxes(encode(draw((64, 64)), "HEIF"))
    properties = boxes(boxes(picture[b"meta"][12:])[b"iprp"][8:])[b"ipco"]
    count = len(boxes(properties[8:]))
    items = [(kind, content or picture[b"mdat"][8:]) for kind, content in items]
    entries = b"".join(
        box(b"infe", struct.pack(">HH4s", i, 0, kind) + b"\0", 2)
        for i, (kind, _) in enumerate(items, 1)
    )
    owned = b"".join(
        struct.pack(">HB", i, count) + bytes(range(1, count + 1))
        for i, (kind, _) in enumerate(items, 1)
        if kind != b"Exif"
    )
    shown = sum(kind != b"Exif" for kind, _ in items)
    linked = b"".join(
        box(kind, struct.pack(f">HH{len(to)}H", start, len(to), *to))
        for kind, start, to in references
    )

    def meta(start: int) -> bytes:
        places = struct.pack(">HH", 0x4400, len(items))
        for i, (_, content) in enumerate(items, 1):
            places += struct.pack(">HHHII", i, 0, 1, start, len(content))
            start += len(content)
        owners = box(b"ipma", struct.pack(">I", shown) + owned, 0)
        return box(
            b"meta",
            box(b"hdlr", struct.pack(">I4s", 0, b"pict") + bytes(13), 0)
            + box(b"pitm", struct.pack(">H", primary), 0)
            + box(b"iloc", places, 0)
            + box(b"iinf", struct.pack(">H", len(items)) + entries, 0)
            + box(b"iref", linked, 0)
            + box(b"iprp", properties + owners),
            0,
        )

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", b"".join(content for _, content in items))


def shared_exif(images: int, size: int) -> bytes:
    """A HEIC of many images that one Exif item describes."""
    exif = bytes(4) + directory(struct.pack("<HHII", 274, 3, 1, 1), bytes(size))
    items = [(b"hvc1", b"")] * images + [(b"Exif", exif)]
    return heif(items, [(b"cdsc", images + 1, list(range(1, images + 1)))], 1)


def understated(data: bytes, side: int) -> bytes:
    """A HEIC or AVIF whose container says side x side, whatever its picture holds."""
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", side, side) + data[place + 8 :]


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.bmp", bytes(20_000_000))
    return buffer.getvalue()


def nested_xmp(depth: int) -> bytes:
    return b"http://ns.adobe.com/xap/1.0/\0" + b"<x>" * depth + b"</x>" * depth


JPEG, PNG = encode(draw(), "JPEG"), encode(draw(), "PNG")
LOOP = struct.pack("<HHII", 0x8769, 4, 1, 8)  # the Exif directory is this one again
# Name -> what makes the file: a test pays only for the files that it makes.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "many scans": (lambda: progressive((640, 480), 101), "has 101 scans"),
    "long exif": (
        lambda: after_start(JPEG, *[segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 70),
        "over 4 MB of EXIF",
    ),
    "many segments": (lambda: after_start(JPEG, segment(0xFE, b"") * 70_000), "65,536 segments"),
    "many fill bytes": (lambda: after_start(JPEG, b"\xff" * 70_000), "65,536 segments"),
    "many chunks": (lambda: after_header(PNG, chunk(b"teSt") * 70_000), "65,536 chunks"),
    "long comment": (lambda: gif_comments(9000), "a megabyte of comments"),
    "shared values": (lambda: shared_values(100, 1_000_000), "is damaged"),
    "wide tiles": (lambda: wide_tiles(30_000), "over 100 megapixels"),
    "run-length bmp": (
        lambda: run_length_bmp((400_000, 100), b"\0\x02\xff\xff" * 4),
        "run-length encoded BMP",
    ),
    "shared exif": (lambda: shared_exif(100, 1_000_000), "over 64 MB of metadata"),
    "understated heic": (
        lambda: understated(encode(draw((640, 480)), "HEIF"), 64),
        "is damaged",
    ),
}
READ: dict[str, Callable[[], bytes]] = {
    "hundred scans": lambda: progressive((640, 480), 100),
    "exif loop": lambda: after_start(JPEG, segment(0xE1, b"Exif\0\0" + directory(LOOP))),
    "exif of shared values": lambda: after_header(
        PNG, chunk(b"eXIf", shared_values(100, 1_000_000))
    ),
    "nested xmp": lambda: after_start(JPEG, segment(0xE1, nested_xmp(9000))),
    "giant xmp": lambda: after_header(
        PNG, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x>" * 350_000)
    ),
    "compressed text": lambda: after_header(
        PNG, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000)))
    ),
    "compressed exif": lambda: after_header(
        PNG, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(20_000_000)))
    ),
    "compressed profile": lambda: after_header(
        PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(20_000_000)))
    ),
    "text after the pixels": lambda: (
        PNG[:-12] + chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(20_000_000))) + PNG[-12:]
    ),
    "thousands of texts": lambda: after_header(PNG, chunk(b"tEXt", b"a\0b") * 5000),
    "garbage profile": lambda: after_start(
        JPEG, segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(60_000))
    ),
    "photo with an archive": lambda: JPEG + zip_bomb(),
    "photo with a page": lambda: JPEG + b"<html><script>alert(1)</script></html>",
    "understated avif": lambda: understated(encode(draw((640, 480)), "AVIF", speed=10), 64),
}
# Of 50 megapixels, so seconds each: either answered or refused.
LARGE: dict[str, Callable[[], bytes]] = {
    "large png": lambda: flat_png(HALF, 3),
    "large transparent png": lambda: flat_png(HALF, 4),
    "large jpeg of 100 scans": lambda: progressive(HALF, 100),
    "large gif": lambda: encode(Image.new("L", HALF, 90), "GIF"),
    "large webp": lambda: encode(Image.new("RGB", HALF, "red"), "WEBP", quality=1, method=0),
    "large tiff": lambda: encode(Image.new("CMYK", HALF), "TIFF", compression="tiff_lzw"),
    "large avif": lambda: encode(Image.new("L", HALF, 90), "AVIF", speed=10),
    "large float tiff": lambda: encode(
        Image.fromarray(np.ones(HALF[::-1], np.float32)), "TIFF", compression="tiff_adobe_deflate"
    ),
    "long strip": lambda: encode(Image.new("L", (50_000_000 // 20, 20)), "PNG"),
    "gzip bomb": lambda: gzip.compress(bytes(20_000_000)),
    "zip bomb": zip_bomb,
}
