"""Colour profiles and HDR become sRGB; what a profile says wrongly does no harm."""

import io
import struct
import time
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from models.photos import read_photo
from models.photos.colour import MAX_PROFILE_BYTES, find_colours
from tests.support.bad_photos import draw, encode, noisy
from tests.support.costly_photos import after_header, chunk
from tests.support.profiles import SPACES, cmyk_profile, grey_profile, rgb_profile

SKY = (90, 140, 200)
SHOWN = {"display p3": (73, 142, 205), "adobe rgb": (52, 141, 203), "prophoto": (0, 166, 217)}
FORMATS = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "HEIF": {"quality": 100, "chroma": 444},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("space", SHOWN)
def test_the_colours_of_a_profile_become_srgb(space: str, format: str) -> None:
    """The values are those that Chromium shows."""
    image = Image.new("RGB", (64, 48), SKY)
    data = encode(image, format, icc_profile=rgb_profile(space), **FORMATS[format])
    for side_px in (None, 16):
        shown = read_photo(data, side_px)
        assert np.abs(shown.astype(int) - SHOWN[space]).max() <= 3


@pytest.mark.parametrize("mode", ["P", "RGBA", "L", "1"])
def test_other_modes_have_a_profile_too(mode: str) -> None:
    data = encode(draw().convert(mode), "PNG", icc_profile=rgb_profile("prophoto"))
    plain = read_photo(encode(draw().convert(mode), "PNG"))
    assert (read_photo(data)[-1, -1] == 255).all()
    assert np.array_equal(read_photo(data), plain) is (mode == "1")


def test_grey_of_another_curve_becomes_srgb() -> None:
    data = encode(Image.new("L", (64, 48), 128), "PNG", icc_profile=grey_profile(1.0))
    assert np.abs(read_photo(data).astype(int) - 188).max() <= 1
    deep = Image.fromarray(np.full((48, 64), 128 * 257, np.uint16))
    data = encode(deep, "TIFF", icc_profile=grey_profile(1.0))
    assert np.abs(read_photo(data, 16).astype(int) - 188).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_ink_becomes_what_the_profile_of_the_press_says(format: str) -> None:
    image = Image.new("CMYK", (64, 48), (255, 0, 0, 0))
    image.paste((0, 0, 0, 0), (32, 0, 64, 48))
    options = {"quality": 100} if format == "JPEG" else {}
    data = encode(image, format, icc_profile=cmyk_profile(), **options)
    for side_px in (None, 16):
        shown = read_photo(data, side_px).astype(int)
        assert np.abs(shown[:, 1] - 119).max() <= 3
        assert (shown[:, -2] >= 253).all()
    plain = read_photo(encode(image, format, icc_profile=rgb_profile("prophoto"), **options))
    assert np.abs(plain[0, 1].astype(int) - (0, 255, 255)).max() <= 3  # not of ink: ignored


def test_srgb_is_left_as_it_is() -> None:
    """To the bit, whichever of its many profiles it has."""
    for srgb in (
        rgb_profile("srgb"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ):
        data = encode(noisy(), "PNG", icc_profile=srgb)
        assert find_colours(Image.open(io.BytesIO(data))) is None
        assert np.array_equal(read_photo(data), np.asarray(noisy()))


@pytest.mark.parametrize(
    "broken",
    [
        b"no profile",
        bytes(200),
        rgb_profile("prophoto")[:-40],
        rgb_profile("prophoto")[:140],
        rgb_profile("prophoto") + bytes(MAX_PROFILE_BYTES),
        grey_profile(1.0),
        rgb_profile("prophoto").replace(b"mntr", b"link"),
        rgb_profile("prophoto") + b"mpet",
        rgb_profile("prophoto").replace(b"RGB ", b"CMYK"),
        b"\xff" * 5000,
    ],
)
def test_a_profile_that_is_broken_huge_or_not_the_photos_is_ignored(broken: bytes) -> None:
    for format in ("PNG", "TIFF"):
        data = encode(noisy(), format, icc_profile=broken)
        assert np.array_equal(read_photo(data), np.asarray(noisy()))


def test_a_profile_that_is_not_packed_rightly_is_ignored() -> None:
    for content in (b"a\0\0" + b"garbage", b"a", zlib.compress(b"")):
        data = after_header(encode(draw(), "PNG"), chunk(b"iCCP", content))
        assert np.array_equal(read_photo(data), np.asarray(draw()))


def test_random_profiles_cost_little() -> None:
    rng = np.random.default_rng(0)
    good = np.frombuffer(rgb_profile("prophoto"), np.uint8)
    started = time.process_time()
    for _ in range(100):
        bad = good.copy()
        bad[rng.integers(0, len(bad), 4)] = rng.integers(0, 256, 4)
        read_photo(encode(draw(), "PNG", icc_profile=bad.tobytes()))
    assert time.process_time() - started < 5


# Codes of PQ and HLG in Rec. 2020, and what Chromium shows of them.
HDR = {
    16: [((30,) * 3, 4), ((90,) * 3, 61), ((128,) * 3, 132), ((148,) * 3, 187), ((180,) * 3, 242)],
    18: [((30,) * 3, 13), ((90,) * 3, 66), ((128,) * 3, 99), ((180,) * 3, 166), ((255,) * 3, 255)],
}


@pytest.mark.parametrize("transfer", HDR)
def test_hdr_gets_a_tone_curve(transfer: int) -> None:
    for code, shown in HDR[transfer]:
        image = pillow_heif.from_pillow(Image.new("RGB", (64, 64), code))
        data = io.BytesIO()
        image.save(
            data,
            quality=100,
            chroma=444,
            matrix_coefficients=9,
            color_primaries=9,
            transfer_characteristics=transfer,
            full_range_flag=1,
        )
        assert np.abs(read_photo(data.getvalue()).astype(int) - shown).max() <= 7


@pytest.mark.parametrize(("primaries", "transfer", "shown"), [(9, 16, 132), (9, 18, 99)])
def test_hdr_avif_gets_a_tone_curve(primaries: int, transfer: int, shown: int) -> None:
    data = bytearray(encode(Image.new("RGB", (64, 64), (128,) * 3), "AVIF", quality=100))
    place = data.index(b"nclx") + 4
    data[place : place + 4] = bytes([0, primaries, 0, transfer])
    assert np.abs(read_photo(bytes(data)).astype(int) - shown).max() <= 5


def test_colours_of_display_p3_without_a_profile() -> None:
    image = pillow_heif.from_pillow(Image.new("RGB", (64, 64), SKY))
    data = io.BytesIO()
    image.save(data, quality=100, chroma=444, color_primaries=12, transfer_characteristics=13)
    assert np.abs(read_photo(data.getvalue()).astype(int) - SHOWN["display p3"]).max() <= 4


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 * value)))


