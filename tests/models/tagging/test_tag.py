"""The tag command: every photo once, whatever its name, whatever happens on the way."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet
import pytest

from models.model_file.torchscript import rewrite_manifest
from models.photos.position import read_position
from models.predictor import Predictor
from models.tag import TagConfig, main
from models.tagging import workers
from models.tagging.photo_list import find_photos
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import COLUMNS, FORMATS, Row, read_table
from models.tagging.tagger import Tagger
from models.tagging.workers import tag_photos
from tests.support.commands import ROOT, STARTED
from tests.support.drawing import draw_landmark

PLACE = {
    "name": "Tour Rouge", "kind": "tower", "city": "Paris", "country": "FR",
    "latitude": 48.8584, "longitude": 2.2945, "wikidata": "Q243",
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos, two of them further down."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deep" / "er").mkdir(parents=True)
    for variant in range(8):
        place = folder / "deep" / "er" if variant > 5 else folder
        draw_landmark(variant % 3, variant).save(place / f"{variant}.jpg")
    return folder


@pytest.fixture(scope="module")
def model(toy_model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model with places, and a threshold that half of the photos reach."""
    path = shutil.copy(toy_model, tmp_path_factory.mktemp("model") / "model.pt")
    predictor = Predictor.load(path)
    answers = [predictor.answer(photo) for photo in find_photos([str(photos)])]
    scores = sorted(answer.known_score for answer in answers)
    manifest = predictor.manifest | {
        "known_threshold": (scores[3] + scores[4]) / 2,
        "places": {label: PLACE for label in predictor.class_names},
    }
    rewrite_manifest(path, manifest)
    return path


def run(model: Path, out: Path, *names: object, **flags: object) -> int:
    """The command in this process, with two workers."""
    settings = {"workers": 2, "model": model, "out": out} | flags
    return main(TagConfig(tuple(map(str, names)), **settings))


def many(folder: Path, count: int) -> Path:
    """A folder of one small photo under many names."""
    folder.mkdir()
    draw_landmark(0, 0).save(folder / "00000.jpg")
    for number in range(1, count):
        os.link(folder / "00000.jpg", folder / f"{number:05}.jpg")
    return folder


