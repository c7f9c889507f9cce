import io
import os
import shutil
import struct
import subprocess
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.ExifTags import GPS, IFD, Base
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from models.photos import MAX_BYTES
from models.photos.gps import Position, read_position
from tests.support.bad_photos import BAD_PHOTOS, draw, encode
from tests.support.costly_photos import after_header, after_start, chunk, segment

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"]
NORTH, EAST = (48.0, 51.0, 30.24), (2.0, 17.0, 40.2)
EIFFEL = pytest.approx((48.8584, 2.2945), abs=1e-6)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" %b</rdf:RDF></x:xmpmeta>'
)
ATTRIBUTES = XMP % b'exif:GPSLatitude="48,51.504N" exif:GPSLongitude="2,17.67E"/>'
ELEMENTS = XMP % (
    b"><exif:GPSLongitude>43,12,37.8W</exif:GPSLongitude>\n"
    b"<exif:GPSLatitude>22,57,6.84S</exif:GPSLatitude></rdf:Description>"
)


def gps(
    north: object = NORTH, north_ref: object = "N", east: object = EAST, east_ref: object = "E"
) -> Image.Exif:
    """EXIF with these values; None leaves one out."""
    exif = Image.Exif()
    exif[Base.Make] = "Camera"  # Pillow drops EXIF that has only GPS
    tags = (GPS.GPSLatitude, GPS.GPSLatitudeRef, GPS.GPSLongitude, GPS.GPSLongitudeRef)
    values = (north, north_ref, east, east_ref)
    exif.get_ifd(IFD.GPSInfo).update(
        {tag: value for tag, value in zip(tags, values, strict=True) if value is not None}
    )
    return exif


def photo(format: str = "JPEG", exif: Image.Exif | None = None, **options: object) -> bytes:
    if exif is not None:
        options["exif"] = exif.tobytes()
    return encode(draw(), format, **options)


def as_tuple(position: Position | None) -> tuple[float, float] | None:
    return position and (position.latitude, position.longitude)


