"""What a file is that cannot be read as a photo, told by its first bytes."""

CONVERT = "save it as JPEG or PNG and try again"
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
    b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx",
)  # fmt: skip


def describe_unreadable(data: bytes) -> str:
    """What a file is that no decoder takes, by its first bytes; a phrase without subject."""
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
        return "is a video or sound, not a photo; take a still picture from it"
    if is_riff or is_container or data.startswith(PHOTO_SIGNATURES):
        return "is damaged: it begins like a photo, but cannot be read; copy it again"
    return f"is no photo of a known format; {CONVERT}"
