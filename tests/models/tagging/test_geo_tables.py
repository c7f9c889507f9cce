"""GeoJSON, KML and GPX: what other programs find in them, and that all rows come back."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote

import pytest

from models.tag import TagConfig, main
from models.tagging.table import COLUMNS, TableError, read_table, write_table
from tests.support.album import HOSTILE, TRIP, album_row, draw_album

KML, GPX = "{http://www.opengis.net/kml/2.2}", "{http://www.topografix.com/GPX/1/1}"
ALL = [".geojson", ".kml", ".gpx"]
PLACED = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", HOSTILE]
AT = {"1.jpg": (12.4922, 41.8902), "3.jpg": (11.3, 43.7), "4.jpg": (13.9, 41.5)} | {
    "2.jpg": (12.4922, 41.8902),
    HOSTILE: (9.2, 45.4),
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the trip, with a table of it in each format; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [row for _, row in draw_album(tmp_path, TRIP)]
    (tmp_path / "out").mkdir()
    for suffix in ALL:
        write_table(Path("out") / f"trip{suffix}", rows)
    return tmp_path


@pytest.mark.parametrize("suffix", ALL)
def test_all_rows_come_back(suffix: str, written: Path) -> None:
    rows = list(read_table(written / "out" / f"trip{suffix}"))
    names = [row["photo"].removeprefix("photos/") for row in rows]
    left_out = [name for name in TRIP if name not in PLACED]
    assert names == ([*PLACED, *left_out] if suffix == ".gpx" else list(TRIP))
    for name, row in zip(names, rows, strict=True):
        verdict, values = TRIP[name]
        expected = album_row(f"photos/{name}", verdict, **values)
        assert row == {column: expected[column] for column in COLUMNS}


@pytest.mark.parametrize("suffix", ALL)
def test_any_text_comes_back(suffix: str, tmp_path: Path) -> None:
    names = ["\x01\x0b]]>&lt;", "é\u0301 東京 🗼", "\u2028a\r\nb", "\\udcff", "<landmarks:row>{}"]
    rows = [
        album_row(name, own_latitude=1e-7, own_longitude=-179.123456789012, error=None)
        for name in names
    ]
    write_table(tmp_path / f"t{suffix}", rows)
    read = list(read_table(tmp_path / f"t{suffix}"))
    assert [row["photo"] for row in read] == names
    assert all(row["own_longitude"] == -179.123456789012 for row in read)


def leads_to_photo(href: str, folder: Path) -> bool:
    return (folder / unquote(href)).is_file()


@pytest.mark.parametrize("suffix", [".kml", ".gpx"])
def test_small_numbers_are_decimals(suffix: str, tmp_path: Path) -> None:
    row = album_row("a.jpg", own_latitude=-1e-6, own_longitude=1e-9)
    write_table(tmp_path / f"t{suffix}", [row])
    text = (tmp_path / f"t{suffix}").read_text()
    assert "-0.0000010" in text and "0.0000000" in text


def test_geojson(written: Path) -> None:
    collection = json.loads((written / "out" / "trip.geojson").read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(TRIP)
    for name, feature in zip(TRIP, collection["features"], strict=True):
        assert feature["type"] == "Feature"
        if name in AT:
            assert feature["geometry"] == {"type": "Point", "coordinates": list(AT[name])}
        else:
            assert feature["geometry"] is None
        if name != HOSTILE:  # its file has another name: a path cannot hold the slash
            assert leads_to_photo(feature["properties"]["link"], written / "out")
    kinds = [feature["properties"]["certainty"] for feature in collection["features"]]
    assert kinds == ["sure", "sure", "maybe", "estimated", None, None, "sure", None]


def test_kml(written: Path) -> None:
    root = ET.parse(written / "out" / "trip.kml").getroot()
    assert root.tag == f"{KML}kml"
    styles = {style.get("id") for style in root.iter(f"{KML}Style")}
    assert styles == {"sure", "maybe", "estimated"}
    marks = dict(zip(TRIP, root.iter(f"{KML}Placemark"), strict=True))
    for name, mark in marks.items():
        # The order that the schema asks for.
        tags = [child.tag.removeprefix(KML) for child in mark]
        order = ["name", "description", "TimeStamp", "styleUrl", "ExtendedData", "Point"]
        assert tags == [tag for tag in order if tag in tags]
        point = mark.findtext(f"{KML}Point/{KML}coordinates")
        assert (point and tuple(map(float, point.split(",")))) == AT.get(name)
        assert (mark.findtext(f"{KML}styleUrl", "#")[1:] or None) in (None, *styles)
    first = marks["1.jpg"]
    assert first.findtext(f"{KML}name") == "Colosseum"
    assert first.findtext(f"{KML}TimeStamp/{KML}when") == "2024-05-06T09:00:00+02:00"
    assert marks["4.jpg"].findtext(f"{KML}name") == "4.jpg"
    text = marks["4.jpg"].findtext(f"{KML}description")
    assert "estimated, within 30 km; position: estimated from 2.jpg (1.5 h before)" in text
    assert '<a href="../photos/4.jpg"><img src="../photos/4.jpg"' in text
    hostile = marks[HOSTILE].findtext(f"{KML}description")
    assert "<script" not in hostile and "<img src=x" not in hostile
    assert "&lt;script&gt;alert(1)" in hostile


def test_gpx(written: Path) -> None:
    root = ET.parse(written / "out" / "trip.gpx").getroot()
    assert (root.tag, root.get("version"), root.get("creator")) == (f"{GPX}gpx", "1.1", "Landmarks")
    points = dict(zip(PLACED, root.findall(f"{GPX}wpt"), strict=True))
    for name, point in points.items():
        assert (float(point.get("lon")), float(point.get("lat"))) == AT[name]
        tags = [child.tag.removeprefix(GPX) for child in point]
        order = ["time", "name", "desc", "link", "type", "extensions"]
        assert tags == [tag for tag in order if tag in tags]
    # UTC, and none where the zone is not known.
    assert points["1.jpg"].findtext(f"{GPX}time") == "2024-05-06T07:00:00Z"
    assert points["3.jpg"].find(f"{GPX}time") is None
    kinds = [point.findtext(f"{GPX}type") for point in points.values()]
    assert kinds == ["sure", "sure", "maybe", "estimated", "sure"]
    link = points["2.jpg"].find(f"{GPX}link").get("href")
    assert leads_to_photo(link, written / "out")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.gpx", f'<gpx xmlns="{GPX[1:-1]}"><wpt lat="1" lon="2"/></gpx>'),
        ("a.gpx", "<gpx>"),
        ("a.kml", f'<kml xmlns="{KML[1:-1]}"><Document/></kml>'),
        ("a.geojson", '{"type": "FeatureCollection", "features": []}'),
        ("a.geojson", '{"type":"FeatureCollection","features":[\n{"properties":{}}\n]}\n'),
        ("a.geojson", '{"type":"FeatureCollection","features":[\n{"prop'),
    ],
)
def test_somebody_elses_file_is_not_overwritten(
    name: str, text: str, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / name).write_text(text)
    assert main(TagConfig((str(photos),), model=model, out=tmp_path / name)) == 2
    assert "is not a table from this version of this command" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == text
    with pytest.raises(TableError):
        list(read_table(tmp_path / name))


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("suffix", ALL)
def test_a_second_run_adds_what_is_new(
    suffix: str, model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"tags{suffix}"
    first, *_ = sorted(path for path in photos.iterdir() if path.is_file())
    assert main(TagConfig((str(first),), model=model, out=out)) == 0
    before = list(read_table(out))
    assert main(TagConfig((str(photos),), model=model, out=out)) == 0
    rows = list(read_table(out))
    assert len(rows) == 8
    assert before[0] in rows
