"""Metadata inside photos: what is written, what stays, and how it is undone.

Read back with Pillow and an XML parser; exiftool itself is only the second reader.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence, IptcImagePlugin, PngImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from models.environment import ExiftoolError, check_exiftool
from models.metadata import embed as embed_module
from models.metadata import exiftool as exiftool_module
from models.metadata.embed import embed
from models.metadata.photo_tags import PhotoTags
from models.metadata.undo_journal import Journal, Outcome, undo
from models.places.landmarks import Place
from tests.support.drawing import draw_landmark

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="no exiftool: apt-get install libimage-exiftool-perl"
)
ROOT = Path(__file__).parents[3]
PLACE = Place(
    "Cristo Redentor <b>",
    "statue",
    "São Sebastião do Rio de Janeiro",
    "BR",
    -22.951916,
    -43.210487,
    "Q79961",
)
KEYWORDS = (
    "Cristo Redentor <b>",
    "a \"quoted\" & 'word'",
    "東京 🗼",
    "-@minus",
    "@at",
    "=#$%; {x}",
    "two\nlines",
    "1.50",
    "x" * 100,
)
CLEAN = [*KEYWORDS[:6], "two lines", *KEYWORDS[7:]]
TAGS = PhotoTags(KEYWORDS, PLACE, 0.93, "landmarks 1a2b3c")
DC, PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
THUMBNAIL = io.BytesIO()
draw_landmark(4, 4, (32, 24)).save(THUMBNAIL, "JPEG")


def full_exif() -> Image.Exif:
    """What a camera writes, with maker notes that nobody understands."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Orientation], exif[Base.Copyright] = "Maker", 6, "somebody"
    exif.get_ifd(IFD.Exif).update(
        {Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.MakerNote: bytes(range(256))}
    )
    return exif


def gps_exif() -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo).update(
        {
            GPS.GPSLatitudeRef: "N",
            GPS.GPSLatitude: (48.0, 51.0, 0.0),
            GPS.GPSLongitudeRef: "E",
            GPS.GPSLongitude: (2.0, 17.0, 0.0),
            GPS.GPSAltitudeRef: b"\0",
            GPS.GPSAltitude: 35.0,
            GPS.GPSDateStamp: "2020:01:02",
        }
    )
    return exif


def png_text() -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Title", "títle", "pt")
    text.add_text("Author", "me", zip=True)
    return text


def encode(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or draw_landmark(1, 2)).save(buffer, format, **options)
    return buffer.getvalue()


def with_exiftool(data: bytes, *arguments: str) -> bytes:
    """A photo with metadata that Pillow cannot write."""
    command = ["exiftool", "-config", "", *arguments, "-o", "-", "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:own="urn:somebody/" own:secret="kept" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>@at</rdf:li>'
    b"<rdf:li>True</rdf:li><rdf:li>1e5</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
    b"</x:xmpmeta>"
)


def other() -> Image.Image:
    return draw_landmark(2, 3)


GREY16 = Image.fromarray(np.arange(96 * 72, dtype=np.uint16).reshape(72, 96) * 9)
PHOTOS = {
    "plain.jpg": encode("JPEG", dpi=(300, 300)),
    "full.jpg": encode(
        "JPEG", exif=full_exif(), icc_profile=ICC, comment="tràiler", progressive=True, xmp=XMP
    ),
    "cmyk.jpeg": encode("JPEG", draw_landmark(1, 2).convert("CMYK")),
    "several.jpg": encode("MPO", save_all=True, append_images=[other()]),
    "trailer.jpg": encode("JPEG") + b"what some phones put behind the picture" * 9,
    "plain.png": encode("PNG"),
    "full.png": encode("PNG", exif=full_exif(), icc_profile=ICC, pnginfo=png_text(), dpi=(72, 72)),
    "deep.png": encode("PNG", GREY16),
    "moving.png": encode("PNG", save_all=True, append_images=[other()], duration=90),
    "plain.webp": encode("WEBP"),
    "full.webp": encode("WEBP", exif=full_exif(), icc_profile=ICC, xmp=XMP),
    "lossless.webp": encode("WEBP", draw_landmark(1, 2).convert("RGBA"), lossless=True),
    "moving.webp": encode("WEBP", save_all=True, append_images=[other()]),
    "plain.tif": encode("TIFF"),
    "full.tif": encode("TIFF", exif=full_exif(), icc_profile=ICC, compression="tiff_lzw"),
    "pages.tiff": encode("TIFF", save_all=True, append_images=[other()]),
    "a png.jpg": encode("PNG"),
    "-rf.jpg": encode("JPEG"),
    "@x.png": encode("PNG"),
    "two\nlines\t東京 🗼 %d.jpg": encode("JPEG"),
    os.fsdecode(b"caf\xe9.jpg"): encode("JPEG"),
}
JPEGS = [name for name, data in PHOTOS.items() if data.startswith(b"\xff\xd8")]
WITH_IPTC = [name for name, data in PHOTOS.items() if data[:2] in (b"\xff\xd8", b"II", b"MM")]


