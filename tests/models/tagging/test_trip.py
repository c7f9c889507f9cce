"""The trip through the command: its columns, its flags, and the same answer however it is run."""

from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from models.album.album import COLUMNS
from models.predictor import Predictor
from models.tag import TagConfig, main
from models.tagging.photo_list import find_photos
from models.tagging.table import Row, read_table

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(autouse=True)
def unmoved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy model's scores lie so close together that a trip would raise all of them."""
    monkeypatch.setattr("models.album.trip.MAX_RISE", 0.0)


@pytest.fixture(scope="module")
def trip(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos, ten minutes apart, of which the model is sure of every other one."""
    folder = tmp_path_factory.mktemp("trip")
    predictor = Predictor.load(model)
    paths = sorted(find_photos([str(photos)]), key=lambda path: predictor.answer(path).known_score)
    ordered = [path for pair in zip(paths[4:], paths[:4], strict=True) for path in pair]
    for number, path in enumerate(ordered):
        exif = Image.Exif()
        exif[Base.Model] = "Camera"
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = (
            f"2024:05:06 1{number // 6}:{number % 6}0:00"
        )
        with Image.open(path) as image:
            image.save(folder / f"{number}.jpg", exif=exif.tobytes(), quality="keep")
    return folder


def run(model: Path, out: Path, *names: object, **flags: object) -> dict[str, Row]:
    """The command in this process: photo -> row."""
    assert main(TagConfig(tuple(map(str, names)), model=model, out=out, **flags)) == 0
    return {Path(row["photo"]).name: row for row in read_table(out)}


def test_photos_between_sure_ones_are_placed(
    model: Path, trip: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = run(model, tmp_path / "tags.csv", trip)
    said = "in the album: 4 sure, 4 others with an estimated place"
    assert said in capsys.readouterr().out.splitlines()
    assert [row["verdict_in_album"] for row in rows.values()] == ["sure", "none"] * 4
    for number, row in enumerate(rows.values()):
        assert (row["taken"][-5:], row["camera"]) == (f"{number % 6}0:00", "Camera")
        placed = number % 2 == 1
        assert (row["estimated_from"] is not None) is placed
        assert row["estimated_latitude"] == (48.8584 if placed else None)
    assert rows["1.jpg"]["estimated_from"] == (
        f"{trip.as_posix()}/0.jpg (10 min before), {trip.as_posix()}/2.jpg (10 min after)"
    )


def test_map_and_waypoints_show_estimates_as_such(model: Path, trip: Path, tmp_path: Path) -> None:
    run(model, tmp_path / "trip.gpx", trip, map=tmp_path / "trip.html")
    page = (tmp_path / "trip.html").read_text(encoding="utf-8")
    points = (tmp_path / "trip.gpx").read_text(encoding="utf-8")
    assert page.count('"certainty":"sure"') == points.count("<type>sure</type>") == 4
    assert page.count('"certainty":"estimated"') == points.count("<type>estimated</type>") == 4
    assert points.count("position: estimated from ") == 4


def test_parts_and_other_orders_give_the_same(model: Path, trip: Path, tmp_path: Path) -> None:
    whole = run(model, tmp_path / "whole.csv", trip)
    paths = sorted(trip.iterdir())
    backwards = run(model, tmp_path / "backwards.json", *paths[::-1])
    assert list(backwards) != list(whole)
    assert backwards == whole
    out = tmp_path / "parts.csv"
    first = run(model, out, *paths[1:4])
    assert first["1.jpg"]["estimated_from"] != whole["1.jpg"]["estimated_from"]
    assert run(model, out, trip) == whole


def test_no_trip(model: Path, trip: Path, tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    run(model, out, trip)
    rows = run(model, out, trip, trip=False)
    assert {row[name] for row in rows.values() for name in COLUMNS} == {None}
    assert {row["verdict"] for row in rows.values()} == {"sure", "none"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"clock_offset": ("2",)}, "such as +02:00"),
        ({"gpx": (Path("missing.gpx"),)}, "missing.gpx is no GPX track"),
        ({"trip": False, "clock_offset": ("+02:00",)}, "need the trip"),
        ({"trip": False, "estimates": True, "write": "sidecar"}, "need the trip"),
        ({"estimates": True}, "--estimates without --write"),
    ],
)
def test_mistakes(
    flags: dict,
    said: str,
    model: Path,
    trip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    assert main(TagConfig((str(trip),), model=model, out=tmp_path / "tags.csv", **flags)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
