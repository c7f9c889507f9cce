"""Predictions on a folder, and the archive to hand in."""

import csv
import hashlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

import train.submission
from models.files import file_digest
from models.predictor import Predictor
from tests.support.commands import ROOT
from tests.support.drawing import draw_landmark
from train.submission import SubmissionConfig, list_code, list_photos, main, pack


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos at two depths, one of them broken, and a file that is none."""
    folder = tmp_path / "photos" / "test"
    (folder / "deeper").mkdir(parents=True)
    draw_landmark(0, 1).save(folder / "b.jpg")
    draw_landmark(1, 1).save(folder / "a.png")
    draw_landmark(2, 1).save(folder / "deeper" / "c.jpg")
    (folder / "broken.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("none")
    return tmp_path / "photos"


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "one.ipynb", {"text/plain": "forty-two"})
    return folder


def write_notebook(path: Path, data: dict[str, str]) -> None:
    """A notebook of one cell with one output."""
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell("6 * 7", outputs=[output], id="one")
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"photo": "SECRET"}}}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": widgets})
    nbformat.write(notebook, path)


@pytest.fixture
def config(photos: Path, notebooks: Path, toy_model: Path, tmp_path: Path) -> SubmissionConfig:
    return SubmissionConfig(
        data=photos, model=toy_model, out=tmp_path / "hand-in.zip", notebooks=notebooks
    )


def read_archive(path: Path) -> dict[str, bytes]:
    """Name below the archive's own folder -> content."""
    with zipfile.ZipFile(path) as archive:
        assert all(name.startswith(f"{path.stem}/") for name in archive.namelist())
        return {
            name.removeprefix(f"{path.stem}/"): archive.read(name) for name in archive.namelist()
        }


def test_archive_holds_notebooks_code_results_and_sums(
    config: SubmissionConfig, photos: Path, toy_model: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(config) == 0
    output = capsys.readouterr().out
    assert "not read: broken.jpg is empty" in output
    assert file_digest(config.out) in output
    files = read_archive(config.out)
    sums = files.pop("SHA256SUMS").decode().splitlines()
    assert sums == sorted(
        (f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items()),
        key=lambda line: line.split("  ")[1],
    )
    assert b"forty-two" in files["notebooks/one.html"]
    assert b"SECRET" not in files["notebooks/one.html"]
    assert files["code/train/export.py"] == (ROOT / "train" / "export.py").read_bytes()
    assert "code/demo.py" in files

    rows = list(csv.DictReader(io.StringIO(files["results/predictions.csv"].decode())))
    assert config.out.with_suffix(".csv").read_bytes() == files["results/predictions.csv"]
    assert [row["id"] for row in rows] == ["a.png", "b.jpg", "deeper/c.jpg"]
    assert list(rows[0]) == ["id"] + [
        f"{what}_{i}" for i in range(1, 6) for what in ("label", "probability")
    ]
    predictor = Predictor.load(toy_model)
    for row in rows:
        best = predictor.classify(photos / "test" / row["id"])
        assert [row[f"label_{i}"] for i in range(1, 6)] == list(best)
        shares = [float(row[f"probability_{i}"]) for i in range(1, 6)]
        assert shares == pytest.approx(list(best.values()), abs=1e-4)
    about = json.loads(files["results/submission.json"])
    assert about["model_sha256"] == predictor.digest
    assert about["photos"] == 3
    assert list(about["unreadable"]) == ["broken.jpg"]
    assert json.loads(files["results/manifest.json"]) == predictor.manifest


def test_a_run_brings_its_figures(
    config: SubmissionConfig, finished_run: Path, photos: Path, notebooks: Path
) -> None:
    assert main(SubmissionConfig(photos, finished_run, config.out, notebooks)) == 0
    files = read_archive(config.out)
    for name in ("metrics.jsonl", "MODEL_CARD.md", "confusion.png"):
        assert files[f"results/{name}"] == (finished_run / name).read_bytes()
    header = files["results/predictions.csv"].decode().splitlines()[0]
    assert header.endswith("label_3,probability_3")  # it knows three classes
    assert not any(str(finished_run.parent).encode() in content for content in files.values())


def test_the_same_inputs_give_the_same_bytes(config: SubmissionConfig) -> None:
    assert main(config) == 0
    first = config.out.read_bytes()
    config.out.unlink()
    assert main(config) == 0
    assert config.out.read_bytes() == first


def test_no_picture_or_model_is_code() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in list_code()}
    assert {"demo.py", "train/engine/training_run.py", "README.md", "requirements.txt"} <= names
    assert not [name for name in names if name.endswith((".png", ".jpg", ".pt", ".zip"))]


def test_without_git_the_known_folders_are_code(tmp_path: Path) -> None:
    for name in (
        "demo.py",
        "models/a.py",
        "train/__pycache__/b.pyc",
        "runs/c.py",
        "data/d.txt",
        "models/e.pt",
        "models/._a.py",
        "tests/f.JPG",
        ".hidden",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    names = [path.relative_to(tmp_path).as_posix() for path in list_code(tmp_path)]
    assert names == ["demo.py", "models/a.py"]


def test_photos_are_refused(
    config: SubmissionConfig,
    photos: Path,
    notebooks: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    write_notebook(notebooks / "two.ipynb", {"image/jpeg": "aaaa"})
    assert main(config) == 1
    assert "two.ipynb: code cell 1 shows a JPEG" in capsys.readouterr().err
    (notebooks / "two.ipynb").unlink()
    disguised = tmp_path / "code.txt"
    shutil.copy(photos / "test" / "b.jpg", disguised)
    monkeypatch.setattr(train.submission, "ROOT", tmp_path)
    monkeypatch.setattr(train.submission, "list_code", lambda: [disguised])
    assert main(config) == 1
    assert "code/code.txt is the photo" in capsys.readouterr().err
    assert not config.out.exists()


def test_an_interrupted_pack_leaves_the_old_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.zip"
    out.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        pack({"a": b""}, out)
    assert out.read_text() == "old"


def test_mistakes_end_in_one_line(
    config: SubmissionConfig,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(config.model.read_bytes()[:500])
    wrong = {
        "is not a complete model file": {"model": damaged},
        "no data folder": {"data": tmp_path / "absent"},
        "no photos in": {"data": empty},
        "no model file": {"model": tmp_path / "absent.pt"},
        "no notebooks in": {"notebooks": empty},
        "must end in .zip": {"out": tmp_path / "out.tar"},
    }
    for message, change in wrong.items():
        assert main(SubmissionConfig(**vars(config) | change)) == 2
        assert message in capsys.readouterr().err
    (empty / "broken.jpg").write_bytes(b"")
    assert main(SubmissionConfig(**vars(config) | {"data": empty})) == 1
    assert "none of the 1 photos" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "nbconvert", None)
    assert main(config) == 2
    assert "a submission needs nbconvert; install: " in capsys.readouterr().err
    assert not config.out.exists()


def test_hidden_and_system_entries_are_no_photos(photos: Path) -> None:
    before = list_photos(photos)
    for name in ("._b.jpg", "deeper/@eaDir/c.jpg", ".ipynb_checkpoints/b.jpg", "__MACOSX/x.jpg"):
        (photos / "test" / name).parent.mkdir(exist_ok=True)
        (photos / "test" / name).write_bytes(b"")
    (photos / "test" / "gone.jpg").symlink_to(photos / "absent.jpg")
    assert list_photos(photos) == before


def test_a_folder_without_test_is_taken_whole(photos: Path) -> None:
    root, found = list_photos(photos / "test" / "deeper")
    assert [path.name for path in found] == ["c.jpg"]
    assert root.name == "deeper"