@dataclass(frozen=True)
class Embedded:
    """Photos before, after, and after the undo."""

    outcomes: dict[str, Outcome]
    before: dict[str, bytes]
    after: dict[str, bytes]
    undone: dict[str, bytes]
    left: list[str]
    journal_bytes: int


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    folder = tmp_path_factory.mktemp("photos")
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal")
    before = dict(PHOTOS)
    thumbnail = folder / "thumbnail"
    thumbnail.write_bytes(THUMBNAIL.getvalue())
    before["full.jpg"] = with_exiftool(before["full.jpg"], f"-ThumbnailImage<={thumbnail}")
    thumbnail.unlink()
    paths = {name: folder / name for name in before}
    for name, data in before.items():
        paths[name].write_bytes(data)
        os.utime(paths[name], (1_000_000_000, 1_100_000_000))
    assert {each.action for each in embed([(each, TAGS) for each in paths.values()], None)} == {
        "embed"
    }
    assert {name: path.read_bytes() for name, path in paths.items()} == before, "a dry run"
    found = embed([(path, TAGS) for path in paths.values()], journal)
    outcomes = dict(zip(paths, found, strict=True))
    assert {path.stat().st_mtime for path in paths.values()} == {1_100_000_000}
    after = {name: path.read_bytes() for name, path in paths.items()}
    again = embed([(path, TAGS) for path in paths.values()], journal)
    assert {each.note for each in again} == {"has a position of its own"}
    assert {each.action for each in undo(journal.path)} == {"undo"}
    undone = {name: path.read_bytes() for name, path in paths.items()}
    left = sorted(path.name for path in folder.iterdir())
    return Embedded(outcomes, before, after, undone, left, journal.path.stat().st_size)


def tags_of(folder: Path, *photos: bytes) -> list[Counter]:
    """Everything that exiftool can read, unknown maker notes too, but not where it lies."""
    paths = [folder / f"copy {number}" for number in range(len(photos))]
    for path, data in zip(paths, photos, strict=True):
        path.write_bytes(data)
    command = ["exiftool", "-j", "-a", "-U", "-b", "-e", "-G1:4", "-struct", "--System:all", *paths]
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    tags = []
    for found in json.loads(answer, parse_int=str, parse_float=str):
        del found["SourceFile"]
        names = ((key.split(":")[0], key.split(":")[-1], str(text)) for key, text in found.items())
        where = ("Offset", "Offsets", "Start")
        tags.append(Counter(name for name in names if not name[1].endswith(where)))
    return tags


def degrees(values: tuple[float, float, float], reference: str) -> float:
    total = sum(float(value) / 60**power for power, value in enumerate(values))
    return -total if reference in "SW" else total


def xmp_of(image: Image.Image) -> ET.Element:
    image.load()  # PNG keeps it behind the pixels
    text = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    return ET.fromstring(text.strip(b"\0") if isinstance(text, bytes) else text)


def keywords_of(root: ET.Element) -> list[str]:
    return [entry.text for entry in root.find(f".//{{{DC}}}subject")[0]]


