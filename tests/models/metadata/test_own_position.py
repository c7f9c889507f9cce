"""Photos that say where they were taken, in themselves or beside them: left alone, or replaced."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD

from models.metadata.embed import embed
from models.metadata.photo_tags import PhotoTags
from models.metadata.sidecar import write_sidecar
from models.metadata.undo_journal import Journal, Outcome, undo
from models.photos.gps import find_position
from models.places.landmarks import Place
from tests.support.bad_photos import encode
from tests.support.drawing import draw_landmark

TOWER = Place("Eiffel Tower", "tower", "Paris", "FR", 48.858222, 2.2945, "Q243")
TAGS = PhotoTags(("Eiffel Tower", "Paris"), TOWER, 0.93, "landmarks 1a2b3c")
SPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:g="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:digiKam="http://www.digikam.org/ns/1.0/"'
)
RESOURCE = 'rdf:parseType="Resource"'
OSLO = "<g:GPSLatitude>59,54.834S</g:GPSLatitude><g:GPSLongitude>10,45.132E</g:GPSLongitude>"
# As Apple's Photos exports it; what a camera says of it, one property as an attribute.
APPLE = (
    "<g:GPSLatitude>59.9139</g:GPSLatitude><g:GPSLatitudeRef>S</g:GPSLatitudeRef>"
    "<g:GPSLongitude>10.7522</g:GPSLongitude><g:GPSLongitudeRef>E</g:GPSLongitudeRef>"
)
STALE = {
    "GPSAltitude": "8848/1",
    "GPSAltitudeRef": "0",
    "GPSDOP": "4/1",
    "GPSHPositioningError": "5/1",
    "GPSImgDirection": "90/1",
    "GPSImgDirectionRef": "T",
    "GPSDestBearing": "1/1",
    "GPSSpeed": "3/1",
    "GPSMapDatum": "TOKYO",
}
ABOUT = "".join(f"<g:{name}>{value}</g:{name}>" for name, value in STALE.items())
TIME = "<g:GPSTimeStamp>2020-01-02T03:04:05Z</g:GPSTimeStamp>"
SHOWN = (
    f"<i:LocationShown><rdf:Bag><!-- kept --><rdf:li {RESOURCE}><i:City>Oslo</i:City>{OSLO}"
    "<g:GPSAltitude>5/1</g:GPSAltitude></rdf:li>"
    f"<rdf:li {RESOURCE}>{OSLO}</rdf:li></rdf:Bag></i:LocationShown>"
)
CREATED_LIST = (
    f"<i:LocationCreated><rdf:Bag><rdf:li {RESOURCE}>{OSLO}</rdf:li></rdf:Bag></i:LocationCreated>"
)
CREATED = f"<i:LocationCreated {RESOURCE}>{OSLO}</i:LocationCreated>"


def xmp(elements: str, attributes: str = "") -> bytes:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {SPACES}><rdf:Description rdf:about="" '
        f"{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


INSIDE = {
    "other prefix": xmp(OSLO),
    "decimals": xmp(APPLE),
    "created": xmp(CREATED),
    "created list": xmp(CREATED_LIST),
    "shown": xmp(SHOWN),
    "attributes": xmp("", 'g:GPSLatitude="-59.9139" g:GPSLongitude="10.7522"'),
}
MODES = [
    "sidecar",
    pytest.param(
        "embed",
        marks=[
            pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool"),
        ],
    ),
]
Write = Callable[..., Outcome]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "photo.jpg"
    path.parent.mkdir()
    path.write_bytes(encode(draw_landmark(1, 2), "JPEG"))
    return path


@pytest.fixture(params=MODES)
def write(request: pytest.FixtureRequest, photo: Path, journal: Journal) -> Write:
    """Write the tower's place as one mode does, after a dry run that must say the same."""

    def both(overwrite_gps: bool = False, tags: PhotoTags = TAGS) -> Outcome:
        def once(journal: Journal | None) -> Outcome:
            if request.param == "embed":
                return next(embed([(photo, tags)], journal, overwrite_gps))
            return write_sidecar(photo, tags, journal, overwrite_gps)

        before = contents(photo.parent)
        promised = once(None)
        assert contents(photo.parent) == before
        outcome = once(journal)
        assert outcome == promised
        return outcome

    both.mode = request.param
    return both


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def gps_of(path: Path) -> dict[str, object]:
    """What exiftool finds about positions."""
    command = ["exiftool", "-config", "", "-q", "-j", "-n", "-struct", "-GPS*", "-Location*"]
    answer = subprocess.run([*command, "-e", path], capture_output=True, check=True).stdout
    found = json.loads(answer)[0]
    return {key: value for key, value in found.items() if key not in ("SourceFile", "Location")}


