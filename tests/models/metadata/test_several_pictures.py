"""The proof that embedding changed no pixel, for JPEGs that hold more than one picture."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.metadata import embed as embed_module
from models.metadata.embed import embed
from models.metadata.photo_tags import PhotoTags
from models.metadata.safe_replace import ChangeError
from models.metadata.undo_journal import Journal, undo
from models.metadata.verify import digest_pixels
from models.photos.gps import read_position
from models.places.landmarks import Place
from tests.support.bad_photos import encode
from tests.support.costly_photos import after_start, segment
from tests.support.drawing import draw_landmark

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
TOWER = Place("Eiffel Tower", "tower", "Paris", "FR", 48.858222, 2.2945, "Q243")
TAGS = PhotoTags(("Eiffel Tower",), TOWER, 0.93, "landmarks 1a2b3c")
# Pillow takes a file that says this for one picture, but only if it is an attribute.
GAIN_MAP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    b' hdrgm:Version="1.0"/></rdf:RDF></x:xmpmeta>'
)


def two_pictures(**options: object) -> bytes:
    second = draw_landmark(2, 3, (32, 24))
    return encode(draw_landmark(1, 2), "MPO", save_all=True, append_images=[second], **options)


def first_alone(jpeg: bytes, kept: int = 0) -> bytes:
    """A JPEG after a program that did not know of its second picture."""
    return jpeg[: jpeg.rindex(b"\xff\xd8\xff") + kept]


def with_gain_map(jpeg: bytes, xmp: bytes = GAIN_MAP) -> bytes:
    """As phones write it: XMP before the index of pictures, which Pillow writes first."""
    return after_start(jpeg, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))


ULTRA_HDR = with_gain_map(two_pictures())
PHOTOS = {
    "one picture": encode(draw_landmark(1, 2), "JPEG"),
    "two pictures": two_pictures(),
    "ultra hdr": ULTRA_HDR,
    "ultra hdr, progressive": with_gain_map(two_pictures(progressive=True)),
    "lost": first_alone(two_pictures()),
    "lost gain map": first_alone(ULTRA_HDR),
    "half a gain map": first_alone(ULTRA_HDR, 300),
    "film behind it": ULTRA_HDR + np.random.default_rng(0).bytes(5000),
}


def scan(jpeg: bytes) -> bytes:
    """From the first picture's coded pixels to the end of the file."""
    position = 2
    while jpeg[position + 1] != 0xDA:
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return jpeg[position:]


@needs_exiftool
@pytest.mark.parametrize("name", PHOTOS)
def test_several_pictures_are_embedded_as_the_dry_run_says(name: str, tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo.jpg", Journal(tmp_path / "journal")
    photo.write_bytes(PHOTOS[name])
    [promised] = embed([(photo, TAGS)], None)
    assert photo.read_bytes() == PHOTOS[name]
    [outcome] = embed([(photo, TAGS)], journal)
    assert outcome == promised
    assert outcome.action == "embed", outcome.note
    after = photo.read_bytes()
    assert read_position(after).latitude == pytest.approx(TOWER.latitude, abs=1e-6)
    assert scan(after) == scan(PHOTOS[name])
    images = [Image.open(io.BytesIO(each)).convert("RGB") for each in (PHOTOS[name], after)]
    assert images[0].tobytes() == images[1].tobytes()
    assert [each.action for each in undo(journal.path)] == ["undo"]
    assert photo.read_bytes() == PHOTOS[name]


@needs_exiftool
def test_phones_still_find_the_gain_map(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(ULTRA_HDR)
    list(embed([(photo, TAGS)], Journal(tmp_path / "journal")))
    command = ["exiftool", "-b", "-MPImage2", photo]
    found = subprocess.run(command, capture_output=True, check=True).stdout
    assert found == ULTRA_HDR[ULTRA_HDR.rindex(b"\xff\xd8\xff") :]


def test_no_guess_of_the_format_is_in_the_proof() -> None:
    other = with_gain_map(two_pictures(), GAIN_MAP.replace(b'"1.0"', b"'1.0'"))
    formats = {Image.open(io.BytesIO(each)).format for each in (ULTRA_HDR, other)}
    assert formats == {"JPEG", "MPO"}  # what this test is about
    assert digest_pixels(ULTRA_HDR) == digest_pixels(other)


@pytest.mark.parametrize("place", ["second picture", "last byte", "gone", "more", "table"])
def test_a_change_anywhere_but_in_metadata_is_noticed(place: str) -> None:
    changed = bytearray(ULTRA_HDR)
    if place == "gone":
        changed = changed[: ULTRA_HDR.rindex(b"\xff\xd8\xff")]
    elif place == "more":
        changed += b"\0"
    else:
        where = {
            "second picture": ULTRA_HDR.rindex(b"\xff\xda") + 30,
            "last byte": -1,
            "table": ULTRA_HDR.index(b"\xff\xdb") + 10,  # of the first picture's decoder
        }
        changed[where[place]] ^= 1
    assert digest_pixels(bytes(changed)) != digest_pixels(ULTRA_HDR)


def test_a_first_picture_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ChangeError, match="cannot be decoded"):
        digest_pixels(PHOTOS["one picture"][:-900])


@needs_exiftool
def test_an_index_that_would_lead_elsewhere_is_noticed(tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo.jpg", Journal(tmp_path / "journal")
    photo.write_bytes(two_pictures(xmp=GAIN_MAP))  # XMP behind the index
    notes = {next(embed([(photo, TAGS)], each)).note for each in (None, journal)}
    assert notes == {"exiftool would change its pixels or what follows; a sidecar is possible"}


@needs_exiftool
@pytest.mark.parametrize("harm", ["gain map", "tag", "undo"])
def test_a_dry_run_promises_nothing_that_fails(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, journal = tmp_path / "photo.jpg", Journal(tmp_path / "journal")
    photo.write_bytes(ULTRA_HDR)
    real = embed_module.edit_files

    def edit(folder: Path, edits: dict[str, list[str]]) -> tuple[dict, dict]:
        if any(edits.values()) and harm == "tag":
            edits = {name: ["-Comment=other", *edit] for name, edit in edits.items()}
        answer = real(folder, edits)
        if any(edits.values()) and harm == "gain map":
            copy = folder / "0.jpg"
            copy.write_bytes(first_alone(copy.read_bytes()))
        return answer

    monkeypatch.setattr(embed_module, "edit_files", edit)
    if harm == "tag":
        photo.write_bytes(encode(draw_landmark(1, 2), "JPEG", comment="own"))
    if harm == "undo":
        monkeypatch.setattr("models.metadata.undo_journal.MAX_UNDO_BYTES", 10)
    before = photo.read_bytes()
    outcomes = [next(embed([(photo, TAGS)], each)) for each in (None, journal)]
    assert [each.action for each in outcomes] == ["fail", "fail"]
    assert outcomes[0].note == outcomes[1].note
    assert photo.read_bytes() == before