@pytest.mark.parametrize("name", PHOTOS)
def test_place_and_keywords_are_inside(name: str, embedded: Embedded) -> None:
    assert embedded.outcomes[name].action == "embed", embedded.outcomes[name].note
    with Image.open(io.BytesIO(embedded.after[name])) as image:
        gps = image.getexif().get_ifd(IFD.GPSInfo)
        latitude = degrees(gps[GPS.GPSLatitude], gps[GPS.GPSLatitudeRef])
        longitude = degrees(gps[GPS.GPSLongitude], gps[GPS.GPSLongitudeRef])
        assert latitude == pytest.approx(PLACE.latitude, abs=1e-6)
        assert longitude == pytest.approx(PLACE.longitude, abs=1e-6)
        root = xmp_of(image)
        known = ["@at", "True", "1e5"] if name in ("full.jpg", "full.webp") else []
        assert keywords_of(root) == known + [each for each in CLEAN if each not in known]
        texts = {
            f"{{{PHOTOSHOP}}}City": PLACE.city,
            f"{{{PHOTOSHOP}}}Country": "Brazil",
            f"{{{CORE}}}CountryCode": "BRA",
            f"{{{CORE}}}Location": PLACE.name,
        }
        assert {tag: root.find(f".//{tag}").text for tag in texts} == texts
        assert root.find(".//{http://ns.adobe.com/exif/1.0/}GPSLatitude").text[:7] == "22,57.1"
        if name in WITH_IPTC:
            iptc = IptcImagePlugin.getiptcinfo(image)
            assert iptc[1, 90] == b"\x1b%G"  # UTF-8
            assert [each.decode() for each in iptc[2, 25]] == [each[:64] for each in CLEAN]
            assert iptc[2, 90].decode() == "São Sebastião do Rio de Janeir"  # 32 bytes
            assert iptc[2, 100] == b"BRA"
            assert iptc[2, 101] == b"Brazil"
            assert iptc[2, 92].decode() == PLACE.name


def test_nothing_else_is_there_before_or_after(embedded: Embedded) -> None:
    assert embedded.left == sorted(PHOTOS)


@pytest.mark.parametrize("name", PHOTOS)
def test_pixels_stay(name: str, embedded: Embedded) -> None:
    images = [Image.open(io.BytesIO(each[name])) for each in (embedded.before, embedded.after)]
    frames = [[frame.copy() for frame in ImageSequence.Iterator(image)] for image in images]
    assert len(frames[0]) == len(frames[1]) == (2 if name[:5] in ("movin", "sever", "pages") else 1)
    for before, after in zip(*frames, strict=True):
        assert (before.mode, before.size) == (after.mode, after.size)
        assert before.tobytes() == after.tobytes()


def scan(data: bytes) -> bytes:
    """A JPEG from its first scan on: entropy-coded pixels and all that follows."""
    position = 2
    while data[position + 1] != 0xDA:
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return data[position:]


@pytest.mark.parametrize("name", JPEGS)
def test_compressed_pixels_stay(name: str, embedded: Embedded) -> None:
    assert scan(embedded.after[name])[:500] == scan(embedded.before[name])[:500]
    if name != "several.jpg":  # its second picture has a header of its own
        assert scan(embedded.after[name]) == scan(embedded.before[name])


# What exiftool adds because EXIF, IPTC and XMP want it, and what is asked for.
ADDED = {
    "IFD0": {"XResolution", "YResolution", "ResolutionUnit", "YCbCrPositioning"},
    "GPS": {
        "GPSVersionID",
        "GPSLatitudeRef",
        "GPSLatitude",
        "GPSLongitudeRef",
        "GPSLongitude",
        "GPSMapDatum",
    },
    "IPTC": {
        "CodedCharacterSet",
        "EnvelopeRecordVersion",
        "Keywords",
        "City",
        "Sub-location",
        "ApplicationRecordVersion",
        "Country-PrimaryLocationCode",
        "Country-PrimaryLocationName",
    },
    "XMP-x": {"XMPToolkit"},
    "XMP-dc": {"Subject"},
    "XMP-exif": {"GPSLatitude", "GPSLongitude"},
    "XMP-photoshop": {"City", "Country"},
    "XMP-iptcCore": {"CountryCode", "Location"},
    "File": {"CurrentIPTCDigest", "ExifByteOrder", "FileType"},
    "RIFF": {"WebP_Flags", "ImageWidth", "ImageHeight"},
}


@pytest.mark.parametrize(
    "name",
    [
        "plain.jpg",
        "full.jpg",
        "several.jpg",
        "full.png",
        "full.webp",
        "plain.webp",
        "full.tif",
        "plain.tif",
    ],
)
def test_all_other_metadata_stays(name: str, embedded: Embedded, tmp_path: Path) -> None:
    before, after = tags_of(tmp_path, embedded.before[name], embedded.after[name])
    gone = {entry[:2] for entry in before - after}
    assert gone <= {("XMP-dc", "Subject"), ("File", "FileType"), ("RIFF", "WebP_Flags")}
    assert {key for key in (after - before) if key[1] not in ADDED.get(key[0], ())} == set()
    if name.startswith("full"):
        assert any(key[1] == "Make" for key in after)


