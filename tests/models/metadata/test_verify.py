"""The proof that exiftool changed what it was told to, and nothing else."""

import pytest

from models.metadata.safe_replace import ChangeError
from models.metadata.verify import digest_pixels, find_difference
from tests.support.bad_photos import encode
from tests.support.costly_photos import REFUSED
from tests.support.drawing import draw_landmark

BEFORE = {"IFD0:Make": ["x"], "XMP-dc:Subject": [["a"]], "IFD0:StripOffsets": ["8"]}
ADDED = {"XMP-dc:Subject": ["b"], "N": 1.5}
AFTER = {**BEFORE, "XMP-dc:Subject": [["a", "b"]], "IFD0:StripOffsets": ["90"], "N": ["1.5"]}


def test_what_was_wanted_is_no_difference() -> None:
    assert find_difference(BEFORE, AFTER, ADDED, ()) is None
    without = {key: value for key, value in AFTER.items() if key != "IFD0:Make"}
    assert find_difference(BEFORE, without, ADDED, ["IFD0:Make"]) is None
    assert find_difference(BEFORE, without, ADDED, ()) == "IFD0:Make"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("IFD0:Make", ["y"]),
        ("IFD0:Make", ["x", "x"]),
        ("XMP-dc:Subject", [["b"]]),
        ("XMP-dc:Subject", [["b", "a"]]),
        ("N", ["1.51"]),
        ("N", []),
        ("N", ["1.5", "2"]),
        ("ExifTool:Warning", ["bad offsets"]),
    ],
)
def test_any_other_difference_is_found(key: str, value: list) -> None:
    assert find_difference(BEFORE, {**AFTER, key: value}, ADDED, ()) == key


def test_pixels_of_all_frames_count() -> None:
    first, second = draw_landmark(1, 2), draw_landmark(2, 3)
    single = encode(first, "PNG")
    moving = encode(first, "PNG", save_all=True, append_images=[second])
    other = encode(first, "PNG", save_all=True, append_images=[draw_landmark(3, 4)])
    assert len({digest_pixels(each) for each in (single, moving, other)}) == 3
    assert digest_pixels(single) == digest_pixels(encode(first, "TIFF"))
    with pytest.raises(ChangeError, match="cannot be decoded completely"):
        digest_pixels(moving[:-200])


@pytest.mark.parametrize("name", ["many scans", "long exif", "wide tiles"])
def test_costly_photos_are_refused(name: str) -> None:
    make, _ = REFUSED[name]
    with pytest.raises(ChangeError, match=r"unlike any real photo|cannot be decoded completely"):
        digest_pixels(make())
