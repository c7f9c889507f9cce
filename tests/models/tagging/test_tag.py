"""The tag command: every photo once, whatever its name, whatever happens on the way."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from models import tag as command
from models.command_line import parse_flags
from models.model_file.torchscript import rewrite_manifest
from models.photos.gps import read_position
from models.predictor import Predictor
from models.tag import EXAMPLES, TagConfig, main
from models.tagging.photo_list import find_photos
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import COLUMNS, FORMATS, read_table
from tests.support.commands import ROOT
from tests.support.drawing import draw_landmark

pytestmark = pytest.mark.usefixtures("one_process")


def run(model: Path, out: Path, *names: object, **flags: object) -> int:
    """The command in this process, without workers; test_workers.py has those."""
    settings = {"workers": 2, "model": model, "out": out} | flags
    return main(TagConfig(tuple(map(str, names)), **settings))


def test_rows_say_what_the_model_says(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(model, tmp_path / "tags.json", photos) == 0
    said = "8 photos: 8 tagged (4 sure, 0 maybe, 4 none of the landmarks), 0 could not be read"
    assert said in capsys.readouterr().out
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
    order = [row["photo"] for row in tables[".csv"]]
    tables[".gpx"].sort(key=lambda row: order.index(row["photo"]))  # waypoints come first there
    assert all(table == tables[".csv"] for table in tables.values())
    assert len(tables[".csv"]) == 8
    assert pyarrow.parquet.read_table(tmp_path / "tags.parquet").to_pylist() == tables[".csv"]
    with (tmp_path / "tags.csv").open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert list(first) == list(COLUMNS)
    assert first["known"] in ("true", "false")
    assert sorted(os.listdir(tmp_path)) == sorted(f"tags{suffix}" for suffix in FORMATS)


def test_a_map_comes_with_the_table_also_later(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, page = tmp_path / "tags.csv", tmp_path / "album.html"
    assert run(model, out, photos) == 0
    capsys.readouterr()
    assert run(model, out, photos, map=page) == 0  # of the rows that are there
    assert f"{out} and {page}" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.count('"certainty":"sure"') == sum(row["known"] for row in read_table(out)) == 4
    assert text.count('"thumbnail":"UklGR') == 8  # RIFF, as WebP begins


NAMES = [
    "é 東京.jpg",
    "a,b.jpg",
    'say "x".jpg',
    "two\nlines.jpg",
    "=1+1.jpg",
    "-a.jpg",
    "@b.jpg",
    " blank .jpg",
    "'quoted'.jpg",
    "semi;colon\ttab.jpg",
    "[a].jpg",
    "\r.jpg",
]


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


@pytest.mark.parametrize("how", ["sidecar", "embed"])
def test_a_name_that_cannot_be_printed_stops_nothing(
    how: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a pipe is cp1252: the photos after such a name got nothing."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b東京.jpg", "c.jpg"):
        draw_landmark(1, 1).save(folder / name)
    # Every photo is sure.
    path = shutil.copy(model, tmp_path / "model.pt")
    levels = {"known_threshold": -1e9, "verdicts": {"sure_threshold": -1e9}}
    rewrite_manifest(path, Predictor.load(path).manifest | levels)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "cp1252"))
    line = [str(folder), "--out", str(tmp_path / "t.csv"), "--model", str(path), "--write", how]
    for more in (["--dry-run"], []):
        assert main(parse_flags(TagConfig, "tag", args=[*line, *more])) == 0
    sys.stdout.flush()
    said = sys.stdout.buffer.getvalue().decode("cp1252")
    assert r"b\u6771\u4eac.jpg" in said
    inside = [read_position(photo.read_bytes()) for photo in folder.glob("*.jpg")]
    assert [position is not None for position in inside] == [how == "embed"] * 3
    assert len(list(folder.glob("*.xmp"))) == 3 * (how == "sidecar")


@pytest.mark.parametrize(
    ("names", "flags", "said"),
    [
        ([], {}, "name folders"),
        (["PHOTOS"], {"out": None}, "--out tags.csv"),
        (["PHOTOS"], {"out": Path("tags.xls")}, "must end in .csv, .json, .parquet"),
        (["PHOTOS"], {"out": Path("nowhere/tags.csv")}, "no folder"),
        (["PHOTOS/gone"], {}, "no photo or folder at"),
        (["PHOTOS/*.png"], {}, "no photo or folder at"),
        (["PHOTOS/**x/a"], {}, "not a valid pattern|no photo or folder"),
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
    names: list[str],
    flags: dict,
    said: str,
    model: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [name.replace("PHOTOS", str(photos)) for name in names]
    settings = {"model": model, "out": Path("tags.csv")} | flags
    assert main(TagConfig(tuple(names), **settings)) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert re.search(said, shown.err)
    assert shown.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


MISTYPED = """
import sys
from models.command_line import parse_flags
from models.tag import TagConfig, main
for line in ("gone --out tags.csv", ". --out gone/tags.csv", ". --out tags.csv --model gone.pt",
             ". --out tags.csv --model ."):
    assert main(parse_flags(TagConfig, "tag", args=line.split())) == 2, line
print(sorted({"torch", "gradio", "wandb", "ray", "pyarrow", "cv2"} & set(sys.modules)))
"""


def test_what_is_mistyped_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", MISTYPED],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.stdout == "[]\n", answer.stderr
    assert [line.split()[:3] for line in answer.stderr.splitlines()] == [
        ["error:", "no", "photo"],
        ["error:", "no", "folder"],
        ["error:", "no", "model"],
        ["error:", "no", "model.pt"],
    ]


def test_help_ends_with_examples_that_are_valid(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        parse_flags(TagConfig, prog="python -m models.tag", examples=EXAMPLES, args=["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-len(EXAMPLES) :] == [f"  {example}" for example in EXAMPLES]
    for example in EXAMPLES:
        program, *args = shlex.split(example.removeprefix("python -m "))
        assert program == "models.tag"
        assert parse_flags(TagConfig, prog=program, args=args).out is not None


def test_no_photos_leave_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert run(model, tmp_path / "tags.csv", tmp_path / "photos") == 2
    assert os.listdir(tmp_path) == ["photos"]


def test_a_finished_table_takes_what_is_new(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "tags.parquet"
    (folder / "later.jpg").touch()
    assert run(model, out, folder) == 0
    rows = list(read_table(out))
    draw_landmark(0, 50).save(folder / "00.jpg")
    draw_landmark(0, 51).save(folder / "later.jpg")
    done, tag_photos = [], command.tag_photos

    def noted(paths: object, *rest: object) -> object:
        for path, row in tag_photos(paths, *rest):
            done.append(Path(path).name)
            yield path, row

    monkeypatch.setattr(command, "tag_photos", noted)
    assert run(model, out, folder) == 0
    assert done == ["00.jpg", "later.jpg"]
    again = list(read_table(out))
    assert again[:8] == [row for row in rows if row["error"] is None]
    assert [Path(row["photo"]).name for row in again[8:]] == done
    assert again[-1]["error"] is None


def test_foreign_tables_stay(
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


@pytest.mark.parametrize("how", ["sidecar", "embed"])
def test_places_are_listed_written_and_undone(
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
    assert sum(f"{path} (sure, score " in shown for path in known) == 3
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
