"""When and with what a photo was taken: EXIF, GPS time, XMP, sidecars, and what is no time."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from models.photos.capture import Capture, read_capture
from models.photos.gps import read_position
from tests.support.bad_photos import draw, encode

NOON = datetime(2024, 5, 6, 12, 0, 3)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {}/></rdf:RDF></x:xmpmeta>'
)
POSITION = 'exif:GPSLatitude="48,51.504N" exif:GPSLongitude="2,17.67E"'


def save(
    path: Path,
    times: dict[int, object] | None = None,
    gps: dict[int, object] | None = None,
    format: str = "JPEG",
    **options: object,
) -> Path:
    """A photo of a Canon with these values in its EXIF."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Canon", "Canon EOS 80D"
    exif.get_ifd(IFD.Exif).update(times or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    path.write_bytes(encode(draw(), format, exif=exif.tobytes(), **options))
    return path


def original(text: str, **others: object) -> dict[int, object]:
    return {Base.DateTimeOriginal: text} | {Base[name]: value for name, value in others.items()}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_time_and_camera_in_every_format(format: str, tmp_path: Path) -> None:
    photo = save(tmp_path / "photo", original("2024:05:06 12:00:03"), format=format)
    assert read_capture(photo) == Capture(NOON, "Canon EOS 80D", None)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (original("2024:05:06 12:00:03", OffsetTimeOriginal="+02:00"), "2024-05-06T12:00:03+02:00"),
        (original("2024:05:06 12:00:03", OffsetTime="-09:30"), "2024-05-06T12:00:03-09:30"),
        (original("2024:05:06 12:00:03", OffsetTime="?"), "2024-05-06T12:00:03"),
        (original("2024:05:06 12:00:03", SubsecTimeOriginal="25"), "2024-05-06T12:00:03.250000"),
        (original("2024:05:06 12:00:03", SubsecTimeOriginal="  "), "2024-05-06T12:00:03"),
        (original("2024:10:27 02:30:00", OffsetTime="+01:00"), "2024-10-27T02:30:00+01:00"),
        (original("0000:00:00 00:00:00"), None),
        (original("    :  :     :  :  "), None),
        (original("2024:05:06"), None),
        (original("2024:13:06 12:00:03"), None),
        ({Base.DateTimeDigitized: "2024:05:06 12:00:03"}, None),
    ],
)
def test_zones_fractions_and_what_is_no_time(
    times: dict[int, object], expected: str | None, tmp_path: Path
) -> None:
    taken = read_capture(save(tmp_path / "photo.jpg", times)).taken
    assert (taken and taken.isoformat()) == expected


def test_neither_the_last_edit_nor_the_file_is_a_time(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.DateTime] = "2024:05:06 12:00:03"
    (tmp_path / "photo.jpg").write_bytes(encode(draw(), "JPEG", exif=exif.tobytes()))
    assert read_capture(tmp_path / "photo.jpg") == Capture()


def receiver(clock: tuple[float, float, float]) -> dict[int, object]:
    return {GPS.GPSDateStamp: "2024:05:06", GPS.GPSTimeStamp: clock}


@pytest.mark.parametrize(
    ("times", "clock", "zone"),
    [
        (original("2024:05:06 12:00:03"), (10.0, 0.0, 0.0), 2.0),
        (original("2024:05:06 12:00:03"), (6.0, 28.0, 30.0), 5.5),  # a fix of two minutes before
        (original("2024:05:06 12:00:03", OffsetTime="+03:00"), (10.0, 0.0, 0.0), 3.0),
        (original("2024:05:06 12:00:03"), (9.0, 52.0, 0.0), None),  # no zone is 2:08 ahead
    ],
)
def test_the_receivers_time_tells_the_zone(
    times: dict[int, object], clock: tuple[float, float, float], zone: float | None, tmp_path: Path
) -> None:
    taken = read_capture(save(tmp_path / "photo.jpg", times, receiver(clock))).taken
    ahead = None if zone is None else timezone(timedelta(hours=zone))
    assert taken == NOON.replace(tzinfo=ahead)
    assert (taken.tzinfo is None) is (zone is None)


def test_the_receivers_time_alone_will_do(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.jpg", {}, receiver((10.0, 0.0, 3.0)))
    assert read_capture(photo).taken == datetime(2024, 5, 6, 10, 0, 3, tzinfo=UTC)


@pytest.mark.parametrize("name", ["exif:DateTimeOriginal", "photoshop:DateCreated"])
def test_xmp_inside_or_beside_the_photo(name: str, tmp_path: Path) -> None:
    text = XMP.format(f'{name}="2024-05-06T12:00:03.5+02:00" {POSITION}').encode()
    inside = save(tmp_path / "inside.jpg", xmp=text)
    beside = save(tmp_path / "beside.jpg")
    (tmp_path / "beside.jpg.xmp").write_bytes(text)
    for photo in (inside, beside):
        found = read_capture(photo)
        assert found.taken.isoformat() == "2024-05-06T12:00:03.500000+02:00"
        assert found.position == read_position(photo)
        assert found.position.latitude == pytest.approx(48.8584)


def test_exif_comes_before_xmp(tmp_path: Path) -> None:
    text = XMP.format('exif:DateTimeOriginal="1999-01-01T00:00:00"').encode()
    photo = save(tmp_path / "photo.jpg", original("2024:05:06 12:00:03"), xmp=text)
    assert read_capture(photo).taken == NOON


def test_large_notes_of_a_camera_hide_no_time(tmp_path: Path) -> None:
    notes = original("2024:05:06 12:00:03") | {Base.MakerNote: b"\0" * 150_000}
    photo = save(tmp_path / "photo.webp", notes, format="WEBP")
    assert read_capture(photo).taken == NOON


def test_an_estimate_is_nobodys_own_position(tmp_path: Path) -> None:
    gps = {
        GPS.GPSLatitudeRef: "N",
        GPS.GPSLatitude: (48.0, 51.0, 30.24),
        GPS.GPSLongitudeRef: "E",
        GPS.GPSLongitude: (2.0, 17.0, 40.2),
    }
    assert read_capture(save(tmp_path / "own.jpg", {}, gps)).position is not None
    gps[GPS.GPSProcessingMethod] = b"ASCII\0\0\0ESTIMATED"
    assert read_capture(save(tmp_path / "embedded.jpg", {}, gps)).position is None
    text = XMP.format(f'exif:GPSProcessingMethod="ESTIMATED" {POSITION}').encode()
    assert read_capture(save(tmp_path / "inside.jpg", xmp=text)).position is None


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe1", b"no photo"])
def test_bad_files_say_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    assert read_capture(tmp_path / "photo.jpg") == Capture()
    assert read_capture(tmp_path / "nothing.jpg") == Capture()
