"""JPEGs without their end: read where every pixel is there, refused where one row is missing."""

import io

import numpy as np
import pytest
from PIL import Image

from models.photos import PhotoError, read_photo
from tests.support.bad_photos import draw, encode, noisy

WAYS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "optimized": {"optimize": True},
    "4:4:4": {"subsampling": 0},
    "grey": {},
    "progressive restarts": {"progressive": True, "restart_marker_blocks": 3},
}
RNG = np.random.default_rng(0)
TAILS = {
    "nothing": b"",
    "half a marker": b"\xff",
    "zeros": bytes(3000),
    "a zero": b"\0",
    "ones": b"\xff" * 3000,
    "a few bytes": b"<html></html>",
    "0xAA": b"\xaa" * 3000,
}
# What may take the place of missing rows.
OTHERS = {
    "nothing": b"",
    "half a marker": b"\xff",
    "an end": b"\xff\xd9",
    "zeros": bytes(3000),
    "ones": b"\xff" * 3000,
    "0xAA": b"\xaa" * 3000,
    "garbage": RNG.bytes(5000),
    "garbage and an end": RNG.bytes(5000) + b"\xff\xd9",
    "text": b"<html>error</html>" * 9,
    "long text": b"<html>error</html>" * 5000,
}


def jpeg(way: str) -> bytes:
    image = noisy().convert("L") if way == "grey" else noisy()
    return encode(image, "JPEG", quality=90, **WAYS[way])


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_without_its_end_is_read(way: str, tail: str) -> None:
    data = jpeg(way)
    assert data.endswith(b"\xff\xd9")
    assert np.array_equal(read_photo(data[:-2] + TAILS[tail]), read_photo(data))


@pytest.mark.parametrize("tail", OTHERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_with_rows_missing_is_refused(way: str, tail: str) -> None:
    data = jpeg(way)
    coded = len(data) - 2
    # A few blocks of something else could be the end of any photo; what a progressive photo lacks
    # before an end are details, no rows.
    is_other = OTHERS[tail] not in TAILS.values()
    for missing in () if is_other and "progressive" in way else (20, 200, 1500, coded // 3):
        if not is_other or missing > 1000:
            for side_px in (None, 40):
                with pytest.raises(PhotoError, match=r"cut off|damaged"):
                    read_photo(data[: coded - missing] + OTHERS[tail], side_px)


@pytest.mark.parametrize("way", WAYS)
def test_a_grey_corner_is_no_missing_row(way: str) -> None:
    grey = noisy()
    grey.paste((128,) * 3, (0, 60, 160, 120))
    for image in (grey.convert("L") if way == "grey" else grey, Image.new("CMYK", (99, 80), 127)):
        data = encode(image, "JPEG", **WAYS[way])
        with Image.open(io.BytesIO(data)) as decoded:
            expected = np.asarray(decoded.convert("RGB"))
        assert np.array_equal(read_photo(data), expected)
        assert np.array_equal(read_photo(data[:-2]), expected)


@pytest.mark.parametrize("way", ["restarts", "progressive restarts"])
def test_a_cut_at_any_restart_is_refused(way: str) -> None:
    data = jpeg(way)
    places = [
        i for i in range(len(data) - 2) if data[i] == 255 and data[i + 1] in range(0xD0, 0xD8)
    ]
    for place in places[-20:]:
        for end in (place, place + 1, place + 2):
            with pytest.raises(PhotoError, match="cut off"):
                read_photo(data[:end])


def test_a_cut_between_scans_is_refused() -> None:
    data = jpeg("progressive")
    last = data.rindex(b"\xff\xda\x00")
    for end in (last, data.rindex(b"\xff\xc4\x00"), data.rindex(b"\xff\xda\x00", 0, last)):
        with pytest.raises(PhotoError, match="cut off"):
            read_photo(data[:end])
    with pytest.raises(OSError, match="truncated"):  # Pillow's own setting stays strict
        Image.open(io.BytesIO(data[:last])).load()


@pytest.mark.parametrize("tail", ["nothing", "half a marker", "zeros", "a zero"])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"quality": 95}, {"subsampling": 1}])
def test_a_flat_photo_without_its_end_is_read(options: dict, tail: str) -> None:
    """Its last rows may end with zeros of their own."""
    for image in (draw(), Image.new("RGB", (200, 150), (90, 140, 200))):
        data = encode(image, "JPEG", **options)
        assert np.array_equal(read_photo(data[:-2] + TAILS[tail]), read_photo(data))