@pytest.mark.parametrize("format", FORMATS)
def test_gps_of_every_format_with_no_pixel_decoded(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plain = photo(format, gps()), photo(format)
    path = tmp_path / "photo"
    path.write_bytes(data)

    def load(self: ImageFile.ImageFile) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert as_tuple(read_position(data)) == EIFFEL
    assert as_tuple(read_position(path)) == EIFFEL
    assert as_tuple(read_position(str(path))) == EIFFEL
    assert read_position(plain) is None


def test_the_southern_and_western_halves() -> None:
    there = gps((22.0, 57.0, 6.84), "S", (43.0, 12.0, 37.8), "W")
    assert as_tuple(read_position(photo(exif=there))) == pytest.approx((-22.9519, -43.2105))
    edge = gps((90.0, 0.0, 0.0), "S", (180.0, 0.0, 0.0), "W")
    assert as_tuple(read_position(photo(exif=edge))) == (-90, -180)


@pytest.mark.parametrize(
    "values",
    [
        {"north": (48.8584,)},
        {"north": (48.0, 51.504)},
        {"north": (48.0, 51.504, 0.0)},
        {"north": (48, 51, IFDRational(3024, 100))},
        {"north_ref": "n"},
        {"north_ref": "North"},
    ],
)
def test_ways_to_write_the_same(values: dict) -> None:
    assert as_tuple(read_position(photo(exif=gps(**values)))) == EIFFEL


@pytest.mark.parametrize(
    "values",
    [
        {"north": None},
        {"north_ref": None},
        {"east": None},
        {"east_ref": None},
        {"north_ref": "E", "east_ref": "N"},
        {"north_ref": "X"},
        {"north_ref": ""},
        {"north": EAST, "north_ref": "E", "east": NORTH, "east_ref": "N"},
        {"north": (90.0, 0.0, 0.1)},
        {"north": (91.0, 0.0, 0.0)},
        {"east": (180.0, 1.0, 0.0)},
        {"north": (48.0, 61.0, 0.0)},
        {"north": (48.0, 0.0, 61.0)},
        {"north": (IFDRational(0, 0),) * 3},
        {"north": (48, 51, IFDRational(3024, 0))},
        {"east": (2, IFDRational(1, 0), 0)},
        {"north": (0.0,) * 3, "east": (0.0,) * 3},
        {"north": (0.0, 0.0, 0.0), "east": (0.0, 0.0, 0.0), "north_ref": "S", "east_ref": "W"},
        {"north": (48.0, 51.0, 30.0, 24.0)},
    ],
)
def test_positions_not_to_trust(values: dict) -> None:
    assert read_position(photo(exif=gps(**values))) is None


def test_the_equator_is_trusted_where_the_meridian_is_not_zero() -> None:
    there = photo(exif=gps((0.0, 0.0, 0.0), "N", (32.0, 30.0, 0.0), "E"))
    assert as_tuple(read_position(there)) == (0, 32.5)


@pytest.mark.parametrize("format", FORMATS)
def test_xmp_serves_where_exif_has_none(format: str) -> None:
    options = {"xmp": ATTRIBUTES}
    if format == "PNG":
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", ATTRIBUTES.decode())
    if format == "TIFF":
        options = {"tiffinfo": {700: ATTRIBUTES}}
    assert as_tuple(read_position(photo(format, **options))) == EIFFEL


def test_xmp_as_elements_and_broken_xmp() -> None:
    assert as_tuple(read_position(photo(xmp=ELEMENTS))) == pytest.approx((-22.9519, -43.2105))
    assert as_tuple(read_position(photo(exif=gps(), xmp=ELEMENTS))) == EIFFEL  # EXIF goes first
    for old, new in ((b"48,", b"98,"), (b"N", b"E"), (b"51.504", b"5.1.504"), (b"48", b"x")):
        assert read_position(photo(xmp=ATTRIBUTES.replace(old, new))) is None


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_what_exiftool_wrote(tmp_path: Path) -> None:
    # Of a PNG it writes metadata behind the pixels.
    paths = [tmp_path / f"photo.{name}" for name in ("jpg", "png", "webp", "tif", "heic", "avif")]
    for path in paths:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    shutil.copy(paths[1], tmp_path / "xmp.png")
    tags = ["-GPSLatitude=48.8584", "-GPSLongitude=2.2945"]
    exif = ["-GPSLatitudeRef=N", "-GPSLongitudeRef=E"]
    command = ["exiftool", "-q", "-overwrite_original"]
    subprocess.run([*command, *tags, *exif, *paths], check=True)
    xmp = [tag.replace("-", "-XMP:") for tag in tags]
    subprocess.run([*command, *xmp, tmp_path / "xmp.png"], check=True)
    found = {path.name: as_tuple(read_position(path)) for path in (*paths, tmp_path / "xmp.png")}
    assert found == {name: EIFFEL for name in found}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_files_have_no_position(name: str) -> None:
    assert read_position(BAD_PHOTOS[name][0]) is None


def test_what_is_no_file_has_no_position(tmp_path: Path) -> None:
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(tmp_path / "pipe")
    big = tmp_path / "big.jpg"
    big.write_bytes(photo(exif=gps()))
    os.truncate(big, MAX_BYTES + 1)
    for path in (tmp_path / "none.jpg", tmp_path, tmp_path / "pipe", big, "\0", "x" * 5000, ""):
        assert read_position(path) is None


def test_mutated_photos_give_a_position_on_earth_or_none() -> None:
    rng = np.random.default_rng(0)
    readable = 0
    for format in FORMATS:
        whole = photo(format, gps())
        for _ in range(100):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 3):
                data[place] = rng.integers(0, 256)
            position = read_position(bytes(data[: rng.integers(1, 2 * len(data))]))
            if position is not None:
                readable += 1
                assert abs(position.latitude) <= 90 and abs(position.longitude) <= 180
    assert 100 < readable < 600


def test_a_png_of_a_million_chunks_is_given_up() -> None:
    data = photo("PNG")
    start, end = data[:-12], data[-12:]
    early = photo("PNG", gps())
    exif = early[early.index(b"eXIf") - 4 :]
    exif = exif[: 12 + int.from_bytes(exif[:4])]
    empty = bytes(4) + b"aaAa" + bytes(4)
    assert as_tuple(read_position(start + empty * 100 + exif + end)) == EIFFEL
    assert read_position(start + empty * 30_000 + exif + end) is None


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_xmp_of_a_gif(tmp_path: Path) -> None:
    path = tmp_path / "photo.gif"
    draw().save(path)
    tags = ["-XMP:GPSLatitude=48.8584", "-XMP:GPSLongitude=2.2945"]
    command = ["exiftool", "-config", "", "-q", "-overwrite_original", *tags, path]
    subprocess.run(command, check=True)
    assert as_tuple(read_position(path)) == EIFFEL


