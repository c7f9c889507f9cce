"""What album.html says of each photo, how it is written, and what it is made of."""

import base64
import hashlib
import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from models.album_map import map_page
from models.album_map.map_page import HERE, describe, draw_thumbnail, find_misfit, write_map
from models.tag import TagConfig, main
from tests.support.album import ROME, TRIP, album_row, draw_album


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trip's map, beside the folder of its photos."""
    root = tmp_path_factory.mktemp("album")
    write_map(root / "trip.html", draw_album(root, TRIP))
    return root / "trip.html"


def embedded(page: Path) -> list[dict]:
    """What a page knows of its photos."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="photos">(.*?)</script>', text, re.DOTALL)[1])


# --- what is written ------------------------------------------------------------------------------


def test_each_photo_is_described(album: Path) -> None:
    records = {record["photo"].removeprefix("photos/"): record for record in embedded(album)}
    assert list(records) == list(TRIP)
    certainties = [record["certainty"] for record in records.values()]
    placed = ["sure", "sure", "maybe", "estimated", "unplaced", "unplaced", "sure", "unplaced"]
    assert certainties == placed
    assert records["1.jpg"]["title"] == "Colosseum"
    assert records["1.jpg"]["where"] == "Rome, Italy"
    assert records["3.jpg"]["title"] == "Looks like Colosseum"
    assert records["4.jpg"]["radius_km"] == 30.0
    assert records["4.jpg"]["source"] == "estimated from 2.jpg (1.5 h before)"
    assert records["6.jpg"]["misfit"] == "Sydney Opera House does not fit the photos around it"
    assert [name for name, record in records.items() if record["misfit"]] == ["6.jpg"]
    assert records["7.jpg"]["error"].startswith("7.jpg is empty")
    drawn = [bool(record["thumbnail"]) for record in records.values()]
    assert drawn == [True] * 7 + [False]


@pytest.mark.parametrize(
    ("level", "where"), [(None, ""), ("country", "Italy"), ("city", "Rome, Italy")]
)
def test_a_photo_without_a_landmark_says_as_much_as_is_known(level: str | None, where: str) -> None:
    row = album_row("1.jpg", "none", **ROME, place_level=level)
    record = describe(row, "1.jpg")
    assert (record["title"], record["where"]) == ("", where)


def test_a_guess_far_from_the_photos_own_position_does_not_fit() -> None:
    far = album_row("1.jpg", "maybe", **ROME, distance_km=16_000.4)
    assert find_misfit(far) == "was taken 16,000 km from Colosseum"
    assert find_misfit(album_row("1.jpg", "maybe", **ROME, distance_km=49.0)) == ""
    raised = album_row("1.jpg", "maybe", **ROME, verdict_in_album="sure")
    assert find_misfit(raised) == ""


def test_thumbnails_are_small_and_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_page, "MAX_THUMBNAILS", 3)
    rows = {"a.jpg": TRIP["5.jpg"], **{f"{i}.jpg": TRIP["1.jpg"] for i in range(4)}}
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "wide.png")
    photos = draw_album(tmp_path, rows)
    write_map(tmp_path / "map.html", photos)
    # Placed photos come first.
    drawn = [bool(record["thumbnail"]) for record in embedded(tmp_path / "map.html")]
    assert drawn == [False, True, True, True, False]
    wide = Image.open(io.BytesIO(base64.b64decode(draw_thumbnail(tmp_path / "wide.png"))))
    assert wide.size == (120, 30)


def test_a_photo_that_is_gone_has_no_thumbnail(tmp_path: Path) -> None:
    write_map(
        tmp_path / "map.html", [(tmp_path / "gone.jpg", album_row("gone.jpg", "sure", **ROME))]
    )
    (record,) = embedded(tmp_path / "map.html")
    assert (record["thumbnail"], record["certainty"]) == ("", "sure")


def test_an_interrupted_map_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "map.html").write_text("old")

    def stop(_: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(map_page, "draw_thumbnail", stop)
    with pytest.raises(KeyboardInterrupt):
        write_map(tmp_path / "map.html", draw_album(tmp_path, {"1.jpg": TRIP["1.jpg"]}))
    assert (tmp_path / "map.html").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["map.html", "photos"]


def test_licences_go_with_every_copy(album: Path) -> None:
    comment = re.search(r"<!--(.*?)-->", album.read_text(encoding="utf-8"), re.DOTALL)[1]
    for part in ("Leaflet", "supercluster", "topojson-client", "world-atlas"):
        assert f"=== {part} ===" in comment
    assert comment.count("Permission to use, copy, modify") == 3


def test_what_the_map_is_made_of_is_as_published() -> None:
    sums = re.findall(r"^[0-9a-f]{64}  \S+$", (HERE / "vendor" / "README.txt").read_text(), re.M)
    names = {line.split()[1] for line in sums}
    assert names == {path.name for path in (HERE / "vendor").iterdir()} - {"README.txt"}
    for line in sums:
        digest, name = line.split()
        assert hashlib.sha256((HERE / "vendor" / name).read_bytes()).hexdigest() == digest


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("map.pdf", "must end in .html"),
        ("no/map.html", "for --map"),
        ("is.html", "--map {}/is.html is a folder"),
    ],
)
def test_a_map_that_cannot_be_written_is_refused_first(
    name: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "is.html").mkdir()
    config = TagConfig((str(tmp_path),), out=tmp_path / "tags.csv", map=tmp_path / name)
    assert main(config) == 2
    assert error.format(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "tags.csv").exists()
