"""Photos as an attacker or a failing disk would make them, the same ones for the same seed.

Three in four are a small photo of some format and mode, changed; the rest are files that ask for
much memory or time (costly_photos), or no photos at all.
"""

import functools
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.support.bad_photos import BAD_PHOTOS, encode
from tests.support.costly_photos import LARGE, READ, REFUSED
from tests.support.drawing import draw_landmark


@dataclass(frozen=True)
class Mutated:
    """A file to read.

    Attributes:
        name: As an upload or a folder has it; may hold anything.
        data: Its bytes.
        how: What it was and what was done to it.
    """

    name: str
    data: bytes
    how: str


@functools.cache
def photos() -> dict[str, bytes]:
    """Small photos of every format that is read, in every mode that it commonly has."""
    image = draw_landmark(1, 0, (96, 72))
    other, grey, clear = image.rotate(180), image.convert("L"), image.convert("RGBA")
    clear.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    real = Image.fromarray(np.asarray(grey).astype(np.float32))
    palette = image.quantize(64)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    several = {"save_all": True, "append_images": [other]}
    # Copies: an image that was saved as JPEG cannot be saved as TIFF.
    made = [
        ("JPEG", image, {"exif": exif}),
        ("JPEG", image, {"progressive": True}),
        ("JPEG", image.convert("CMYK"), {}),
        ("JPEG", grey, {}),
        ("MPO", image, several),
        ("PNG", image, {"exif": exif}),
        ("PNG", palette.convert("1"), {}),
        ("PNG", deep, {}),
        ("PNG", palette, {"transparency": 3}),
        ("PNG", clear, {}),
        ("PNG", image, several),
        ("WEBP", image, {"exif": exif}),
        ("WEBP", clear, {"lossless": True}),
        ("WEBP", image, several),
        ("GIF", palette, {}),
        ("GIF", palette, several),
        ("BMP", image, {}),
        ("BMP", palette, {}),
        ("TIFF", image, {"exif": exif}),
        ("TIFF", image, {"compression": "tiff_lzw"}),
        ("TIFF", deep, {}),
        ("TIFF", real, {}),
        ("TIFF", image, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", image, {"compression": "jpeg"}),
        ("TIFF", image.convert("CMYK"), {}),
        ("TIFF", image.copy(), {"save_all": True, "append_images": [other.copy()]}),
        ("HEIF", image, {"exif": exif.tobytes()}),
        ("HEIF", clear, {}),
        ("HEIF", image, several),
        ("AVIF", image, {"exif": exif, "speed": 10}),
        ("AVIF", clear, {"speed": 10}),
    ]
    return {
        f"{format} {image.mode} {' '.join(options)}".strip(): encode(
            image.copy(), format, **options
        )
        for format, image, options in made
    }


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, len(data), rng.integers(1, 9))
    changed[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    return changed.tobytes()


def flip_head(data: bytes, rng: np.random.Generator) -> bytes:
    return flip_bits(data[:200], rng) + data[200:]


def fill_run(data: bytes, rng: np.random.Generator) -> bytes:
    start, length = rng.integers(0, len(data)), rng.integers(1, 64)
    run = data[start : start + length]
    return data[:start] + rng.choice([b"\0", b"\xff"]) * len(run) + data[start + length :]


def cut_off(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(1, len(data))]


def insert(data: bytes, rng: np.random.Generator) -> bytes:
    start = rng.integers(0, len(data))
    return data[:start] + rng.bytes(rng.integers(1, 32)) + data[start:]


def remove(data: bytes, rng: np.random.Generator) -> bytes:
    start = rng.integers(0, len(data))
    return data[:start] + data[start + rng.integers(1, 32) :]


def swap_parts(data: bytes, rng: np.random.Generator) -> bytes:
    first, second, third = sorted(rng.integers(0, len(data), 3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def repeat_part(data: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(rng.integers(0, len(data), 2))
    return data[:last] + data[first:last] * int(rng.integers(1, 50)) + data[last:]


def declare_size(data: bytes, rng: np.random.Generator) -> bytes:
    """Write another width and height into the header: huge, zero, negative, odd."""
    one = int(rng.choice([0, 1, 15, 16, 97, 4000, 16_384, 30_000, 65_535, 2**31 - 1, 2**32 - 1]))
    two = int(rng.choice([0, 1, 16, 73, 4000, 50_000, 65_535, 2**32 - 1]))
    small, large = struct.pack("<HH", one & 0xFFFF, two & 0xFFFF), struct.pack(">II", one, two)
    if data.startswith(b"\xff\xd8"):
        starts = [data.find(bytes([0xFF, kind])) for kind in (0xC0, 0xC2)]
        place, value = max(starts) + 5, struct.pack(">HH", two & 0xFFFF, one & 0xFFFF)
    elif data.startswith(b"\x89PNG"):
        place, value = 16, large
    elif data.startswith(b"GIF8"):
        frame = data.find(b",\0\0\0\0") + 5
        place, value = int(rng.choice([6, frame])), small
    elif data.startswith(b"BM"):
        place, value = 18, struct.pack("<II", one, two)
    elif data.startswith(b"RIFF"):
        place = data.find(b"VP8X") + 12 if b"VP8X" in data else data.find(b"VP8") + 14
        value = struct.pack("<I", one)[:3] + struct.pack("<I", two)[:3]
    elif data[4:8] == b"ftyp":
        place, value = data.find(b"ispe") + 8, large
    else:  # TIFF: the value of one of its first entries
        start = struct.unpack_from("<I", data, 4)[0] + 2
        place, value = start + 12 * int(rng.integers(0, 8)) + 4, struct.pack("<II", two, one)
    return data[:place] + value + data[place + len(value) :]


CHANGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    flip_bits,
    flip_head,
    fill_run,
    cut_off,
    insert,
    remove,
    swap_parts,
    repeat_part,
    declare_size,
)
NO_PHOTOS = {
    "pickled code": pickle.dumps(print),
    "polyglot of GIF and script": b"GIF89a/*" + bytes(40) + b"*/=1;alert(1)",
    "polyglot of page and JPEG": b"<!doctype html><script>alert(1)</script>\xff\xd8\xff\xe0",
    "utf-16 text": "photo".encode("utf-16") * 50,
    "one byte": b"\xff",
    "jpeg start alone": b"\xff\xd8",
}
NAMES = (
    "photo",
    "фото 写真 🗼",
    "../../x",
    "..\\..\\x",
    "C:\\x",
    "/etc/x",
    "a\nb",
    "a\tb",
    "-rf",
    "a\r\nSet-Cookie: b",
    "<img src=x onerror=alert(1)>",
    "x" * 240,
    "--help",
    ".hidden",
    "con",
    "%2e%2e%2fx",
    "=cmd()",
    '"quoted"',
    "'; drop table photos",
    "\u202egpj.exe",
    "${HOME}",
    "a\x1b[2J",
)
EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "HEIF": "heic",
    "AVIF": "avif",
}


@functools.cache
def _special() -> list[tuple[str, Callable[[], bytes]]]:
    """Files that are not changed photos, cheap ones first: a small run never reaches slow ones."""
    refused = [(name, make) for name, (make, _) in REFUSED.items()]
    wrong = [(name, functools.partial(bytes, data)) for name, (data, _) in BAD_PHOTOS.items()]
    other = [(name, functools.partial(bytes, data)) for name, data in NO_PHOTOS.items()]
    cheap = refused + list(READ.items()) + other + wrong
    rng = np.random.default_rng(0)
    return [cheap[i] for i in rng.permutation(len(cheap))] + list(LARGE.items())


def mutated(count: int, seed: int) -> Iterator[Mutated]:
    """Make count files; each depends only on the seed and its place."""
    kinds = list(photos().items())
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        if index % 4 == 3:
            special = _special()
            how, make = special[index // 4 % len(special)]
            data, format = make(), rng.choice(list(EXTENSIONS))
        else:
            how, data = kinds[int(rng.integers(len(kinds)))]
            format = how.split()[0]
            for _ in range(rng.integers(1, 3)):
                change = CHANGES[int(rng.integers(len(CHANGES)))]
                how += f", {change.__name__}"
                data = change(data, rng) or b"\0"
        name = f"{NAMES[int(rng.integers(len(NAMES)))]}.{EXTENSIONS[format]}"
        yield Mutated(name, data, f"{index}: {how}")
