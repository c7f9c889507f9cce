"""RAW photos: the preview inside, with the time, place and orientation of the photo around it."""

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.environment import check_exiftool
from models.photos import PhotoError, read_photo
from models.photos.capture import read_capture
from models.photos.gps import Position, find_position
from models.photos.raw import RAW_EXTENSIONS, is_raw, photo_source, read_preview
from tests.support.bad_photos import encode
from tests.support.drawing import draw_landmark
from tests.support.raw_photos import dng, nef, raf

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
PREVIEW = encode(draw_landmark(1, 0, (640, 480)), "JPEG")


@pytest.fixture
def no_exiftool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without exiftool."""
    monkeypatch.setenv("PATH", "")
    check_exiftool.cache_clear()
    yield
    check_exiftool.cache_clear()


def test_all_kinds_are_told_by_their_extension() -> None:
    kinds = {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"}
    assert kinds == RAW_EXTENSIONS
    assert is_raw("a/IMG.NEF") and not is_raw("a.nef/IMG.jpg")
    assert photo_source("a.jpg") == "a.jpg"


@needs_exiftool
@pytest.mark.parametrize(
    "name", ["IMG.DNG", "IMG.nef", "IMG.RAF", "-o.dng", "%d x.dng", "é 東京.dng", "a\nb.dng"]
)
def test_the_preview_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build = {".nef": nef, ".raf": raf}.get(Path(name).suffix.lower(), dng)
    content = build(PREVIEW)
    Path(name).write_bytes(content)
    pixels = read_photo(photo_source(name))
    assert np.array_equal(pixels, read_photo(PREVIEW))
    assert Path(name).read_bytes() == content
    assert os.listdir() == [name]  # nothing is left beside it


@needs_exiftool
def test_time_place_camera_and_orientation_come_along(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.nef"
    photo.write_bytes(nef(PREVIEW, orientation=6))
    tags = ["-GPSLatitude=48.5", "-GPSLatitudeRef=N", "-GPSLongitude=2.25", "-GPSLongitudeRef=W"]
    tags += ["-OffsetTimeOriginal=+02:00"]
    command = ["exiftool", "-config", "", "-q", "-overwrite_original", *tags, photo]
    subprocess.run(command, check=True)
    upright = Image.open(io.BytesIO(PREVIEW)).transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(read_photo(read_preview(photo)), np.asarray(upright))
    capture = read_capture(photo)
    assert capture.taken == datetime.fromisoformat("2024-05-06T14:03:22+02:00")
    assert capture.camera == "Canon"
    assert capture.position == Position(48.5, -2.25)
    assert find_position(photo) == (Position(48.5, -2.25), photo)


@needs_exiftool
def test_xmp_comes_along(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.dng"
    photo.write_bytes(dng(PREVIEW))
    tags = ["-XMP:GPSLatitude=48.5", "-XMP:GPSLongitude=2.25"]
    command = ["exiftool", "-config", "", "-q", "-overwrite_original", *tags, photo]
    subprocess.run(command, check=True)
    assert read_capture(photo).position == Position(48.5, 2.25)


@needs_exiftool
def test_the_largest_preview_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "IMG.dng"
    photo.write_bytes(dng(PREVIEW))
    monkeypatch.setattr("models.photos.raw.PREVIEWS", ("ThumbnailTIFF", "PreviewImage"))
    assert np.array_equal(read_photo(read_preview(photo)), read_photo(PREVIEW))


@needs_exiftool
def test_a_photo_that_has_changed_is_read_again(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.dng"
    photo.write_bytes(dng(PREVIEW))
    before = read_preview(photo)
    assert read_preview(photo) is before  # once for pixels, time and place
    photo.write_bytes(dng(encode(draw_landmark(2, 0, (640, 480)), "JPEG")))
    assert read_preview(photo) != before


@needs_exiftool
@pytest.mark.parametrize(
    "content", [b"", b"II*\0" + bytes(40), b"no photo", dng(b""), nef(b"no JPEG")]
)
def test_a_file_without_a_preview_says_what_to_do(content: bytes, tmp_path: Path) -> None:
    photo = tmp_path / "IMG.cr3"
    photo.write_bytes(content)
    with pytest.raises(PhotoError, match=r"^IMG.cr3 has no preview .*; export it as JPEG$"):
        read_preview(photo)
    assert read_capture(photo).taken is None
    assert find_position(photo) is None


@pytest.mark.usefixtures("no_exiftool")
def test_without_exiftool_one_line_says_what_installs_it(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.cr3"
    photo.write_bytes(dng(PREVIEW))
    with pytest.raises(PhotoError) as caught:
        photo_source(photo)
    assert str(caught.value) == (
        "IMG.cr3: a RAW photo needs exiftool 12.46 or newer: apt-get install "
        "libimage-exiftool-perl, or see https://exiftool.org"
    )
    assert read_capture(photo).taken is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"gone.nef cannot be opened"):
        read_preview(tmp_path / "gone.nef")


def test_the_page_does_not_hand_uploads_to_exiftool(tmp_path: Path) -> None:
    (tmp_path / "IMG.nef").write_bytes(dng(PREVIEW))
    with pytest.raises(PhotoError, match=r"^IMG.nef is a RAW photo; export it as JPEG"):
        read_photo(tmp_path / "IMG.nef")