@pytest.mark.parametrize("name", ["full.jpg", "full.png", "full.webp", "full.tif"])
def test_other_readers_see_the_same(name: str, embedded: Embedded) -> None:
    images = [Image.open(io.BytesIO(each[name])) for each in (embedded.before, embedded.after)]
    for image in images:
        image.load()
    before, after = (dict(image.getexif().get_ifd(IFD.Exif)) for image in images)
    if name != "full.tif":  # Pillow does not write these there
        assert before[Base.MakerNote] == after[Base.MakerNote] == bytes(range(256))
        assert images[1].getexif()[Base.Orientation] == 6
    assert before.items() <= after.items()
    assert images[1].getexif()[Base.Copyright] == "somebody"
    kept = ("icc_profile", "comment", "Title", "Author", "dpi", "jfif_density")
    for key in kept:
        assert images[1].info.get(key) == images[0].info.get(key), key
    assert images[1].info["icc_profile"] == ICC
    if name == "full.jpg":
        assert THUMBNAIL.getvalue() in embedded.after[name]
        assert xmp_of(images[1]).find(".//{urn:somebody/}secret").text == "kept"


def test_undo_is_bit_for_bit_and_small(embedded: Embedded) -> None:
    assert embedded.undone == embedded.before
    assert embedded.journal_bytes < 1500 * len(PHOTOS)


# --- decisions ----------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    folder = tmp_path / "journals"
    folder.mkdir()
    return Journal(folder / "journal")


def write(folder: Path, **photos: bytes) -> list[Path]:
    for name, data in photos.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in photos]


def test_what_is_there_stays(tmp_path: Path, journal: Journal) -> None:
    plain = encode("JPEG")
    latin = with_exiftool(
        plain, "-charset", "iptc=latin", "-IPTC:Caption-Abstract=é", "-IPTC:Keywords=old"
    )
    named = with_exiftool(
        plain,
        "-IPTC:City=Niterói",
        "-IPTC:Keywords=@at",
        "-IPTC:Keywords=old",
        "-CodedCharacterSet=UTF8",
        "-Photoshop:IPTCDigest=new",
    )
    own_xmp = with_exiftool(plain, "-XMP-exif:GPSLatitude=1")
    paths = write(
        tmp_path, latin=latin, named=named, gps=encode("JPEG", exif=gps_exif()), xmp=own_xmp
    )
    outcomes = list(embed([(path, TAGS) for path in paths], journal))
    assert [each.action for each in outcomes] == ["embed", "embed", "skip", "skip"]
    assert outcomes[2].note == "has a position of its own"
    assert "its place names stay" in outcomes[1].note
    with Image.open(paths[0]) as image:  # IPTC in another code is not touched
        iptc = IptcImagePlugin.getiptcinfo(image)
        assert iptc == {**iptc, (2, 120): b"\xe9", (2, 25): b"old"}
        assert keywords_of(xmp_of(image)) == CLEAN
    with Image.open(paths[1]) as image:
        iptc = IptcImagePlugin.getiptcinfo(image)
        assert iptc[2, 90].decode() == "Niterói"
        assert (2, 101) not in iptc
        others = [each[:64] for each in CLEAN if each != "@at"]
        assert [each.decode() for each in iptc[2, 25]] == ["@at", "old", *others]
        assert xmp_of(image).find(f".//{{{PHOTOSHOP}}}City") is None
    digests = ["exiftool", "-s3", "-IPTCDigest", "-CurrentIPTCDigest", paths[1]]
    answer = subprocess.run(digests, capture_output=True, text=True).stdout.split()
    assert answer[0] == answer[1]
    assert paths[2].read_bytes() == encode("JPEG", exif=gps_exif())
    assert paths[3].read_bytes() == own_xmp


def test_a_position_is_replaced_when_told(tmp_path: Path, journal: Journal) -> None:
    [photo] = write(tmp_path, photo=encode("JPEG", exif=gps_exif()))
    [outcome] = embed([(photo, TAGS)], journal, overwrite_gps=True)
    assert outcome.action == "embed"
    with Image.open(photo) as image:
        gps = image.getexif().get_ifd(IFD.GPSInfo)
    assert degrees(gps[GPS.GPSLatitude], gps[GPS.GPSLatitudeRef]) == pytest.approx(PLACE.latitude)
    assert GPS.GPSAltitude not in gps  # of the place that is no longer there
    assert gps[GPS.GPSDateStamp] == "2020:01:02"
    assert [each.action for each in undo(journal.path)] == ["undo"]
    assert photo.read_bytes() == encode("JPEG", exif=gps_exif())