def test_rows_say_what_the_model_says(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(model, tmp_path / "tags.json", photos) == 0
    assert "8 photos: 8 tagged (4 not a known landmark), 0 could not be" in capsys.readouterr().out
    rows = json.loads((tmp_path / "tags.json").read_text(encoding="utf-8"))
    assert [row["photo"] for row in rows] == list(find_photos([photos.as_posix()]))
    predictor = Predictor.load(model)
    for row in rows:
        answer = predictor.answer(row["photo"])
        assert [row[f"label_{i}"] for i in range(1, 6)] == list(answer.probabilities)
        said = [row[f"probability_{i}"] for i in range(1, 6)]
        assert said == pytest.approx(list(answer.probabilities.values()), abs=1e-5)
        assert row["known"] is answer.known
        assert row["known_score"] == pytest.approx(answer.known_score, abs=1e-5)
        assert row["latitude"] == (48.8584 if answer.known else None)
        assert row["country"] == ("France" if answer.known else None)
        assert row["place"] == ("Tour Rouge" if answer.known else None)
        if (box := answer.boxes[0]) is not None:
            sides = [row[f"box_{side}"] for side in ("left", "top", "width", "height")]
            assert sides == pytest.approx([box.left, box.top, box.width, box.height], abs=1e-5)
        assert (row["model"], row["model_digest"]) == ("toy", predictor.digest)
        assert row["error"] is None


def test_all_formats_hold_the_same(model: Path, photos: Path, tmp_path: Path) -> None:
    tables = {}
    for suffix in FORMATS:
        assert run(model, tmp_path / f"tags{suffix}", photos) == 0
        tables[suffix] = list(read_table(tmp_path / f"tags{suffix}"))
    assert tables[".csv"] == tables[".json"] == tables[".parquet"]
    assert len(tables[".csv"]) == 8
    assert pyarrow.parquet.read_table(tmp_path / "tags.parquet").to_pylist() == tables[".csv"]
    with (tmp_path / "tags.csv").open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert list(first) == list(COLUMNS)
    assert first["known"] in ("true", "false")
    assert sorted(os.listdir(tmp_path)) == ["tags.csv", "tags.json", "tags.parquet"]


NAMES = [
    "é 東京.jpg", "a,b.jpg", 'say "x".jpg', "two\nlines.jpg", "=1+1.jpg", "-a.jpg", "@b.jpg",
    " blank .jpg", "'quoted'.jpg", "semi;colon\ttab.jpg", "[a].jpg", "\r.jpg",
]  # fmt: skip


def test_names_come_back_as_they_were(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for name in NAMES:
        draw_landmark(1, 1).save(tmp_path / "photos" / name, "JPEG")
    no_text = os.fsencode(tmp_path / "photos") + b"/no\xfftext.jpg"
    shutil.copy(tmp_path / "photos" / "a,b.jpg", no_text)
    monkeypatch.chdir(tmp_path / "photos")
    for suffix in FORMATS:
        out = tmp_path / f"tags{suffix}"
        names = [f"./{name}" for name in sorted(os.listdir("."))]
        assert run(model, out, *names) == 0
        assert run(model, out, ".") == 0  # the same photos by other names
        found = [row["photo"] for row in read_table(out)]
        assert sorted(found) == sorted([*NAMES, r"no\udcfftext.jpg"])
    with (tmp_path / "tags.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.DictReader(file) for cell in row.values()]
    assert "two\nlines.jpg" in cells
    assert "'=1+1.jpg" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@", "-a"))]


def test_folders_patterns_and_lists(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    for name in (".hidden.jpg", "notes.txt", "deep/.git/a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "deep" / "round").symlink_to(folder)
    (folder / "nowhere.jpg").symlink_to(folder / "gone.jpg")
    (folder / "itself").symlink_to(folder / "itself")
    monkeypatch.chdir(folder)
    top, deep = [f"{i}.jpg" for i in range(6)], ["deep/er/6.jpg", "deep/er/7.jpg"]
    under = [f"./{name}" for name in [*top, *deep, "nowhere.jpg"]]
    assert list(find_photos(["."])) == under
    assert list(find_photos([".", str(folder), "deep"])) == under  # no folder twice
    (folder / "deep" / "round").unlink()
    assert list(find_photos(["*"])) == [*top, *deep, "nowhere.jpg"]
    assert list(find_photos(["**/[67].jpg"])) == deep
    assert list(find_photos(["notes.txt", "0.jpg"])) == ["notes.txt", "0.jpg"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf0.jpg\r\n\ngone.jpg\ndeep")
    assert list(find_photos([f"@{tmp_path / 'list.txt'}"])) == ["0.jpg", "gone.jpg", *deep]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1.jpg\n*.jpg\n")))
    assert list(find_photos(["-"])) == ["1.jpg", "*.jpg"]


def test_photos_that_cannot_be_read_are_listed(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "list.txt").write_bytes(b"0.jpg\0\n" + os.fsencode(tmp_path / "gone.jpg"))
    out = tmp_path / "tags.csv"
    assert run(model, out, tmp_path, f"@{tmp_path / 'list.txt'}", photos / "0.jpg") == 0
    rows = list(read_table(out))
    bad, good = rows[:-1], rows[-1]
    for row, why in zip(bad, ("empty", "text file", "extension", "exist"), strict=True):
        assert why in row["error"]
        assert row["label_1"] is row["known"] is row["latitude"] is None
    assert good["error"] is None
    shown = capsys.readouterr()
    assert "5 photos: 1 tagged" in shown.out
    assert "4 could not be read" in shown.out
    assert shown.err.count("could not be read: ") == 4
    assert run(model, tmp_path / "none.csv", tmp_path) == 1


@pytest.mark.parametrize(
    ("names", "flags", "said"),
    [
        ([], {}, "name folders"),
        (["PHOTOS"], {"out": None}, "--out tags.csv"),
        (["PHOTOS"], {"out": Path("tags.xls")}, "must end in .csv, .json, .parquet"),
        (["PHOTOS"], {"out": Path("nowhere/tags.csv")}, "no folder"),
        (["PHOTOS/gone"], {}, "no photo or folder at"),
        (["PHOTOS/*.png"], {}, "no photo or folder at"),
        (["PHOTOS/**x/a"], {}, "no p"),
        (["@gone.txt"], {}, "no list at gone.txt"),
        (["PHOTOS"], {"workers": 0}, "--workers"),
        (["PHOTOS"], {"artifact": "a/b/c"}, "exclude"),
        (["PHOTOS"], {"model": Path("gone.pt")}, "no model file"),
        (["PHOTOS"], {"dry_run": True}, "--write sidecar"),
        (["PHOTOS"], {"undo": Path("a.journal")}, "--undo takes neither"),
        ([], {"undo": Path("a.journal"), "out": None}, "journal"),
    ],
)
def test_bad_arguments_are_one_line(
    names: list[str], flags: dict, said: str, model: Path, photos: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names = [name.replace("PHOTOS", str(photos)) for name in names]
    settings = {"model": model, "out": Path("tags.csv")} | flags
    assert main(TagConfig(tuple(names), **settings)) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_no_photos_leave_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert run(model, tmp_path / "tags.csv", tmp_path / "photos") == 2
    assert os.listdir(tmp_path) == ["photos"]


def start(model: Path, out: Path, *names: object) -> subprocess.Popen:
    """The command in a process group of its own."""
    command = [sys.executable, "-m", "models.tag", *names, "--out", out, "--model", model]
    process = subprocess.Popen(
        [*map(str, command), "--workers", "2"], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    STARTED.append(process)
    return process


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Poll, while a process runs."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_stopped_and_killed_runs_go_on(model: Path, tmp_path: Path) -> None:
    photos, out = many(tmp_path / "photos", 900), tmp_path / "tags.csv"
    log = tmp_path / "tags.csv.partial-wal"
    digest, before = Predictor.load(model).digest, 0
    for number in (signal.SIGINT, signal.SIGKILL):
        process = start(model, out, photos)
        wait_until(lambda: log.exists() and log.stat().st_size > 300_000, process)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        # A terminal sends Ctrl-C to the workers too.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=30)
        if number == signal.SIGKILL:
            assert process.returncode == -number
        else:
            assert process.returncode == 130
            assert errors.splitlines()[-1] == "stopped; the same line again goes on"
        assert "Traceback" not in errors
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
        assert not out.exists()
        with ResumableTable(out, digest) as work:
            assert before < work.counts().photos < 900
            before = work.counts().photos
    assert run(model, out, photos) == 0
    assert [row["photo"] for row in read_table(out)] == list(find_photos([photos.as_posix()]))
    assert sorted(os.listdir(tmp_path)) == ["photos", "tags.csv"]


def test_a_terminated_run_goes_on(
    model: Path, photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    def cut(paths: object, *rest: object) -> object:
        for number, each in enumerate(tag_photos(paths, *rest)):
            if number == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield each

    out, before = tmp_path / "tags.csv", signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr("models.tag.tag_photos", cut)
        assert run(model, out, photos) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err.endswith("stopped; the same line again goes on\n")
    assert os.listdir(tmp_path) == ["tags.csv.partial"]
    with ResumableTable(out, Predictor.load(model).digest) as work:
        assert work.counts().photos == 5
    assert run(model, out, photos) == 0
    assert len(list(read_table(out))) == 8


def test_a_finished_table_takes_what_is_new(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "tags.parquet"
    (folder / "later.jpg").touch()
    assert run(model, out, folder) == 0
    rows = list(read_table(out))
    draw_landmark(0, 50).save(folder / "00.jpg")
    draw_landmark(0, 51).save(folder / "later.jpg")
    done = []

    def noted(paths: object, *rest: object) -> object:
        for path, row in tag_photos(paths, *rest):
            done.append(Path(path).name)
            yield path, row

    monkeypatch.setattr("models.tag.tag_photos", noted)
    assert run(model, out, folder) == 0
    assert done == ["00.jpg", "later.jpg"]
    again = list(read_table(out))
    assert again[:8] == [row for row in rows if row["error"] is None]
    assert [Path(row["photo"]).name for row in again[8:]] == done
    assert again[-1]["error"] is None


def test_tables_of_others_stay(
    model: Path, toy_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "tags.csv"
    assert run(model, out, photos) == 0
    table = out.read_bytes()
    assert run(toy_model, out, photos) == 2
    assert "of another model, toy " in capsys.readouterr().err
    with ResumableTable(out, Predictor.load(model).digest):
        assert run(model, out, photos) == 2
        assert "another run" in capsys.readouterr().err
    (tmp_path / "tags.csv.partial").unlink()
    assert out.read_bytes() == table
    for name, text in (("tags.csv", "a,b\n1,2\n"), ("tags.csv.partial", "x" * 5000)):
        (tmp_path / name).write_text(text)
        assert run(model, out, photos) == 2
        assert "delete it" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == text
        (tmp_path / name).unlink()


def deadly_chunk(paths: list[str]) -> list[Row]:
    """What a worker does, but photos of some names kill it."""
    if any("deadly" in path for path in paths):
        os.kill(os.getpid(), signal.SIGKILL)
    return workers._tag_chunk(paths)


def test_photos_that_kill_their_worker(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = many(tmp_path / "photos", 60)
    for number in (7, 8):
        (folder / f"{number:05}.jpg").rename(folder / f"{number:05} deadly.jpg")
    monkeypatch.setattr(workers, "_tag_chunk", deadly_chunk)
    rows = list(tag_photos(find_photos([str(folder)]), Tagger(Predictor.load(model)), 2))
    assert [path for path, _ in rows] == list(find_photos([str(folder)]))
    for path, row in rows:
        assert row["photo"] == path
        assert ("killed the process" in str(row["error"])) == ("deadly" in path)
        assert (row["label_1"] is None) == ("deadly" in path)


def test_a_model_that_is_gone_is_said(model: Path, photos: Path, tmp_path: Path) -> None:
    path = shutil.copy(model, tmp_path / "model.pt")
    tagger = Tagger(Predictor.load(path))
    path.unlink()
    with pytest.raises(workers.WorkerError, match="no model file"):
        list(tag_photos(find_photos([str(photos)]), tagger, 2))


def steady(model: Path, folder: Path, out: Path, count: int) -> None:
    """Memory of this process and its workers at a third and at the end of many photos."""
    tagger, used = Tagger(Predictor.load(model)), []
    me = psutil.Process()
    with ResumableTable(out, tagger.predictor.digest) as work:
        new = filter(work.claim, find_photos([str(folder)]))
        for number, (path, row) in enumerate(tag_photos(new, tagger, 2), 1):
            work.add([(path, row)])
            if number in (count // 3, count):
                all_of_us = [me, *me.children(recursive=True)]
                used.append(sum(each.memory_info().rss for each in all_of_us) / 1e6)
        assert work.counts().photos == count
    assert len(used) == 2
    assert used[1] - used[0] < 20, f"{used} MB"


def test_memory_is_steady(model: Path, tmp_path: Path) -> None:
    steady(model, many(tmp_path / "photos", 1500), tmp_path / "tags.csv", 1500)


@pytest.mark.slow
def test_memory_is_steady_over_100_000_photos(model: Path, tmp_path: Path) -> None:
    for part in range(10):  # a file system allows 65,000 names of one file
        many(tmp_path / f"photos{part}", 10_000)
    steady(model, tmp_path, tmp_path / "tags.csv", 100_000)


@pytest.mark.parametrize("how", ["sidecar", "embed"])
def test_places_are_listed_written_and_taken_back(
    how: str, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "tags.csv"
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    count = "4 photos and 0 sidecars" if how == "embed" else "0 photos and 4 sidecars"
    assert run(model, out, folder, write=how, dry_run=True) == 0
    assert f"places would go into {count}; 0 left alone" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert run(model, out, folder, write=how) == 0
    shown = capsys.readouterr().out
    assert f"places went into {count}; 0 left alone" in shown
    assert f"--undo {out}.journal" in shown
    rows = [row for row in read_table(out) if row["known"]]
    known = [Path(row["photo"]) for row in rows]
    assert len(known) == 4
    sure = sorted(row["known_score"] for row in rows)[1]
    assert run(model, out, folder, write=how, dry_run=True, overwrite_gps=True, min_score=sure) == 0
    shown = capsys.readouterr().out
    assert sum(f"{path}: " in shown for path in known) == 3
    for path in before:
        assert (b"Tour Rouge" in path.read_bytes()) == (how == "embed" and path in known)
        sidecar = path.with_name(f"{path.name}.xmp")
        assert sidecar.exists() == (how == "sidecar" and path in known)
    if how == "embed":
        position = read_position(known[0])
        assert (position.latitude, position.longitude) == pytest.approx((48.8584, 2.2945))
    assert run(model, None, undo=Path(f"{out}.journal")) == 0
    assert "4 files are as they were" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
