"""Tell for a person what a file is that no decoder takes."""

import io
import re
import struct

from PIL.TiffImagePlugin import COMPRESSION_INFO, PREFIXES, ImageFileDirectory_v2

from models.photos.limits import is_avif

CONVERT = "save it as JPEG or PNG and try again"

# First bytes of files that people take for photos, and what these files are.
MARKUP = (
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG document"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"%pdf", "a PDF document"),
)
BINARY = (
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"8BPS", "a Photoshop document"),
    (b"II*\x00\x10\x00\x00\x00CR", "a raw camera file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
PHOTO_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
PHOTO_BRANDS = (
    *(b"avif", b"avis", b"mif1", b"msf1"),
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
    *(b"mif2", b"miaf", b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki", b"j2is", b"vvic", b"vvis"),
)
# How a HEIF may hold its pixels, beside the HEVC of HEIC, by the type of an item.
HEVC_ITEM = b"hvc1"
OTHER_ITEMS = {
    b"av01": "AV1",
    b"avc1": "H.264",
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"vvc1": "VVC",
    b"evc1": "EVC",
    b"unci": "uncompressed",
}
# An item's entry: version, flags, number, protection, type (ISO/IEC 14496-12, 8.11.6).
ITEM = re.compile(rb"infe(?:\x02.{5}|\x03.{7})\0\0(.{4})", re.DOTALL)
MAX_INDEX_BYTES = 10**6
# Relatives of the formats that are read, by their first bytes.
RELATIVES = (
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"MM\0+", "big-endian BigTIFF"),
)
# Markers that begin a frame of a JPEG; the others of 0xC0 to 0xCF are tables.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
FRAME_NAMES = {0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}
SAMPLES = {1: "-bit", 2: "-bit signed", 3: "-bit float"}
# By the tag 262: name and channels without alpha.
COLOURS = {
    0: ("inverted grey", 1),
    1: ("grey", 1),
    2: ("RGB", 3),
    3: ("palette", 1),
    5: ("CMYK", 4),
    6: ("YCbCr", 3),
    8: ("Lab", 3),
}
READ_TIFF = re.compile(
    r"an? ([1248]-bit (inverted )?grey|(8|16)-bit (grey|RGB)|[1248]-bit palette|"
    r"(12-bit|32-bit|32-bit float) grey|(12|16)-bit inverted grey|(8|16)-bit CMYK|"
    r"32-bit float inverted grey|8-bit YCbCr|(8-bit grey|(8|16)-bit RGB) and alpha)( planar)? TIFF"
)
# libtiff knows these only where it is built with them, which that of Pillow need not be.
OTHER_COMPRESSIONS = {34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}


def describe_unreadable(data: bytes) -> str:
    """Tell what a file is that no decoder takes.

    Returns:
        A phrase that continues "the photo ...".
    """
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    for signature, what in MARKUP:
        if start[: len(signature)].lower() == signature:
            return f"is {what}, not a photo; {CONVERT}"
    if start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return f"is a text file, not a photo; {CONVERT}"
    for signature, what in BINARY:
        if data.startswith(signature):
            return f"is {what}, not a photo; {CONVERT}"
    is_riff, is_container = data.startswith(b"RIFF"), data[4:8] == b"ftyp"
    if is_container and data[8:12] == b"crx ":
        return f"is a raw camera file, not a photo; {CONVERT}"
    if (is_riff and data[8:12] != b"WEBP") or (is_container and data[8:12] not in PHOTO_BRANDS):
        return "is a video or audio file, not a photo; save a still picture from it"
    if kind := find_unsupported(data):
        return unsupported(kind)
    if is_riff or is_container or data.startswith(PHOTO_SIGNATURES):
        return "is damaged: it begins like a photo, but cannot be read; copy it again"
    return f"is not a photo in a known format; {CONVERT}"


def unsupported(kind: str) -> str:
    """Say that photos of a kind, such as "a 12-bit JPEG", are not read and what to do."""
    return f"is {kind}, a kind that is not supported; {CONVERT}"


def find_unsupported(data: bytes) -> str | None:
    """Name the kind of a photo whose format is read, but not this kind of it.

    For files that a decoder has refused: an intact photo of a supported kind gives None.
    """
    for signature, name in RELATIVES:
        if data.startswith(signature):
            return f"a {name} photo"
    if data.startswith(b"\xff\xd8"):
        return _jpeg_kind(data)
    if data[4:8] == b"ftyp" and not is_avif(data):
        items = ITEM.findall(data, 0, MAX_INDEX_BYTES)
        other = next((OTHER_ITEMS[item] for item in items if item in OTHER_ITEMS), None)
        is_heic = HEVC_ITEM in items or other is None
        return None if is_heic else f"a HEIF photo with {other} pixels"
    if data.startswith(tuple(PREFIXES)):
        try:
            return _tiff_kind(data)
        except Exception:  # a broken directory, as above
            return None
    return None


def _jpeg_kind(data: bytes) -> str | None:
    position = 2
    while position + 4 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in FRAMES:
            precision = data[position + 4]
            if marker in FRAME_NAMES:
                return f"a {FRAME_NAMES[marker]} photo"
            return f"a {precision}-bit JPEG" if precision in (12, 16) else None
        position += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _tiff_kind(data: bytes) -> str | None:
    header = data[:16] if data[2:4] in (b"+\0", b"\0+") else data[:8]
    directory, file = ImageFileDirectory_v2(header), io.BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    compression = directory.get(259, 1)
    if compression in OTHER_COMPRESSIONS or compression not in COMPRESSION_INFO:
        name = OTHER_COMPRESSIONS.get(compression, f"unknown ({compression})")
        return f"a TIFF with {name} compression"
    name = describe_tiff(directory)
    return None if READ_TIFF.fullmatch(name) else name


def describe_tiff(tags: ImageFileDirectory_v2) -> str:
    """Name what the pixels of a TIFF are, such as "a 32-bit float RGB TIFF"."""
    bits, sample = max(tags.get(258, (1,))), max(tags.get(339, (1,)))
    colour, channels = COLOURS.get(tags.get(262, 0), ("unknown", 1)), tags.get(277, 1)
    parts = [f"{bits}{SAMPLES.get(sample, '-bit complex')}", colour[0]]
    if extra := channels - colour[1]:
        is_alpha = extra == 1 and tags.get(338, (2,))[0] in (1, 2)
        parts.append("and alpha" if is_alpha else f"and {extra} more")
    planar, order = " planar" * (tags.get(284) == 2), " with reversed bits" * (tags.get(266) == 2)
    return f"{'an' if bits == 8 else 'a'} {' '.join(parts)}{planar} TIFF{order}"
