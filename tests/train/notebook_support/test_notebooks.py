"""The notebooks: run to the end on drawn photos, and what is committed of them."""

import ast
import contextlib
import dataclasses
import datetime
import io
import re
import warnings
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import train.notebooks
from models.page.notebook_widget import PhotoApp, encode_preview
from models.predictor import Predictor
from tests.support.commands import ROOT
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.runs import no_program, tiny
from train.comparison.serving_cost import measure_speed
from train.engine.trainer import Trainer
from train.notebook_support import lesson
from train.notebook_support.drawn_landmarks import LANDMARKS
from train.notebook_support.drawn_photos import draw_dataset, draw_photo
from train.notebook_support.lesson import (
    open_lesson,
    share_above,
    show_answers,
    train_candidates,
    train_run,
)
from train.notebooks import LESSON, NotebooksConfig, main, run_notebook

MAX_BYTES = 1_500_000
# Of machines: none of these stands in a notebook that ran with relative paths.
FOLDERS = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|work|tmp|Users|mnt|opt|var|content|kaggle|usr|private)/|[A-Z]:\\\\"
)
LOGIC = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.IfExp, ast.While, ast.Try)


def read_notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown_text(cell: nbformat.NotebookNode) -> str:
    """What a cell printed or displayed, without pictures."""
    texts = [cell.source]
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts += [text for kind, text in output.get("data", {}).items() if "text/" in kind]
    return "\n".join(texts)


class Shell(InteractiveShell):
    """What runs cells in a kernel, here without one."""

    def enable_gui(self, gui: str | None = None) -> None:
        """There is no event loop that %matplotlib could join."""


def run_here(path: Path) -> str:
    """Run a notebook in this process, which has imported torch already; what its cells showed."""
    settings = Config()
    settings.HistoryManager.enabled = False
    shell = Shell(config=settings)  # names of another notebook are unknown to it
    shown = []
    with contextlib.chdir(path.parent), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in a kernel, whose warnings are left out
        for cell in code_cells(read_notebook(path.stem)):
            with capture_output() as captured:
                done = shell.run_cell(cell.source)
            done.raise_error()
            shown.append(captured.stdout)
            formats = shell.display_formatter.format(done.result, {"text/plain", "text/markdown"})
            shown += formats[0].values()
    return "\n".join(shown)


def test_all_run_to_the_end_on_drawn_photos(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.config.getoption("--quick"):
        pytest.skip("trains, after ten seconds of other cells")
    for variable in ("LANDMARKS_DATA", "LANDMARKS_OUTSIDE", "SM_CHANNEL_TRAINING"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LANDMARKS_LESSON", str(tmp_path / "lesson"))
    monkeypatch.setenv("LANDMARKS_EPOCHS", "1")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))  # no kernel of the user's
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr(lesson, "DRAWN_PARTS", {"train": 8, "test": 3})
    monkeypatch.setattr(lesson, "DRAWN_PX", (96, 72))
    monkeypatch.setattr(measure_speed, "__defaults__", (1, 1))  # of rounds and calls
    with matplotlib.rc_context(), no_program():
        scratch, comparison = (
            run_here(ROOT / "notebooks" / f"{name}.ipynb") for name in LESSON[:2]
        )
    assert "top-1" in scratch
    assert all(f"| {run} |" in comparison for run in ("scratch", "frozen", "fine-tuned"))
    assert "![" not in comparison  # the picture has a cell of its own, which found it
    assert "left out: the weights of resnet18 could not be fetched" in comparison
    # The last one in a kernel, for the sake of its widgets; it finds more photos to draw.
    notebook = run_notebook(ROOT / "notebooks" / f"{LESSON[2]}.ipynb")  # a cell's error is one here
    app = "\n".join(map(shown_text, code_cells(notebook)))
    assert "fine-tuned " in app  # the model of the second notebook, not the bundled one
    assert (tmp_path / "lesson" / "submission.zip").is_file()


@pytest.mark.parametrize("name", LESSON)
def test_committed_notebooks_are_whole_and_show_no_photo(name: str) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    assert path.stat().st_size < MAX_BYTES
    notebook = read_notebook(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata  # would hold what was put into the app
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert len(outputs) > 5
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [output for output in outputs if "image/jpeg" in output.get("data", {})]
    for cell in cells:
        assert not FOLDERS.search(shown_text(cell)), shown_text(cell)


@pytest.mark.parametrize("name", LESSON)
def test_notebooks_hold_no_logic(name: str) -> None:
    start, *cells = code_cells(read_notebook(name))
    assert "git clone" in start.source
    for cell in cells:
        found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)]
        assert not found, cell.source


