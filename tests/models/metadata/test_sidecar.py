"""XMP sidecar files: what is in them, and what happens to those that are there."""

import io
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD

from models.metadata.photo_tags import PhotoTags, three_letters
from models.metadata.sidecar import merge_sidecar, sidecar_path, write_sidecar, xmp_degrees
from models.metadata.undo_journal import Journal, Outcome, undo
from models.places.landmarks import Place, country_names
from tests.support.drawing import draw_landmark

TOWER = Place("Eiffel Tower", "tower", "Paris", "FR", 48.858222, 2.2945, "Q243")
TAGS = PhotoTags(("Eiffel Tower", "Paris"), TOWER, 0.93, "landmarks 1a2b3c")
SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "core": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "landmarks": "urn:landmarks:1.0/",
}
HOSTILE = (
    "<script>alert('x')</script>",
    "a & b &amp; c",
    "quote \" and '",
    "two\nlines\t\x00end",
    "東京タワー 🗼",
    "-@leading",
    "@file",
    "]]>",
    "\ud800 lone",
    "é" * 80,
)
# As darktable writes them: attributes, foreign names, a comment, a bag.
DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <!-- kept -->
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" {attributes}
    xmp:Rating="4" darktable:history_end="3">
   <darktable:history><rdf:Seq><rdf:li darktable:params="gz08"/></rdf:Seq></darktable:history>
   <dc:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>Paris</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def darktable(attributes: str = "") -> bytes:
    return DARKTABLE.format(attributes=attributes).encode()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    draw_landmark(0, 0).save(path)
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def read(sidecar: bytes | Path) -> dict[str, str | list[str]]:
    """Every property of a sidecar, as an XML parser sees it."""
    text = sidecar if isinstance(sidecar, bytes) else sidecar.read_bytes()
    found = {}
    short = {uri: prefix for prefix, uri in SPACES.items()}
    for block in ET.fromstring(text).iter(f"{{{SPACES['rdf']}}}Description"):
        for tag, value in [*block.attrib.items(), *((each.tag, each) for each in block)]:
            uri, name = tag[1:].split("}")
            if not isinstance(value, str):
                entries = [each.text for each in value.iter(f"{{{SPACES['rdf']}}}li")]
                value = entries if len(value) else value.text
            key = f"{short.get(uri, uri)}:{name}"
            assert key not in found, "twice"
            found[key] = value
    return found


def degrees(text: str) -> float:
    whole, minutes = text[:-1].split(",")
    return (int(whole) + float(minutes) / 60) * (-1 if text[-1] in "SW" else 1)


def test_what_is_in_a_new_sidecar(photo: Path, journal: Journal) -> None:
    before = photo.read_bytes()
    outcome = write_sidecar(photo, TAGS, journal)
    target = photo.with_name("photo.jpg.xmp")
    assert outcome == Outcome(
        photo,
        "sidecar",
        target,
        "position 48.85822, 2.29450; place names; keywords Eiffel Tower, Paris",
    )
    found = read(target)
    assert degrees(found.pop("exif:GPSLatitude")) == pytest.approx(TOWER.latitude, abs=1e-8)
    assert degrees(found.pop("exif:GPSLongitude")) == pytest.approx(TOWER.longitude, abs=1e-8)
    assert found == {
        "rdf:about": "",
        "dc:subject": ["Eiffel Tower", "Paris"],
        "photoshop:City": "Paris",
        "photoshop:Country": "France",
        "core:CountryCode": "FRA",
        "core:Location": "Eiffel Tower",
        "xmp:CreatorTool": "Landmarks",
        "landmarks:Model": "landmarks 1a2b3c",
        "landmarks:Probability": "0.9300",
    }
    text = target.read_text(encoding="utf-8")
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert text.rstrip().endswith('<?xpacket end="w"?>')
    assert photo.read_bytes() == before
    assert [each.action for each in undo(journal.path)] == ["undo"]
    assert not target.exists()


@pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="no exiftool: apt-get install libimage-exiftool-perl",
)
def test_exiftool_reads_the_same(photo: Path, journal: Journal) -> None:
    write_sidecar(photo, TAGS, journal)
    command = ["exiftool", "-n", "-s3", "-GPSLatitude", "-GPSLongitude", "-Subject", "-City"]
    answer = subprocess.run([*command, sidecar_path(photo)], capture_output=True, text=True)
    latitude, longitude, *rest = answer.stdout.splitlines()
    assert float(latitude) == pytest.approx(TOWER.latitude, abs=1e-8)
    assert float(longitude) == pytest.approx(TOWER.longitude, abs=1e-8)
    assert rest == ["Eiffel Tower, Paris", "Paris"]


def test_a_dry_run_writes_nothing(photo: Path) -> None:
    outcome = write_sidecar(photo, TAGS, None)
    assert (outcome.action, outcome.target) == ("sidecar", sidecar_path(photo))
    assert [path.name for path in photo.parent.iterdir()] == ["photo.jpg"]


def test_hostile_words_come_back(photo: Path, journal: Journal) -> None:
    place = Place(HOSTILE[0], "", HOSTILE[4], "", -33.5, -0.1, "")
    tags = PhotoTags(HOSTILE, place, 0.5, HOSTILE[1])
    assert write_sidecar(photo, tags, journal).action == "sidecar"
    found = read(sidecar_path(photo))
    clean = list(HOSTILE)
    clean[3], clean[8] = "two lines end", "lone"
    assert found["dc:subject"] == clean
    assert found["core:Location"] == HOSTILE[0]
    assert found["photoshop:City"] == HOSTILE[4]
    assert found["landmarks:Model"] == HOSTILE[1]
    assert found["exif:GPSLatitude"] == "33,30.000000S"
    assert found["exif:GPSLongitude"] == "0,6.000000W"
    assert "photoshop:Country" not in found
    assert "core:CountryCode" not in found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0,0.000000N"),
        (-0.0, "0,0.000000N"),
        (90, "90,0.000000N"),
        (-90, "90,0.000000S"),
        (9.9999999999, "10,0.000000N"),
        (1e-7, "0,0.000006N"),
        (-12.5, "12,30.000000S"),
    ],
)
def test_degrees_as_xmp_wants_them(value: float, text: str) -> None:
    assert xmp_degrees(value, "NS") == text


def test_a_wrong_place_is_refused() -> None:
    for latitude, longitude in ((91, 0), (0, -181), (float("nan"), 0), (0, float("inf"))):
        with pytest.raises(ValueError, match="not a point on earth"):
            PhotoTags(("x",), Place("x", "", "", "", latitude, longitude, ""), 0.5, "m")


def test_country_codes_of_three_letters() -> None:
    codes = {code: three_letters().get(code) for code in country_names()}
    assert all(code and len(code) == 3 for code in codes.values())
    assert len(set(codes.values())) == len(codes)
    wanted = {"FR": "FRA", "DE": "DEU", "MM": "MMR", "CD": "COD", "YE": "YEM", "TL": "TLS"}
    wanted |= {"GB": "GBR", "CH": "CHE", "XK": "XKX", "US": "USA", "RU": "RUS", "RS": "SRB"}
    assert {code: codes[code] for code in wanted} == wanted


def test_an_existing_sidecar_keeps_all_that_it_holds(photo: Path, journal: Journal) -> None:
    target = sidecar_path(photo)
    target.write_bytes(darktable('xmp:CreatorTool="darktable"'))
    before = read(target)
    assert write_sidecar(photo, TAGS, journal).action == "sidecar"
    after = read(target)
    assert after.pop("dc:subject") == ["holiday", "Paris", "Eiffel Tower"]
    assert before.pop("dc:subject") == ["holiday", "Paris"]
    assert before.items() <= after.items()
    assert after["xmp:CreatorTool"] == "darktable"
    assert "exif:GPSLatitude" in after
    text = target.read_text(encoding="utf-8")
    for piece in ("<!-- kept -->", 'darktable:params="gz08"', 'x:xmptk="XMP Core', "xmlns:dark"):
        assert piece in text
    assert [each.action for each in undo(journal.path)] == ["undo"]
    assert target.read_bytes() == darktable('xmp:CreatorTool="darktable"')


