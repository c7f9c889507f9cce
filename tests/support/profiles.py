"""Colour profiles, built byte by byte as ICC.1:2010 says, so that tests need no files of others."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# Primaries (x, y) of red, green, blue and the white point; the curve's exponent, 0 for sRGB's.
SPACES = {
    "srgb": (((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), (0.3127, 0.3290), 0),
    "display p3": (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.3127, 0.3290), 0),
    "adobe rgb": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), (0.3127, 0.3290), 563 / 256),
    "prophoto": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8),
}
BRADFORD = np.array(
    [(0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)]
)


def curve(exponent: float) -> bytes:
    """A parametric curve; 0 is that of sRGB."""
    if exponent:
        return struct.pack(">4sIHHi", b"para", 0, 0, 0, round(exponent * 65536))
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return struct.pack(">4sIHH5i", b"para", 0, 3, 0, *(round(n * 65536) for n in numbers))


def xyz(values: tuple[float, float, float] | np.ndarray) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *(round(float(n) * 65536) for n in values))


def profile(
    space: str, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    """A profile with these tags: its colour space, its class, what its values become."""
    place, table, content = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, place + len(content), len(value))
        content += value
    head = struct.pack(
        ">I4sI4s4s4s12x4s",
        place + len(content),
        b"",
        0x04300000,
        kind,
        space.encode().ljust(4),
        connection,
        b"acsp",
    ).ljust(68, b"\0")
    head += struct.pack(">3i", *(round(n * 65536) for n in D50))
    return head.ljust(128, b"\0") + table + content


def rgb_profile(name: str) -> bytes:
    """One of SPACES."""
    primaries, white, exponent = SPACES[name]
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*primaries, white)]).T
    matrix = columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
    cones = (BRADFORD @ D50) / (BRADFORD @ columns[:, 3])
    matrix = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ matrix
    tags = {b"wtpt": xyz(D50)}
    for i, letter in enumerate((b"r", b"g", b"b")):
        tags |= {letter + b"XYZ": xyz(matrix[:, i]), letter + b"TRC": curve(exponent)}
    return profile("RGB", tags)


def grey_profile(exponent: float) -> bytes:
    return profile("GRAY", {b"wtpt": xyz(D50), b"kTRC": curve(exponent)})


def cmyk_profile() -> bytes:
    """A press whose cyan is a grey of L* 50; no ink is white, any other ink black."""
    lightness = [255, *[0] * 7, 128, *[0] * 7]  # by ink, cyan being the highest bit
    table = b"".join(bytes([level, 128, 128]) for level in lightness)
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * n for n in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut = struct.pack(">4sI4B", b"mft1", 0, 4, 3, 2, 0) + matrix
    lut += identity * 4 + table + identity * 3
    return profile("CMYK", {b"wtpt": xyz(D50), b"A2B0": lut}, b"prtr", b"Lab ")
