"""Coordinates in XMP as many programs write it; exiftool is the reference."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from models.photos.gps import Position, find_position, read_position
from models.photos.xmp import find_coordinates
from tests.support.bad_photos import draw, encode

PARIS, RIO = Position(48.8584, 2.2945), Position(-22.9519, -43.2105)
EXIF = 'xmlns:exif="http://ns.adobe.com/exif/1.0/"'
IPTC = 'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
PAIR = 'exif:GPSLatitude="48,51.504N" exif:GPSLongitude="2,17.67E"'
TAGS = "<exif:GPSLatitude>48.8584</exif:GPSLatitude><exif:GPSLongitude>2.2945</exif:GPSLongitude>"
RESOURCE = 'rdf:parseType="Resource"'


WRAPPER = '<x:xmpmeta xmlns:x="adobe:ns:meta/">'


def packet(attributes: str = "", elements: str = "") -> str:
    return (
        f"{WRAPPER}<rdf:RDF "
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {EXIF} {IPTC} {attributes}>{elements}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )


def location(name: str, inside: str) -> str:
    return packet(elements=f"<Iptc4xmpExt:{name}{inside}</Iptc4xmpExt:{name}>")


def place(north: str, east: str, more: str = "") -> str:
    return packet(
        elements=f"<exif:GPSLatitude>{north}</exif:GPSLatitude>"
        f"<exif:GPSLongitude>{east}</exif:GPSLongitude>{more}"
    )


APPLE = "<exif:GPSLatitudeRef>S</exif:GPSLatitudeRef><exif:GPSLongitudeRef>W</exif:GPSLongitudeRef>"
SPACE = 'xmlns="http://ns.adobe.com/exif/1.0/"'
PLACES: dict[str, tuple[str, Position]] = {
    "attributes": (packet(PAIR), PARIS),
    "minutes": (place("48,51.504N", "2,17.67E"), PARIS),
    "seconds": (place("22,57,6.84S", "43,12,37.8W"), RIO),
    "decimals": (place("48.8584", "2.2945"), PARIS),
    "signs": (place("-22.9519", "-43.2105"), RIO),
    "plus": (place("+48.8584", "+2.2945"), PARIS),
    "spaces": (place("\n 48,51.504N\n", " 2, 17.67 E "), PARIS),
    "words": (place("48 deg 51' 30.24\" N", "2 deg 17' 40.20\" E"), PARIS),
    "other prefix": (
        packet().replace(EXIF, EXIF.replace("exif", "gps1", 1) + PAIR.replace("exif:", " gps1:")),
        PARIS,
    ),
    "no prefix": (
        packet("", TAGS.replace("exif:", "").replace("ude>4", f"ude {SPACE}>4")).replace(
            "<GPSLongitude", f"<GPSLongitude {SPACE}"
        ),
        PARIS,
    ),
    "two blocks": (
        packet('exif:GPSLatitude="48,51.504N"').replace(
            "</rdf:RDF>", f'<rdf:Description {EXIF} exif:GPSLongitude="2,17.67E"/></rdf:RDF>'
        ),
        PARIS,
    ),
    "no wrapper": (packet(PAIR)[len(WRAPPER) : -len("</x:xmpmeta>")], PARIS),
    "declaration": ('<?xml version="1.0" encoding="UTF-8"?>\n' + packet(PAIR), PARIS),
    "created": (location("LocationCreated", f" {RESOURCE}>{TAGS}"), PARIS),
    "created attributes": (location("LocationCreated", f"><rdf:Description {PAIR}/>"), PARIS),
    "created bag": (
        location("LocationCreated", f"><rdf:Bag><rdf:li {RESOURCE}>{TAGS}</rdf:li></rdf:Bag>"),
        PARIS,
    ),
    "shown": (
        location(
            "LocationShown",
            f"><rdf:Bag><rdf:li {RESOURCE}/><rdf:li><rdf:Description>{TAGS}</rdf:Description>"
            "</rdf:li></rdf:Bag>",
        ),
        PARIS,
    ),
    "shown attributes": (location("LocationShown", f"><rdf:Bag><rdf:li {PAIR}/></rdf:Bag>"), PARIS),
}
# What is no position, of this photo at least.
NO_PLACES = {
    "other namespace": packet(PAIR).replace("http://ns.adobe.com/exif/1.0/", "urn:other/"),
    "ingredient": packet(
        'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"',
        f"<xmpMM:Pantry><rdf:Bag><rdf:li {RESOURCE}>{TAGS}</rdf:li></rdf:Bag></xmpMM:Pantry>",
    ),
    "half": packet('exif:GPSLatitude="48,51.504N"'),
    "halves of two": location(
        "LocationShown",
        '><rdf:Bag><rdf:li exif:GPSLatitude="48,51.504N"/><rdf:li exif:GPSLongitude="2,17.67E"/>'
        "</rdf:Bag>",
    ),
    "no letters": place("48,51.504", "2,17.67"),
    "riddle": place("-48.8584", "2.2945", APPLE.replace(">S<", ">N<")),
    "axes swapped": place("2,17.67E", "48,51.504N"),
    "sea": place("0.0", "0.0"),
    "too far": place("90.1", "2.2945"),
    "words": place("north", "east"),
    "entities": '<!DOCTYPE x [<!ENTITY n "48.8584"><!ENTITY e "2.2945">]>' + place("&n;", "&e;"),
}
near = pytest.approx


def as_tuple(position: Position | None) -> tuple[float, float] | None:
    return position and (position.latitude, position.longitude)


def sidecar(folder: Path, text: str | bytes, name: str = "photo.jpg.xmp") -> Path:
    (folder / "photo.jpg").write_bytes(encode(draw(), "JPEG"))
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "photo.jpg"


@pytest.mark.parametrize("name", PLACES)
def test_a_place_is_read_inside_the_photo_and_beside_it(name: str, tmp_path: Path) -> None:
    text, position = PLACES[name]
    inside = encode(draw(), "JPEG", xmp=text.encode())
    assert as_tuple(read_position(inside)) == near(as_tuple(position), abs=1e-6)
    assert as_tuple(read_position(sidecar(tmp_path, text))) == near(as_tuple(position), abs=1e-6)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_exiftool_reads_the_same(tmp_path: Path) -> None:
    for index, (text, _) in enumerate(PLACES.values()):
        (tmp_path / f"{index:02}.xmp").write_text(text, encoding="utf-8")
    tags = ["-GPSL*itude", "-LocationCreatedGPSL*", "-LocationShownGPSL*"]
    command = ["exiftool", "-config", "", "-q", "-j", "-n", *tags, tmp_path]
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    found = sorted(json.loads(answer), key=lambda entry: entry["SourceFile"])
    for (name, (_, position)), entry in zip(PLACES.items(), found, strict=True):
        values = [
            value[0] if isinstance(value, list) else value
            for axis in ("Latitude", "Longitude")
            for key, value in entry.items()
            if key.endswith(f"GPS{axis}")
        ]
        assert values == near(as_tuple(position), abs=1e-6), name


def test_apple_writes_letters_elsewhere(tmp_path: Path) -> None:
    """Without signs, as Photos exports it; this exiftool (12.57) overlooks the letters."""
    photo = sidecar(tmp_path, place("22.9519", "43.2105", APPLE), "photo.xmp")
    assert as_tuple(read_position(photo)) == near(as_tuple(RIO))


@pytest.mark.parametrize("name", NO_PLACES)
def test_what_is_no_place(name: str, tmp_path: Path) -> None:
    assert read_position(encode(draw(), "JPEG", xmp=NO_PLACES[name].encode())) is None
    assert read_position(sidecar(tmp_path, NO_PLACES[name])) is None


@pytest.mark.parametrize(
    "code", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_encodings(code: str, tmp_path: Path) -> None:
    for text in (packet(PAIR), f'<?xml version="1.0" encoding="{code[:6]}"?>{packet(PAIR)}'):
        photo = sidecar(tmp_path, text.encode(code))
        assert as_tuple(read_position(photo)) == near(as_tuple(PARIS))


def test_damage_spoils_only_what_follows(tmp_path: Path) -> None:
    whole = packet(PAIR, "<dc:subject>\xe9</dc:subject>").encode("latin-1")
    assert as_tuple(read_position(sidecar(tmp_path, whole))) == near(as_tuple(PARIS))
    early = packet(f'exif:Note="\x01" {PAIR}')
    assert as_tuple(read_position(sidecar(tmp_path, early))) == near(as_tuple(PARIS))
    undeclared = packet(PAIR).replace(EXIF, "")
    assert as_tuple(read_position(sidecar(tmp_path, undeclared))) == near(as_tuple(PARIS))


def test_the_place_created_goes_before_the_place_shown() -> None:
    both = packet(
        elements=f"<Iptc4xmpExt:LocationShown {RESOURCE}>{TAGS.replace('48', '7')}"
        f"</Iptc4xmpExt:LocationShown><Iptc4xmpExt:LocationCreated {RESOURCE}>{TAGS}"
        "</Iptc4xmpExt:LocationCreated>"
    )
    found = [north[0] for north, _ in find_coordinates(both.encode())]
    assert found == [[48.8584], [7.8584]]


@pytest.mark.parametrize(
    "name", ["photo.jpg.xmp", "photo.jpg.XMP", "photo.xmp", "photo.XMP", "photo.Xmp"]
)
def test_names_of_sidecars(name: str, tmp_path: Path) -> None:
    photo = sidecar(tmp_path, packet(PAIR), name)
    position, source = find_position(photo)
    assert as_tuple(position) == near(as_tuple(PARIS))
    assert source.name == name
    link = tmp_path / "album" / "link.jpg"
    link.parent.mkdir()
    link.symlink_to(photo)
    assert as_tuple(read_position(link)) == near(as_tuple(PARIS))
    assert read_position(photo.read_bytes()) is None
    photo.unlink()
    assert read_position(photo) is None


def test_the_photo_goes_first_and_a_strange_sidecar_spoils_nothing(tmp_path: Path) -> None:
    photo = sidecar(tmp_path, packet(PAIR), "photo.xmp")
    (tmp_path / "photo.jpg.xmp").mkdir()
    assert as_tuple(read_position(photo)) == near(as_tuple(PARIS))
    photo.write_bytes(encode(draw(), "JPEG", xmp=PLACES["seconds"][0].encode()))
    assert as_tuple(read_position(photo)) == near(as_tuple(RIO))


HEAD = packet()[: -len("</rdf:Description></rdf:RDF></x:xmpmeta>")]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "<a/>" * 240_000,
        HEAD + "<a>" * 300_000,
        "<a " * 300_000,
        HEAD + "<Iptc4xmpExt:LocationShown>" + '<rdf:li exif:GPSLatitude="1"/>' * 33_000,
        HEAD + "<exif:GPSLatitude>" + "&#65;" * 190_000,
        HEAD + "1" * 990_000,
        f'<x exif:GPSLatitude="{"1" * 900_000}" {EXIF}/>',
    ],
)
def test_a_megabyte_of_nonsense_takes_no_time(text: str) -> None:
    start = time.process_time()
    assert list(find_coordinates(text[:1_000_000].encode())) == []
    assert time.process_time() - start < 5  # 0.3 s where it was measured