def test_a_second_run_adds_nothing(photo: Path, journal: Journal) -> None:
    keywords = PhotoTags(("holiday", "Paris"), None, 0.9, "m")
    assert write_sidecar(photo, keywords, journal).action == "sidecar"
    content = sidecar_path(photo).read_bytes()
    assert "keywords already" in write_sidecar(photo, keywords, journal).note
    assert sidecar_path(photo).read_bytes() == content
    assert write_sidecar(photo, TAGS, journal).action == "sidecar"
    assert write_sidecar(photo, TAGS, journal).note == "its sidecar has a position already"
    assert read(sidecar_path(photo))["dc:subject"] == ["holiday", "Paris", "Eiffel Tower"]


POSITION = 'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="1,0N" '
CITY = 'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Lutetia"'


def test_positions_and_names_that_are_there_stay(photo: Path, journal: Journal) -> None:
    target = sidecar_path(photo)
    old = darktable(POSITION + CITY)
    target.write_bytes(old)
    outcome = write_sidecar(photo, TAGS, journal)
    assert (outcome.action, outcome.note) == ("skip", "its sidecar has a position already")
    assert target.read_bytes() == old
    outcome = write_sidecar(photo, TAGS, journal, overwrite_gps=True)
    assert "place names stay" in outcome.note
    found = read(target)  # fails on a property that is there twice
    assert degrees(found["exif:GPSLatitude"]) == pytest.approx(TOWER.latitude)
    assert found["photoshop:City"] == "Lutetia"
    assert "photoshop:Country" not in found


def test_a_photo_with_a_position_gets_none(photo: Path, journal: Journal) -> None:
    image = Image.open(photo)
    exif = image.getexif()
    exif.get_ifd(IFD.GPSInfo).update(
        {GPS.GPSLatitudeRef: "S", GPS.GPSLatitude: (33.0, 30.0, 0.0)}
        | {GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (151.0, 0.0, 0.0)}
    )
    image.save(photo, exif=exif)
    outcome = write_sidecar(photo, TAGS, journal)
    assert outcome.action == "skip"
    assert outcome.note == "has a position of its own (-33.50000, 151.00000)"
    assert not sidecar_path(photo).exists()
    assert write_sidecar(photo, TAGS, journal, overwrite_gps=True).action == "sidecar"


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x:xmpmeta>&b;</x:xmpmeta>'
SUBJECT = (
    b"<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>Paris</rdf:li></rdf:Bag></dc:subject>"
)
BAD_SIDECARS = {
    "empty": b"",
    "cut": darktable()[:-40],
    "bytes": bytes(range(256)),
    "entities": BOMB,
    "page": b"<html><body>no</body></html>",
    "no rdf": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
    "other code": darktable().replace(b"UTF-8", b"no-such"),
    "not utf-8": darktable().replace(b"holiday", b"holi\xffday"),
    "deep": b"<a>" * 50_000 + b"</a>" * 50_000,
    "deep xmp": darktable()
    .replace(b"gz08", b"")
    .replace(b"<rdf:Seq>", b"<rdf:Seq>" + b"<rdf:li>" * 5000)
    .replace(b"</rdf:Seq>", b"</rdf:li>" * 5000 + b"</rdf:Seq>"),
    "keywords as text": darktable().replace(SUBJECT, b"<dc:subject>holiday</dc:subject>"),
    "two lists": darktable().replace(SUBJECT, SUBJECT * 2),
}


