"""Verdicts in the table, what they let through to --write, and what a photo's position changes."""

import csv
import os
import shutil
from pathlib import Path

import pyarrow
import pytest

from models.model_file.torchscript import rewrite_manifest
from models.predictor import Predictor
from models.tag import TagConfig, main
from models.tagging.photo_list import find_photos
from models.tagging.ray_tagging import TagBatch
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import COLUMNS, TableError, read_table
from models.tagging.tagger import Tagger
from tests.support.bad_photos import encode
from tests.support.drawing import draw_landmark
from tests.support.placed_model import with_position

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def judging(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that is sure of two photos, takes two for maybe, and knows four not."""
    path = shutil.copy(model, tmp_path_factory.mktemp("judging") / "model.pt")
    predictor = Predictor.load(path)
    scores = sorted(predictor.answer(photo).known_score for photo in find_photos([str(photos)]))
    verdicts = {"sure_threshold": (scores[5] + scores[6]) / 2}
    rewrite_manifest(path, predictor.manifest | {"verdicts": verdicts})
    return path


@pytest.fixture(scope="module")
def earlier(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a version that had no verdicts."""
    path = shutil.copy(model, tmp_path_factory.mktemp("earlier") / "model.pt")
    manifest = Predictor.load(path).manifest
    rewrite_manifest(path, {key: manifest[key] for key in manifest if key != "verdicts"})
    return path


def run(model: Path, out: Path, folder: Path, **flags: object) -> int:
    """The command in this process."""
    return main(TagConfig((str(folder),), model=model, out=out, **flags))


def test_the_table_begins_with_the_verdict(judging: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    assert run(judging, out, photos) == 0
    with out.open(newline="") as file:
        header = next(csv.reader(file))
    assert header[:3] == ["photo", "verdict", "landmark"]
    place = ["place", "city", "country", "country_code", "latitude", "longitude", "distance_km"]
    assert header[3:10] == place
    guesses = [f"{what}_{rank}" for rank in range(1, 6) for what in ("label", "probability")]
    assert header[10:20] == guesses
    assert header[20:23] == ["known", "known_score", "box_left"]
    rows = list(read_table(out))
    assert sorted(row["verdict"] for row in rows) == ["maybe"] * 2 + ["none"] * 4 + ["sure"] * 2
    for row in rows:
        assert row["landmark"] == (row["label_1"] if row["verdict"] == "sure" else None)
        assert row["known"] is (row["verdict"] != "none")
        assert (row["place"] is not None) is row["known"]


@pytest.mark.parametrize(("include_maybe", "written"), [(False, 2), (True, 4)])
def test_only_what_is_sure_is_written_unless_told(
    include_maybe: bool, written: int, judging: Path, photos: Path, tmp_path: Path
) -> None:
    folder, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "tags.csv"
    assert run(judging, out, folder, write="sidecar", include_maybe=include_maybe) == 0
    wanted = {"sure", "maybe"} if include_maybe else {"sure"}
    expected = {f"{row['photo']}.xmp" for row in read_table(out) if row["verdict"] in wanted}
    assert {path.as_posix() for path in folder.rglob("*.xmp")} == expected
    assert len(expected) == written


def test_a_dry_run_shows_scores_by_folder(
    judging: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "tags.csv"
    predictor = Predictor.load(judging)
    known = next(path for path in find_photos([str(folder)]) if predictor.answer(path).known)
    # It is found first, and listed after the photos of the folder above.
    (folder / "0").mkdir()
    shutil.move(known, folder / "0")
    flags = {"write": "sidecar", "dry_run": True, "include_maybe": True}
    assert run(judging, out, folder, **flags) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sidecar ")]
    rows = {Path(row["photo"]): row for row in read_table(out) if row["known"]}
    shown = sorted(rows, key=lambda path: (path.parent, path.name))
    assert len(lines) == 4
    assert shown != list(rows)
    for line, path in zip(lines, shown, strict=True):
        row = rows[path]
        assert f"{path} ({row['verdict']}, score {row['known_score']:.2f}): " in line


def test_a_file_of_an_earlier_version_is_never_sure(
    earlier: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "tags.csv"
    assert run(earlier, out, photos, write="sidecar", dry_run=True) == 0
    assert "--include-maybe writes what it takes for a landmark" in capsys.readouterr().out
    rows = list(read_table(out))
    assert sorted(row["verdict"] for row in rows) == ["maybe"] * 4 + ["none"] * 4
    assert {row["landmark"] for row in rows} == {None}
    assert run(earlier, out, photos, write="sidecar", dry_run=True, include_maybe=True) == 0
    assert "places would go into 0 photos and 4 sidecars" in capsys.readouterr().out


def test_a_model_without_places_says_why_nothing_is_written(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = shutil.copy(model, tmp_path / "model.pt")
    rewrite_manifest(path, Predictor.load(path).manifest | {"places": {}})
    assert run(path, tmp_path / "tags.csv", photos, write="sidecar", dry_run=True) == 0
    assert "knows no places, so none are written: add landmarks.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("latitude", "longitude", "verdict"),
    [(48.9, 2.3, "sure"), (48.86, 2.97, "sure"), (48.86, 2.99, "maybe"), (-33.9, 151.2, "maybe")],
)
def test_a_photo_from_afar_is_not_sure(
    latitude: float, longitude: float, verdict: str, judging: Path, photos: Path, tmp_path: Path
) -> None:
    tagger = Tagger(Predictor.load(judging))
    best = max(find_photos([str(photos)]), key=lambda photo: tagger.tag(photo)["known_score"])
    at_home = tagger.tag(best)
    assert (at_home["verdict"], at_home["distance_km"]) == ("sure", None)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(with_position(Path(best).read_bytes(), latitude, longitude))
    row = tagger.tag(str(photo))
    assert row["known_score"] == at_home["known_score"]
    assert row["verdict"] == verdict
    assert (row["landmark"] is None) is (verdict == "maybe")
    assert (row["distance_km"] > 50) is (verdict == "maybe")
    assert row["place"] == "Tour Rouge"


def test_a_worker_of_a_cluster_judges_the_same(judging: Path, photos: Path, tmp_path: Path) -> None:
    tagger = Tagger(Predictor.load(judging))
    paths = list(find_photos([str(photos)]))
    best = max(paths, key=lambda photo: tagger.tag(photo)["known_score"])
    afar = tmp_path / "afar.jpg"
    afar.write_bytes(with_position(Path(best).read_bytes(), -33.9, 151.2))
    paths.append(str(afar))
    names = [os.fsencode(path) for path in paths]
    worker = TagBatch(str(judging), None, str(tmp_path))
    rows = worker(pyarrow.table({"path": names, "found_as": names})).to_pylist()
    assert rows == [tagger.tag(path) for path in paths]
    assert {row["verdict"] for row in rows} == {"sure", "maybe", "none"}
    assert (rows[-1]["verdict"], rows[-1]["landmark"]) == ("maybe", None)
    assert rows[-1]["distance_km"] > 50


def test_no_distance_without_a_known_landmark(judging: Path, tmp_path: Path) -> None:
    tagger = Tagger(Predictor.load(judging))
    photo = tmp_path / "photo.jpg"
    for variant in range(40):
        jpeg = encode(draw_landmark(variant % 6, variant), "JPEG")
        photo.write_bytes(with_position(jpeg, 10.0, 10.0))
        row = tagger.tag(str(photo))
        assert (row["distance_km"] is None) is (row["verdict"] == "none")


@pytest.mark.parametrize("flag", ["include_maybe", "dry_run", "overwrite_gps"])
def test_flags_of_writing_need_it(
    flag: str, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(model, tmp_path / "tags.csv", photos, **{flag: True}) == 2
    assert f"--{flag.replace('_', '-')} without --write" in capsys.readouterr().err


def test_a_table_of_an_earlier_version_is_refused(
    judging: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "tags.csv"
    out.write_text("photo,label_1,known\na.jpg,Red Tower,true\n")
    assert run(judging, out, photos) == 2
    assert "not a table from this version of this command; delete it" in capsys.readouterr().err


def test_a_run_that_an_earlier_version_began_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tags.csv"
    columns = {name: kind for name, kind in COLUMNS.items() if name != "verdict"}
    with monkeypatch.context() as patch:
        patch.setattr("models.tagging.resumable_table.COLUMNS", columns)
        patch.setattr(ResumableTable, "counts", lambda _: type("C", (), {"photos": 1}))
        with ResumableTable(out, "digest") as table:
            table.add([("a.jpg", dict.fromkeys(columns, "1"))])
    with pytest.raises(TableError, match=r"begun by another version .* delete it"):
        ResumableTable(out, "digest")
