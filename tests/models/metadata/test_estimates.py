"""Estimated positions are written only when asked for, as what they are, and can be undone."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD

from models.metadata.photo_tags import PhotoTags
from models.metadata.sidecar import write_sidecar
from models.metadata.undo_journal import Journal, undo
from models.metadata.write_places import photo_tags, write_places
from models.photos.capture import read_capture
from models.photos.gps import read_position
from models.places.landmarks import Place
from models.tagging.table import COLUMNS, Row
from tests.support.drawing import draw_landmark

ESTIMATE = PhotoTags((), Place("", "", "", "", -33.8568, 151.2153, ""), 0.0, "toy 1a2b", 4.2)
needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="no exiftool: apt-get install libimage-exiftool-perl"
)


class Model:
    """A model whose only landmark has a place."""

    def place(self, label: str) -> Place | None:
        return Place("Tower", "", "Paris", "FR", 48.86, 2.29, "") if label == "Tower" else None


def row(**values: object) -> Row:
    common = {"model": "toy", "model_digest": "1a2b" * 16, "label_1": "Tower"}
    common |= {"probability_1": 0.9, "known": False}
    return dict.fromkeys(COLUMNS) | common | values


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    draw_landmark(0, 0).save(path)
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def test_a_row_becomes_a_landmark_or_an_estimate_or_nothing() -> None:
    where = {"estimated_latitude": 48.0, "estimated_longitude": 2.0, "estimated_radius_km": 4.2}
    tags = photo_tags(row(**where), Model())
    assert (tags.place.latitude, tags.radius_km, tags.keywords) == (48.0, 4.2, ())
    assert tags.describe(True) == "estimated position 48.00000, 2.00000, within 4.2 km"
    landmark = photo_tags(row(known=True, **where), Model())
    assert (landmark.place.name, landmark.radius_km) == ("Tower", None)
    assert photo_tags(row(), Model()) is None


def test_a_sidecar_says_that_it_is_an_estimate(photo: Path, journal: Journal) -> None:
    assert write_sidecar(photo, ESTIMATE, journal).action == "sidecar"
    text = photo.with_name("photo.jpg.xmp").read_text()
    assert "<exif:GPSProcessingMethod>ESTIMATED</exif:GPSProcessingMethod>" in text
    assert "<exif:GPSHPositioningError>4200/1</exif:GPSHPositioningError>" in text
    assert "Probability" not in text and "subject" not in text and "City" not in text
    # A later run does not take it for where the camera was, and does not write it again.
    assert read_capture(photo).position is None
    assert write_sidecar(photo, ESTIMATE, journal).action == "skip"
    assert [each.action for each in undo(journal.path)] == ["undo"]
    assert not photo.with_name("photo.jpg.xmp").exists()


def test_a_landmark_replaces_an_estimate_when_told(photo: Path, journal: Journal) -> None:
    write_sidecar(photo, ESTIMATE, journal)
    landmark = photo_tags(row(known=True), Model())
    assert write_sidecar(photo, landmark, journal, overwrite_gps=True).action == "sidecar"
    assert "ESTIMATED" not in photo.with_name("photo.jpg.xmp").read_text()
    assert read_position(photo).latitude == pytest.approx(48.86)


@needs_exiftool
@pytest.mark.parametrize("format", ["jpg", "png", "webp", "tif"])
def test_so_does_a_photo(format: str, tmp_path: Path, journal: Journal) -> None:
    photo = tmp_path / f"photo.{format}"
    draw_landmark(0, 0).save(photo)
    before = photo.read_bytes()

    def jobs() -> Iterator[tuple[Path, Row]]:
        where = {"estimated_latitude": -33.8568, "estimated_longitude": 151.2153}
        yield photo, row(estimated_radius_km=4.2, **where)

    (outcome,) = write_places(jobs(), Model(), True, journal, False)
    assert outcome.action == "embed", outcome
    with Image.open(photo) as image:
        gps = image.getexif().get_ifd(IFD.GPSInfo)
    assert b"ESTIMATED" in gps[GPS.GPSProcessingMethod]
    assert gps[GPS.GPSHPositioningError] == 4200
    command = ["exiftool", "-json", "-n", "-G1", "-XMP:all", "-GPS:all", photo]
    (said,) = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    for block in ("GPS", "XMP-exif"):
        assert said[f"{block}:GPSProcessingMethod"] == "ESTIMATED"
        assert said[f"{block}:GPSHPositioningError"] == 4200
    assert read_capture(photo).position is None
    (outcome,) = write_places(jobs(), Model(), True, journal, False)
    assert outcome.action == "skip"
    list(undo(journal.path))
    assert photo.read_bytes() == before