@pytest.mark.parametrize("name", BAD_SIDECARS)
def test_a_sidecar_that_is_not_understood_stays(name: str, photo: Path, journal: Journal) -> None:
    target = sidecar_path(photo)
    target.write_bytes(BAD_SIDECARS[name])
    for each in (None, journal):
        outcome = write_sidecar(photo, TAGS, each)
        assert outcome.action == "fail"
        assert "its sidecar" in outcome.note
        assert "\n" not in outcome.note
    assert target.read_bytes() == BAD_SIDECARS[name]


def test_text_of_other_codes_is_read() -> None:
    old = darktable().decode().replace("UTF-8", "UTF-16").replace("holiday", "été")
    new, _ = merge_sidecar(old.encode("utf-16"), TAGS)
    assert read(new)["dc:subject"] == ["été", "Paris", "Eiffel Tower"]
    new, _ = merge_sidecar(b"\xef\xbb\xbf" + darktable(), TAGS)
    assert read(new)["dc:subject"][0] == "holiday"


def test_a_prefix_that_means_something_else(photo: Path, journal: Journal) -> None:
    """Prefixes are anyone's choice; the next sidecar must not suffer either."""
    old = darktable().replace(b"darktable", b"exif").replace(b"xmlns:dc", b"xmlns:ns0")
    old = old.replace(b"dc:subject", b"ns0:subject")
    new, _ = merge_sidecar(old, TAGS)
    assert read(new)["dc:subject"][0] == "holiday"
    assert read(new)["http://exif.sf.net/:history_end"] == "3"
    write_sidecar(photo, TAGS, journal)
    assert "<exif:GPSLatitude>" in sidecar_path(photo).read_text(encoding="utf-8")


def test_places_where_no_sidecar_can_be(photo: Path, journal: Journal, tmp_path: Path) -> None:
    sidecar_path(photo).mkdir()
    assert write_sidecar(photo, TAGS, journal).note == "Is a directory"
    missing = write_sidecar(tmp_path / "missing.jpg", TAGS, journal)
    assert (missing.action, missing.note) == ("fail", "does not exist, or is not a file")
    long = photo.rename(tmp_path / ("n" * 250 + ".jpg"))
    assert write_sidecar(long, TAGS, journal).note == "File name too long"
    for name in ("nul\0.jpg", "n" * 300):
        assert write_sidecar(tmp_path / name, TAGS, journal).action == "fail"
    assert not list(tmp_path.glob(".landmarks-*"))


def test_a_sidecar_elsewhere_is_written_there(photo: Path, journal: Journal) -> None:
    target = photo.parent / "elsewhere.xmp"
    target.write_bytes(darktable())
    sidecar_path(photo).symlink_to(target)
    assert write_sidecar(photo, TAGS, journal).target == target
    assert sidecar_path(photo).is_symlink()
    assert read(target)["dc:subject"] == ["holiday", "Paris", "Eiffel Tower"]
    target.chmod(0o444)
    assert write_sidecar(photo, TAGS, journal, overwrite_gps=True).note == (
        "'elsewhere.xmp' is read-only"
    )


def test_names_of_photos(photo: Path, journal: Journal) -> None:
    names = ["-rf.jpg", "two\nlines.jpg", "東京 🗼.heic", "@x", os.fsdecode(b"caf\xe9.jpg")]
    for name in names:
        path = photo.with_name(name)
        shutil.copy(photo, path)
        assert write_sidecar(path, TAGS, journal).action == "sidecar"
        assert read(path.with_name(name + ".xmp"))["photoshop:City"] == "Paris"
    assert [each.note for each in undo(journal.path)] == ["removed"] * len(names)
    assert not list(photo.parent.glob("*.xmp"))


def test_any_format_may_have_one(tmp_path: Path, journal: Journal) -> None:
    for format in ("HEIF", "GIF", "BMP", "AVIF"):
        buffer = io.BytesIO()
        draw_landmark(1, 1).save(buffer, format)
        path = tmp_path / f"photo.{format.lower()}"
        path.write_bytes(buffer.getvalue())
        assert write_sidecar(path, TAGS, journal).action == "sidecar"
