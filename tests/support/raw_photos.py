"""RAW photos, built byte by byte around a JPEG preview; the sensor's data is a few zeros."""

import struct

BYTE, TEXT, SHORT, LONG = 1, 2, 3, 4


def dng(preview: bytes, orientation: int = 1, where: tuple[int, int] = (273, 279)) -> bytes:
    """A TIFF as most cameras write their RAW: directories for the photo, a preview and EXIF.

    Args:
        preview: A JPEG, whose own orientation says nothing.
        orientation: EXIF value of the photo, taken on 6 May 2024 at 14:03:22.
        where: Tags that say where the preview lies and how long it is; see nef.
    """
    date, camera, sensor = b"2024:05:06 14:03:22\0", b"Canon\0", bytes(16 * 12)
    contents = {"date": date, "camera": camera, "sensor": sensor, "preview": preview}
    places = dict.fromkeys(("main", "sub", "exif", *contents), 0)
    for _ in range(2):  # where things lie follows from their sizes
        directories = {
            "main": [
                *((254, LONG, 1), (256, LONG, 16), (257, LONG, 12), (258, SHORT, 8)),
                *((259, SHORT, 1), (271, TEXT, places["camera"]), (273, LONG, places["sensor"])),
                *((274, SHORT, orientation), (277, SHORT, 1), (279, LONG, len(sensor))),
                *((330, LONG, places["sub"]), (34665, LONG, places["exif"])),
                *([(50706, BYTE, 0x0401)] if where == (273, 279) else []),  # DNGVersion 1.4
            ],
            "sub": [
                *((254, LONG, 1), (256, LONG, 640), (257, LONG, 480), (258, SHORT, 8)),
                *((259, SHORT, 7), (262, SHORT, 6), (where[0], LONG, places["preview"])),
                *((277, SHORT, 3), (where[1], LONG, len(preview))),
            ],
            "exif": [(36867, TEXT, places["date"])],
        }
        lengths = {271: len(camera), 36867: len(date), 50706: 4}
        parts = {name: _directory(tags, lengths) for name, tags in directories.items()} | contents
        position = 8
        for name, part in parts.items():
            places[name], position = position, position + len(part)
    return b"II*\0" + struct.pack("<I", places["main"]) + b"".join(parts.values())


def nef(preview: bytes, orientation: int = 1) -> bytes:
    """A TIFF as Nikon writes it, whose preview is found by tags of its own."""
    return dng(preview, orientation, where=(513, 514))


def _directory(tags: list[tuple[int, int, int]], lengths: dict[int, int]) -> bytes:
    entries = b"".join(
        struct.pack("<HHII", tag, kind, lengths.get(tag, 1), value)
        for tag, kind, value in sorted(tags)
    )
    return struct.pack("<H", len(tags)) + entries + bytes(4)


def raf(preview: bytes) -> bytes:
    """A RAF of Fujifilm, which is no TIFF: a header that says where the preview lies."""
    head = b"FUJIFILMCCD-RAW 0201FF389501" + b"X-T1".ljust(32, b"\0") + b"0100" + bytes(20)
    where = struct.pack(">II", 148, len(preview))
    return (head + where).ljust(148, b"\0") + preview