def write_cells(path: Path, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_runs_keep_outputs_and_drop_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(train.notebooks, "FOLDER", tmp_path)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    noise = "import sys; print('bar', file=sys.stderr); print(6 * 7)"
    write_cells(tmp_path / "good.ipynb", noise, "import os; os.path.basename(os.getcwd())")
    write_cells(tmp_path / "bad.ipynb", "1 / 0")
    assert main(NotebooksConfig(("good",))) == 0
    first, second = nbformat.read(tmp_path / "good.ipynb", 4).cells
    assert [output.text for output in first.outputs] == ["42\n"]
    assert second.outputs[0].data["text/plain"] == repr(tmp_path.name)
    assert "execution" not in first.metadata
    before = (tmp_path / "bad.ipynb").read_bytes()
    assert main(NotebooksConfig(("bad",))) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert (tmp_path / "bad.ipynb").read_bytes() == before
    assert main(NotebooksConfig(("absent",))) == 2


def test_folders_of_a_machine_are_found() -> None:
    assert FOLDERS.search("written to /home/me/runs")
    assert FOLDERS.search(r"'C:\\Users\\me'")
    assert not FOLDERS.search("runs/lesson/tmp/a, https://example.org/home/x, train/test")


def test_drawn_photos_are_the_same_again_and_differ_from_each_other(tmp_path: Path) -> None:
    size = (80, 60)
    for name in LANDMARKS:
        first, again = draw_photo(name, 1, size), draw_photo(name, 1, size)
        assert first.size == size
        assert first.tobytes() == again.tobytes()
        assert first.tobytes() != draw_photo(name, 2, size).tobytes()
    names = ["Iron Tower", "White Dome"]
    root = draw_dataset(tmp_path, {"train": 3, "test": 2}, names, size)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    assert len(files) == 10
    assert "train/00.Iron_Tower/000.jpg" in files
    assert "test/01.White_Dome/004.jpg" in files  # no photo of train


def test_the_app_answers_uploads_and_says_what_is_no_photo(toy_model: Path) -> None:
    app = PhotoApp(Predictor.load(toy_model))
    photo = encode_preview(np.asarray(draw_landmark(0, 1)))

    def upload(content: bytes) -> None:
        app.upload.value = (
            {
                "name": "a.png",
                "type": "image/png",
                "size": len(content),
                "content": memoryview(content),
                "last_modified": datetime.datetime.now(datetime.UTC),
            },
        )

    upload(photo)
    best = app.classify(photo)
    assert len(best) == 5
    assert all(label in app.answer.value for label in best)
    assert f"Maybe: </span><h2>Looks like {next(iter(best))}</h2>" in app.answer.value
    assert "never sure" in app.answer.value  # the toy model was not measured on other photos
    assert app.picture.value == photo
    upload(b"<svg>")
    assert "SVG" in app.answer.value
    assert app.picture.layout.display == "none"


def test_a_lesson_resumes_and_a_finished_run_stays(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    config = tiny(landmark_photos, tmp_path / "run", epochs=2)
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_stop_asked", lambda _: steps.append(None) or len(steps) == 5)
        with pytest.raises(RuntimeError, match="status 130"):
            train_run(config)
    with no_program():
        assert train_run(config) == tmp_path / "run"
    finished = (tmp_path / "run" / "model.pt").stat().st_mtime_ns
    capsys.readouterr()
    assert train_run(config) == tmp_path / "run"
    assert (tmp_path / "run" / "model.pt").stat().st_mtime_ns == finished
    assert "run is finished; delete" in capsys.readouterr().out
    other = draw_dataset(tmp_path / "other", {"train": 2}, ["Iron Tower", "White Dome"], (80, 60))
    train_run(dataclasses.replace(config, data=other))
    assert "is finished, on other photos than these" in capsys.readouterr().out


def test_candidates_without_weights_are_named(
    landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tiny(landmark_photos, tmp_path / "run", weights=tmp_path / "absent", pretrained=True)
    assert train_candidates([config]) == []
    assert "left out: no weights file" in capsys.readouterr().out


def test_the_environment_names_the_photos(
    landmark_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDMARKS_DATA", str(landmark_photos))
    monkeypatch.setenv("LANDMARKS_OUTSIDE", str(tmp_path))
    monkeypatch.setenv("LANDMARKS_LESSON", str(tmp_path / "lesson"))
    monkeypatch.setenv("LANDMARKS_EPOCHS", "7")
    opened = open_lesson()
    assert (opened.data, opened.outside, opened.drawn) == (landmark_photos, tmp_path, False)
    assert opened.scratch == opened.transfer == {"epochs": 7}
    assert opened.model is None
    assert list(opened.folders.values()) == [landmark_photos, tmp_path]
    assert not (tmp_path / "lesson").exists()


def test_answers_are_drawn_and_counted(toy_model: Path) -> None:
    predictor = Predictor.load(toy_model)
    figure = show_answers(predictor, {"one": draw_landmark(0, 1), "two": draw_landmark(1, 1)})
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert len(texts) >= 5
    assert all(any(name in text for text in texts) for name in TOY_CLASSES[:1])
    figure.savefig(io.BytesIO())
    assert share_above("id,probability_1\na,0.9\nb,0.2\n", 0.5) == 0.5