def test_keywords_alone(tmp_path: Path, journal: Journal) -> None:
    [photo] = write(tmp_path, photo=encode("PNG"))
    tags = PhotoTags(("one", "two"), None, 0.9, "m")
    assert [each.action for each in embed([(photo, tags)], journal)] == ["embed"]
    with Image.open(photo) as image:
        assert keywords_of(xmp_of(image)) == ["one", "two"]
        assert not image.getexif().get_ifd(IFD.GPSInfo)
    [again] = embed([(photo, tags)], journal)
    assert (again.action, again.note) == ("skip", "has these keywords already")


def test_other_formats_get_a_sidecar(tmp_path: Path, journal: Journal) -> None:
    formats = {name: encode(name) for name in ("HEIF", "AVIF", "GIF", "BMP")}
    paths = write(tmp_path, **formats)
    assert {each.action for each in embed([(path, TAGS) for path in paths], None)} == {"sidecar"}
    outcomes = list(embed([(path, TAGS) for path in paths], journal))
    assert [each.target.name for each in outcomes] == [f"{path.name}.xmp" for path in paths]
    assert all(path.read_bytes() == formats[path.name] for path in paths)
    assert keywords_of(ET.parse(outcomes[0].target).getroot()) == CLEAN


def test_links_lead_to_the_photo(tmp_path: Path, journal: Journal) -> None:
    [photo] = write(tmp_path, photo=encode("JPEG"))
    link, loop = tmp_path / "link.jpg", tmp_path / "loop.jpg"
    link.symlink_to(photo)
    loop.symlink_to(loop)
    outcomes = list(embed([(link, TAGS), (loop, TAGS)], journal))
    assert [each.action for each in outcomes] == ["embed", "fail"]
    assert outcomes[0].target == photo
    assert link.is_symlink()
    assert photo.read_bytes() != encode("JPEG")
    assert [each.photo for each in undo(journal.path)] == [photo]
    assert photo.read_bytes() == encode("JPEG")


def test_what_cannot_be_done(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_module, "MAX_BYTES", 30_000)
    damaged = encode("PNG").replace(b"IDAT", b"IDAX", 1)
    paths = write(
        tmp_path,
        cut=encode("JPEG")[:-900],
        damaged=damaged,
        locked=encode("JPEG"),
        heavy=encode("JPEG") + bytes(40_000),
        head=b"\xff\xd8\xff\xe0",
    )
    paths[2].chmod(0o444)
    paths += [tmp_path, tmp_path / "missing", tmp_path / ("n" * 300), tmp_path / "nul\0"]
    before = [path.read_bytes() for path in paths[:5]]
    for each in (None, journal):
        outcomes = list(embed([(path, TAGS) for path in paths], each))
        assert {outcome.action for outcome in outcomes} == {"fail"}
        assert "cannot be decoded" in outcomes[0].note
        assert "read-only" in outcomes[2].note
        assert "over 0 MB" in outcomes[3].note
    assert [path.read_bytes() for path in paths[:5]] == before
    assert not journal.path.exists()


