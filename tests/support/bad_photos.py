"""Files that are not photos, each for another reason, and what the reader says about them."""

import gzip
import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()


def draw(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Four quarters: red, green / blue, white."""
    width, height = size
    image = Image.new("RGB", size, "white")
    image.paste((220, 30, 30), (0, 0, width // 2, height // 2))
    image.paste((30, 200, 30), (width // 2, 0, width, height // 2))
    image.paste((30, 30, 220), (0, height // 2, width // 2, height))
    return image


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def noisy() -> Image.Image:
    """A picture that does not compress, so that a cut hits its pixels."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))


def half(format: str) -> bytes:
    data = encode(noisy(), format)
    return data[: len(data) // 2]


def flipped(format: str) -> bytes:
    data = bytearray(encode(noisy(), format))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


JPEG = encode(draw(), "JPEG")
BROKEN = "cut off|damaged"
# Name -> content and the message, a regular expression. All are uploaded as photos.
BAD_PHOTOS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "half jpeg": (half("JPEG"), "is cut off: the file ends too early"),
    "half png": (half("PNG"), BROKEN),
    "half webp": (half("WEBP"), BROKEN),
    "half heic": (half("HEIF"), BROKEN),
    "half avif": (half("AVIF"), BROKEN),
    "half bmp": (half("BMP"), "is cut off"),
    "half tiff": (half("TIFF"), BROKEN),
    "flipped bit png": (flipped("PNG"), "is damaged"),
    "jpeg header alone": (JPEG[:20], "is damaged: it begins like a photo"),
    "png header alone": (png_header(64, 48), "is cut off"),
    "random bytes": (np.random.default_rng(0).bytes(5000), "not a photo in a known format"),
    "zeros": (bytes(5000), "not a photo in a known format"),
    "text": (b"Dear Sir,\nplease find no photo here.\n", "a text file"),
    "web page": (b"<!DOCTYPE html><html></html>", "a web page"),
    "svg": (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "xml": (b"<?xml version='1.0'?><a/>", "an XML or SVG document"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    "zip": (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
    "gzip": (gzip.compress(JPEG), "a gzip archive"),
    "mp4": (b"\x00\x00\x00\x20ftypisom" + bytes(40), "a video or audio file"),
    "avi": (b"RIFF\x00\x01\x00\x00AVI LIST" + bytes(40), "a video or audio file"),
    "webm": (b"\x1a\x45\xdf\xa3" + bytes(40), "a video"),
    "camera raw": (b"\x00\x00\x00\x18ftypcrx " + bytes(40), "a raw camera file"),
    "photoshop": (b"8BPS\x00\x01" + bytes(40), "a Photoshop document"),
    "windows program": (b"MZ\x90\x00" + bytes(40), "a program"),
    "linux program": (b"\x7fELF\x02" + bytes(40), "a program"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a text file, not a photo"),
    "over 100 megapixels": (png_header(10_001, 10_000), "over 100 megapixels"),
    "bomb": (png_header(60_000, 60_000), "over 100 megapixels"),
    "narrow": (encode(draw((15, 300)), "PNG"), "15 x 300 pixels; both sides"),
    "flat": (encode(draw((300, 8)), "JPEG"), "300 x 8 pixels; both sides"),
}