def test_xmp_that_no_segment_has_room_for() -> None:
    text = ATTRIBUTES.replace(b"<rdf:Desc", b"<!--" + b"x" * 70_000 + b"--><rdf:Desc")
    parts = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + b"0" * 32
            + struct.pack(">II", len(text), start)
            + text[start : start + 40_000],
        )
        for start in (40_000, 0)
    ]
    jpeg = photo(xmp=XMP % b"/>")
    assert read_position(jpeg) is None
    assert as_tuple(read_position(after_start(jpeg, *parts))) == EIFFEL


def xmp_chunk(text: bytes) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + text)


def test_packed_xmp_is_unpacked_within_limits() -> None:
    whole = photo("PNG")
    start = b"XML:com.adobe.xmp\0\1\0\0\0"
    bomb = chunk(b"iTXt", start + zlib.compress(bytes(50_000_000)))
    place = chunk(b"iTXt", start + zlib.compress(ATTRIBUTES))
    assert as_tuple(read_position(after_header(whole, bomb, place))) == EIFFEL
    assert as_tuple(read_position(whole[:-12] + place + whole[-12:])) == EIFFEL
    began = time.process_time()
    assert read_position(after_header(whole, *[bomb] * 200)) is None
    assert time.process_time() - began < 5


def raw_profile(name: bytes, content: bytes) -> bytes:
    """As ImageMagick writes it: name, length and hexadecimal digits."""
    digits = content.hex().encode()
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"\n%s\n%8d\n%s\n" % (name, len(content), lines)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iTXt packed"])
@pytest.mark.parametrize("name", [b"exif", b"xmp", b"APP1"])
def test_what_imagemagick_writes_into_a_png(name: bytes, kind: bytes) -> None:
    content = ATTRIBUTES if name == b"xmp" else b"Exif\0\0" + gps().tobytes()
    text = raw_profile(name, content)
    if kind != b"tEXt":
        is_packed = kind != b"iTXt"
        flags = {b"zTXt": b"\0", b"iTXt": bytes(4), b"iTXt packed": b"\1" + bytes(3)}[kind]
        text = flags + (zlib.compress(text) if is_packed else text)
    text = chunk(kind[:4], b"Raw profile type " + name + b"\0" + text)
    assert as_tuple(read_position(after_header(photo("PNG"), text))) == EIFFEL
    assert as_tuple(read_position(photo("PNG")[:-12] + text + photo("PNG")[-12:])) == EIFFEL
    broken = text.replace(b"\n", b"#") if not kind.endswith((b"packed", b"zTXt")) else text[:-40]
    assert read_position(after_header(photo("PNG"), broken)) is None


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_large_metadata_of_a_png_does_not_hide_its_position(kind: bytes) -> None:
    flags = b"\1" + bytes(3) if kind == b"iTXt" else b"\0"
    large = chunk(kind, b"note\0" + flags + zlib.compress(bytes(3_000_000)))
    for data in (photo("PNG", gps()), after_header(photo("PNG"), xmp_chunk(ATTRIBUTES))):
        assert as_tuple(read_position(after_header(data, large))) == EIFFEL


def test_a_large_packet_of_xmp_counts_as_far_as_it_is_read() -> None:
    text = ATTRIBUTES.replace(b"</rdf:RDF>", b"<!--" + b"x" * 1_500_000 + b"--></rdf:RDF>")
    assert len(text) > 1_500_000
    assert as_tuple(read_position(after_header(photo("PNG"), xmp_chunk(text)))) == EIFFEL


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_hide_xmp(format: str) -> None:
    exif = b"Exif\0\0XX\0*\0\0\0\x08"
    if format == "PNG":
        data = after_header(photo("PNG"), chunk(b"eXIf", exif), xmp_chunk(ATTRIBUTES))
    else:
        data = encode(draw(), format, exif=exif, xmp=ATTRIBUTES)
    assert as_tuple(read_position(data)) == EIFFEL


def test_millions_of_values_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photo("TIFF", gps())
    with Image.open(io.BytesIO(whole)) as image:
        start = image.tag_v2[IFD.GPSInfo]
    data, count = bytearray(whole), 200_000
    for entry in range(start + 2, start + 2 + 12 * 4, 12):
        if data[entry] == GPS.GPSLatitude:
            struct.pack_into("<II", data, entry + 4, count, len(whole))
    read, get_ifd = [], Image.Exif.get_ifd
    monkeypatch.setattr(Image.Exif, "get_ifd", lambda *a: read.append(a) or get_ifd(*a))
    assert read_position(bytes(data) + struct.pack("<II", 1, 1) * count) is None
    assert read == []
    assert as_tuple(read_position(whole)) == EIFFEL and read