@pytest.mark.parametrize("name", INSIDE)
def test_a_position_inside_the_photo(name: str, photo: Path, write: Write) -> None:
    photo.write_bytes(encode(draw_landmark(1, 2), "JPEG", xmp=INSIDE[name]))
    before = contents(photo.parent)
    outcome = write()
    assert outcome.action == "skip"
    assert outcome.note.startswith("has a position of its own")
    assert contents(photo.parent) == before


@pytest.mark.parametrize("name", ["photo.jpg.xmp", "photo.xmp", "photo.XMP", "photo.jpg.Xmp"])
@pytest.mark.parametrize("text", INSIDE.values(), ids=INSIDE)
def test_a_position_beside_the_photo(name: str, text: bytes, photo: Path, write: Write) -> None:
    photo.with_name(name).write_bytes(text)
    before = contents(photo.parent)
    outcome = write()
    assert (outcome.action, outcome.note) == ("skip", "its sidecar has a position already")
    assert contents(photo.parent) == before


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("name", ["photo.jpg.xmp", "photo.xmp"])
@pytest.mark.parametrize("position", [OSLO, APPLE, CREATED, SHOWN])
def test_a_position_beside_the_photo_is_replaced_when_told(
    name: str, position: str, photo: Path, write: Write, journal: Journal
) -> None:
    sidecar = photo.with_name(name)
    sidecar.write_bytes(xmp(position + ABOUT + TIME, 'g:GPSTrack="7/1"'))
    before = contents(photo.parent)
    outcome = write(overwrite_gps=True)
    assert outcome.action == write.mode, outcome.note
    assert outcome.target == (photo if write.mode == "embed" else sidecar)
    found = gps_of(sidecar)
    assert found.pop("GPSLatitude") == pytest.approx(TOWER.latitude)
    assert found.pop("GPSLongitude") == pytest.approx(TOWER.longitude)
    assert found.pop("GPSDateTime").startswith("2020:01:02 03:04:05")
    if position == SHOWN:
        assert found.pop("LocationShown")[0] == {"City": "Oslo"}
        assert b"<!-- kept -->" in sidecar.read_bytes()
    assert not any(found.values()), found
    assert set(contents(photo.parent)) == set(before)  # no second sidecar
    assert write().action == "skip"
    assert {each.action for each in undo(journal.path)} == {"undo"}
    assert contents(photo.parent) == before


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("position", [OSLO, CREATED_LIST, SHOWN])
def test_a_position_inside_the_photo_is_replaced_when_told(
    position: str, photo: Path, journal: Journal
) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo).update(
        {GPS.GPSImgDirectionRef: "T", GPS.GPSImgDirection: 90.0, GPS.GPSAltitude: 8848.0}
        | {GPS.GPSDateStamp: "2020:01:02"}
    )
    text = xmp(position + ABOUT + TIME)
    photo.write_bytes(encode(draw_landmark(1, 2), "JPEG", xmp=text, exif=exif))
    before = contents(photo.parent)
    for each in (None, journal):
        [outcome] = embed([(photo, TAGS)], each, overwrite_gps=True)
        assert outcome.action == "embed", outcome.note
    found = gps_of(photo)
    assert found.pop("GPSLatitude") == pytest.approx(TOWER.latitude)
    assert found.pop("GPSLongitude") == pytest.approx(TOWER.longitude)
    kept = {"GPSLatitudeRef", "GPSLongitudeRef", "GPSMapDatum", "GPSDateStamp"}
    kept |= {"GPSDateTime"} | ({"LocationShown"} if position == SHOWN else set())
    assert set(found) == kept, str(found.items())
    assert found["GPSMapDatum"] == "WGS-84"
    assert found.get("LocationShown", [{"City": "Oslo"}]) == [{"City": "Oslo"}]
    list(undo(journal.path))
    assert contents(photo.parent) == before


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_a_position_that_exiftool_would_leave_is_noticed(photo: Path, journal: Journal) -> None:
    photo.write_bytes(encode(draw_landmark(1, 2), "JPEG", xmp=xmp(CREATED)))
    before = contents(photo.parent)
    for each in (None, journal):
        [outcome] = embed([(photo, TAGS)], each, overwrite_gps=True)
        assert outcome.action == "fail"
        assert "would get XMP-iptcExt:LocationCreated wrong; a sidecar" in outcome.note
    assert contents(photo.parent) == before


