"""TIFFs of any kind, built byte by byte: most encoders write only a few."""

import struct
import zlib

import numpy as np

GREY_INVERTED, GREY, RGB, CMYK = 0, 1, 2, 5


def tiff(
    values: np.ndarray,
    order: str = "<",
    photometric: int = RGB,
    planar: bool = False,
    packed: bool = False,
    extra: tuple[int, ...] = (),
    rows: int | None = None,
    tags: dict[int, int] | None = None,
) -> bytes:
    """A TIFF of (H, W, C) values, whose type decides the sample format.

    Args:
        values: Of any integer or float type.
        order: "<" or ">".
        photometric: The tag's value.
        planar: Each channel in strips of its own.
        packed: Strips are deflated.
        extra: What the channels after the colours are: 1 premultiplied alpha, 2 alpha, 0 nothing.
        rows: Of a strip; None: one strip.
        tags: More tags, or others than these values would have.
    """
    height, width, channels = values.shape
    rows = rows or height
    planes = np.split(values, channels, axis=2) if planar else [values]
    stored = values.dtype.newbyteorder(order)
    strips = [
        p[y : y + rows].astype(stored).tobytes() for p in planes for y in range(0, height, rows)
    ]
    if packed:
        strips = [zlib.compress(strip) for strip in strips]
    short = {
        256: [width],
        257: [height],
        258: [8 * values.itemsize] * channels,
        259: [8 if packed else 1],
        262: [photometric],
        277: [channels],
        278: [rows],
        284: [2 if planar else 1],
        338: list(extra),
        339: [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * channels,
    }
    short |= {tag: [value] for tag, value in (tags or {}).items()}
    fields = {tag: ("H", 3, values) for tag, values in short.items() if values}
    fields |= {273: ("I", 4, [0] * len(strips)), 279: ("I", 4, [len(strip) for strip in strips])}
    outside = sum(
        len(v) * (4 if unit == "I" else 2)
        for unit, _, v in fields.values()
        if len(v) > (1 if unit == "I" else 2)
    )
    start = 8 + 2 + 12 * len(fields) + 4
    offsets = np.cumsum([start + outside, *fields[279][2][:-1]]).tolist()
    fields[273] = ("I", 4, offsets)
    entries = rest = b""
    for tag, (unit, kind, numbers) in sorted(fields.items()):
        value = struct.pack(f"{order}{len(numbers)}{unit}", *numbers)
        if len(value) > 4:
            value, rest = struct.pack(f"{order}I", start + len(rest)), rest + value
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(fields))
    return head + entries + bytes(4) + rest + b"".join(strips)