# --- exiftool itself ----------------------------------------------------------------------------


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in the place of exiftool; $REAL is the real one."""

    def place(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / "exiftool"
        path.write_text(f"#!/bin/sh\nREAL={check_exiftool()}\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        check_exiftool.cache_clear()

    yield place
    monkeypatch.undo()
    check_exiftool.cache_clear()


def test_no_exiftool_or_an_old_one(
    pretend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for script in ("echo 12.16", "echo no", "exit 1"):
        pretend(script)
        with pytest.raises(ExiftoolError, match="apt-get install libimage-exiftool-perl"):
            list(embed([], None))
        check_exiftool.cache_clear()
        monkeypatch.setenv("PATH", os.environ["PATH"].split(":", 1)[1])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExiftoolError, match=r"https://exiftool.org"):
        check_exiftool()


def test_one_photo_that_exiftool_cannot_stand(
    tmp_path: Path,
    journal: Journal,
    pretend: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exiftool_module, "START_SECONDS", 1)
    monkeypatch.setattr(exiftool_module, "SECONDS_A_FILE", 0)
    paths = write(
        tmp_path,
        good=encode("JPEG"),
        bad=encode("JPEG", comment="CRASH"),
        slow=encode("JPEG", comment="HANG"),
    )
    pretend(
        'case "$*" in *-ver) exec $REAL "$@";; esac\n'
        "grep -q CRASH *.jpg && { echo '[{'; exit 9; }\ngrep -q HANG *.jpg && exec sleep 60\n"
        'exec $REAL "$@"'
    )
    monkeypatch.setattr(exiftool_module, "SECONDS_A_FILE", 1)
    outcomes = list(embed([(path, TAGS) for path in paths], journal))
    assert [each.action for each in outcomes] == ["embed", "fail", "fail"]
    assert "no usable answer" in outcomes[1].note
    assert "did not finish" in outcomes[2].note
    assert paths[1].read_bytes() == encode("JPEG", comment="CRASH")


Edit = Callable[[Path, dict], tuple]


@pytest.mark.parametrize(
    ("harm", "note"),
    [
        ("pixels", "would change its pixels"),
        ("tag", "would get IFD0:Make wrong"),
        ("nothing", "would get GPS:GPSLatitude wrong"),
        ("meanwhile", "was changed meanwhile"),
    ],
)
def test_what_is_not_proven_is_not_written(
    harm: str, note: str, tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[Base.Make] = "Maker"
    [photo] = write(tmp_path, photo=encode("JPEG", exif=exif))
    real = embed_module.edit_files

    def edit(folder: Path, edits: dict[str, list[str]]) -> tuple[dict, dict]:
        if not any(edits.values()):
            return real(folder, edits)
        if harm == "tag":
            edits = {name: ["-Make=Other", *edit] for name, edit in edits.items()}
        if harm == "nothing":
            edits = {name: [] for name in edits}
        answer = real(folder, edits)
        if harm == "pixels":
            copy = folder / "0.jpg"
            copy.write_bytes(copy.read_bytes()[:-300] + bytes(298) + b"\xff\xd9")
        if harm == "meanwhile":
            photo.write_bytes(encode("JPEG", other()))
        return answer

    monkeypatch.setattr(embed_module, "edit_files", edit)
    [outcome] = embed([(photo, TAGS)], journal)
    assert outcome.action == "fail"
    assert note in outcome.note
    expected = encode("JPEG", other()) if harm == "meanwhile" else encode("JPEG", exif=exif)
    assert photo.read_bytes() == expected
    assert not journal.path.exists()


# --- processes ----------------------------------------------------------------------------------

EMBED = """
import os, signal, sys, time
from pathlib import Path
from models.metadata.embed import embed
from models.metadata.undo_journal import Journal
from models.metadata.photo_tags import PhotoTags
from models.places.landmarks import Place
from models.metadata import embed as module
folder, journal, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
tags = PhotoTags(("one", "two"), Place("x", "", "", "FR", 1.0, 2.0, ""), 0.5, "m")
if mode == "kill":
    module.find_difference = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
outcomes = list(embed([(path, tags) for path in sorted(folder.iterdir())], Journal(journal)))
print(*(f"{each.action}:{each.note}" for each in outcomes), sep="\\n")
"""


def start(*arguments: object, temporary: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", EMBED, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def test_two_processes_on_the_same_photos(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = write(folder, **{f"{index}.jpg": encode("JPEG") for index in range(2)})
    journals = [tmp_path / "a", tmp_path / "b"]
    running = [start(folder, journal, "", temporary=tmp_path) for journal in journals]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in running]
    for photo, *lines in zip(paths, *printed, strict=True):
        assert "embed:position 1.00000, 2.00000; place names; keywords one, two" in lines
        assert all("meanwhile" in line or "own" in line or "embed" in line for line in lines)
        with Image.open(photo) as image:
            assert keywords_of(xmp_of(image)) == ["one", "two"]
    for journal in journals:
        if journal.exists():
            list(undo(journal))
    assert all(path.read_bytes() == encode("JPEG") for path in paths)
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in paths]


def test_killed_between_exiftool_and_the_photo(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    [photo] = write(folder, photo=encode("JPEG"))
    process = start(folder, tmp_path / "journal", "kill", temporary=tmp_path)
    process.communicate(timeout=60)
    assert process.returncode < 0
    assert photo.read_bytes() == encode("JPEG")
    assert len(list(tmp_path.glob(".landmarks-*"))) == 1
    process = start(folder, tmp_path / "journal", "", temporary=tmp_path)
    assert process.communicate(timeout=60)[0].startswith("embed:")
    assert not list(tmp_path.glob(".landmarks-*"))