def chromaticity(space: str) -> bytes:
    primaries, white, _ = SPACES[space]
    points = [round(100_000 * each) for point in (white, *primaries) for each in point]
    return chunk(b"cHRM", struct.pack(">8I", *points))


def codes(primaries: int, transfer: int, rest: bytes = b"\0\1") -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer]) + rest)


P3_SKY = SHOWN["display p3"]
CHUNKS = {
    "cicp p3": (codes(12, 13), P3_SKY),
    "cicp beside srgb": (chunk(b"sRGB", b"\0") + codes(12, 13), P3_SKY),
    "cicp beside gamma": (gamma(1.0) + codes(12, 13), P3_SKY),
    "cicp pq": (codes(9, 16), (0, 95, 255)),
    "cicp hlg": (codes(9, 18), (0, 114, 193)),
    "cicp srgb": (codes(1, 13), SKY),
    "cicp unspecified": (codes(2, 2), SKY),
    "cicp narrow": (codes(12, 13, b"\0\0"), SKY),
    "cicp cut off": (chunk(b"cICP", b"\x0c"), SKY),
    "linear": (gamma(1.0), (160, 196, 229)),
    "old mac": (gamma(1 / 1.8), (109, 158, 210)),
    "adobe": (gamma(0.4547) + chromaticity("adobe rgb"), (52, 141, 203)),
    "p3": (gamma(0.45455) + chromaticity("display p3"), (71, 143, 207)),
    "srgb beside gamma": (chunk(b"sRGB", b"\0") + gamma(1.0), SKY),
    "primaries without gamma": (chromaticity("display p3"), SKY),
    "no gamma": (gamma(0), SKY),
    "no primaries": (gamma(1.0) + chunk(b"cHRM", bytes(32)), SKY),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_what_a_png_says_in_chunks_becomes_srgb(name: str) -> None:
    """The values are those that Chromium shows."""
    chunks, shown = CHUNKS[name]
    data = after_header(encode(Image.new("RGB", (64, 48), SKY), "PNG"), chunks)
    for side_px in (None, 16):
        assert np.abs(read_photo(data, side_px).astype(int) - shown).max() <= 2


def test_chunks_that_say_srgb_leave_a_png_as_it_is() -> None:
    """As ImageMagick writes them into each PNG."""
    for chunks in (gamma(0.45455), gamma(0.45455) + chromaticity("srgb"), codes(1, 13)):
        data = after_header(encode(noisy(), "PNG"), chunks)
        assert np.array_equal(read_photo(data), np.asarray(noisy()))


def test_codes_of_a_png_override_its_profile() -> None:
    image = Image.new("RGB", (64, 48), SKY)
    data = after_header(encode(image, "PNG", icc_profile=rgb_profile("prophoto")), codes(12, 13))
    assert np.abs(read_photo(data).astype(int) - P3_SKY).max() <= 2
    data = after_header(encode(image, "PNG", icc_profile=rgb_profile("display p3")), gamma(1.0))
    assert np.abs(read_photo(data).astype(int) - P3_SKY).max() <= 2


@pytest.mark.parametrize("transfer", HDR)
def test_hdr_png_gets_a_tone_curve(transfer: int) -> None:
    for code, shown in HDR[transfer]:
        data = encode(Image.new("RGB", (64, 64), code), "PNG")
        shown_here = read_photo(after_header(data, codes(9, transfer)))
        assert np.abs(shown_here.astype(int) - shown).max() <= 7
