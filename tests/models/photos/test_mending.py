"""JPEGs without their end: read where every pixel is there, refused where one row is missing."""

import io

import numpy as np
import pytest
from PIL import Image

from models.photos import PhotoError, read_photo
from tests.support.bad_photos import encode, noisy

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
    "garbage": RNG.bytes(5000),
    "text": b"<html>error</html>" * 9,
    "0xAA": b"\xaa" * 3000,
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


@pytest.mark.parametrize("tail", ["nothing", "half a marker", "zeros", "ones", "garbage", "0xAA"])
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_with_rows_missing_is_refused(way: str, tail: str) -> None:
    data = jpeg(way)
    coded = len(data) - 2
    for missing in (20, 200, 1500, coded // 3, coded // 2):
        # Less garbage, or some with restart markers, could be the end of any photo.
        if tail != "garbage" or (missing > 1000 and "restarts" not in way):
            with pytest.raises(PhotoError, match=r"cut off|damaged"):
                read_photo(data[: coded - missing] + TAILS[tail])


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