def test_a_sidecar_named_as_adobe_does_is_updated(photo: Path, journal: Journal) -> None:
    sidecar = photo.with_name("photo.xmp")
    sidecar.write_bytes(xmp("<dc:subject><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></dc:subject>"))
    outcome = write_sidecar(photo, TAGS, journal)
    assert (outcome.action, outcome.target) == ("sidecar", sidecar)
    assert set(contents(photo.parent)) == {"photo.jpg", "photo.xmp"}
    assert b"<rdf:li>mine</rdf:li><rdf:li>Eiffel Tower</rdf:li>" in sidecar.read_bytes()
    position, source = find_position(photo)
    assert source == sidecar
    assert position.latitude == pytest.approx(TOWER.latitude)


def test_a_sidecar_that_may_mean_another_photo_stays(photo: Path, journal: Journal) -> None:
    sidecar, own = photo.with_name("photo.xmp"), photo.with_name("photo.jpg.xmp")
    shutil.copy(photo, photo.with_suffix(".PNG"))
    sidecar.write_bytes(xmp(""))
    outcome = write_sidecar(photo, TAGS, journal)
    assert (outcome.action, outcome.target) == ("sidecar", own)
    assert sidecar.read_bytes() == xmp("")
    sidecar.write_bytes(xmp(OSLO))
    own.unlink()
    assert write_sidecar(photo, TAGS, journal).action == "skip"


def test_no_two_sidecars_say_different_places(photo: Path, journal: Journal) -> None:
    sidecar, own = photo.with_name("photo.xmp"), photo.with_name("photo.jpg.xmp")
    sidecar.write_bytes(xmp(APPLE))
    own.write_bytes(xmp(""))
    before = contents(photo.parent)
    assert write_sidecar(photo, TAGS, journal).action == "skip"
    assert write_sidecar(photo, TAGS, journal, overwrite_gps=True).target == own
    for path in (sidecar, own):
        assert b"48,51.49" in path.read_bytes()
        assert b"59.9139" not in path.read_bytes()
        assert b"LatitudeRef" not in path.read_bytes()
    assert [each.action for each in undo(journal.path)] == ["undo", "undo"]
    assert contents(photo.parent) == before


def test_what_is_said_of_a_position_stays_without_the_flag(photo: Path, journal: Journal) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_bytes(xmp("<g:GPSImgDirection>90/1</g:GPSImgDirection>" + TIME))
    assert write_sidecar(photo, TAGS, journal).action == "sidecar"
    assert b"GPSImgDirection" in sidecar.read_bytes()


# --- keywords as paths --------------------------------------------------------------------------

TREES = (
    "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|France|Paris</rdf:li></rdf:Bag>"
    "</lr:hierarchicalSubject>"
    "<digiKam:TagsList><rdf:Seq><rdf:li>Places/France/Paris</rdf:li></rdf:Seq></digiKam:TagsList>"
)


def keywords_of(path: Path) -> dict[str, list[str]]:
    tags = ("-XMP-dc:Subject", "-XMP-lr:HierarchicalSubject", "-XMP-digiKam:TagsList")
    command = ["exiftool", "-config", "", "-j", "-sep", "\n", *tags, path]
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    found = json.loads(answer)[0]
    return {key: value.split("\n") for key, value in found.items() if key != "SourceFile"}


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_keywords_join_the_paths_that_programs_read_instead(photo: Path, write: Write) -> None:
    target = photo
    if write.mode == "embed":
        photo.write_bytes(encode(draw_landmark(1, 2), "JPEG", xmp=xmp(TREES)))
    else:
        target = photo.with_name("photo.jpg.xmp")
        target.write_bytes(xmp(TREES))
    tags = PhotoTags(("Eiffel Tower", "Paris", "iron|steel/a"), None, 0.9, "m")
    assert write(tags=tags).action == write.mode
    assert keywords_of(target) == {
        "Subject": ["Eiffel Tower", "Paris", "iron|steel/a"],
        "HierarchicalSubject": ["Places|France|Paris", "Eiffel Tower", "iron steel/a"],
        "TagsList": ["Places/France/Paris", "Eiffel Tower", "iron|steel a"],
    }
    again = write(tags=tags)
    assert again.action == "skip"
    assert "these keywords already" in again.note


def test_no_list_of_paths_is_begun(photo: Path, journal: Journal) -> None:
    write_sidecar(photo, TAGS, journal)
    text = photo.with_name("photo.jpg.xmp").read_bytes()
    assert b"hierarchicalSubject" not in text
    assert b"TagsList" not in text
