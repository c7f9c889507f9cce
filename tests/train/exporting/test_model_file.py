"""From a run folder to a model file: what the file records, and the gate it has to pass."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import models.model_file.torchscript
import train.exporting.confidence
import train.exporting.known_score
from models.model_file.archive import has_twin, read_extra
from models.model_file.engine import Outputs
from models.model_file.onnx_twin import OnnxTwin
from models.model_file.torchscript import TorchScriptEngine
from models.photos import read_photo
from models.predictor import Predictor
from tests.support.drawing import draw_landmark
from train.export import ExportConfig, main
from train.exporting.model_file import export_run
from train.exporting.parity import Parity, ParityError


@pytest.fixture
def run_dir(finished_scratch: Path, tmp_path: Path) -> Path:
    """A run folder to export again."""
    folder = tmp_path / "run"
    shutil.copytree(finished_scratch, folder)
    return folder


def test_all_that_is_written_says_the_same(finished_scratch: Path) -> None:
    folder = finished_scratch
    manifest = json.loads((folder / "manifest.json").read_text())
    predictor = Predictor.load(folder / "model.pt")
    extra = {"manifest.json": ""}
    program = torch.export.load(folder / "model.pt2", extra_files=extra)
    assert manifest == predictor.manifest == json.loads(extra["manifest.json"])
    assert {"val/photos", "val/top1", "val/ece", "eager_top1", "flips"} <= set(manifest["metrics"])
    split = json.loads((folder / "split.json").read_text())
    for name in split["val"][:3]:
        image = read_photo(Path(split["root"]) / name, predictor.side_px)
        images = image.transpose(2, 0, 1)[None]
        np.testing.assert_allclose(
            program.module()(torch.tensor(images)).detach(),
            predictor.probabilities(images),
            atol=1e-5,
        )
    assert (folder / "model.onnx").read_bytes() == read_extra(folder / "model.pt", "model.onnx")
    assert not list(folder.glob(".*"))


def test_a_file_that_scores_differently_is_not_kept(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    files = ("model.pt", "model.onnx", "model.pt2", "manifest.json", "predictions.csv")
    before = {name: (run_dir / name).read_bytes() for name in files}
    right = train.exporting.confidence.eager_outputs

    def wrong(*parts: object) -> tuple:
        logits, features = right(*parts)
        return -logits, features

    monkeypatch.setattr(train.exporting.confidence, "eager_outputs", wrong)
    assert main(ExportConfig(run_dir)) == 1
    assert "error: the model file disagrees" in capsys.readouterr().err
    assert {name: (run_dir / name).read_bytes() for name in files} == before
    assert not list(run_dir.glob(".*")) and not list(run_dir.glob("*partial*"))


def test_a_twin_that_scores_differently_is_not_kept(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = {name: (run_dir / name).read_bytes() for name in ("model.pt", "model.onnx")}
    right = OnnxTwin.answer

    def wrong(*parts: object) -> Outputs:
        found = right(*parts)
        return found._replace(probabilities=found.probabilities + 2e-4)

    monkeypatch.setattr(OnnxTwin, "answer", wrong)
    assert main(ExportConfig(run_dir)) == 1
    assert "error: the ONNX twin disagrees with the model file" in capsys.readouterr().err
    assert {name: (run_dir / name).read_bytes() for name in before} == before


def test_a_network_that_cannot_be_exported_has_no_twin(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(models.model_file.torchscript, "export_twin", fail)
    assert main(ExportConfig(run_dir)) == 0
    shown = capsys.readouterr().out
    assert "no ONNX twin: this network cannot be exported (no such operator); " in shown
    assert not has_twin(run_dir / "model.pt")
    assert not (run_dir / "model.onnx").exists()  # that of the earlier export
    assert isinstance(Predictor.load(run_dir).engine, TorchScriptEngine)


def test_export_calibrates_locates_and_learns_what_is_outside(
    run_dir: Path,
    finished_scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    plain = Predictor.load(finished_scratch / "model.pt")
    assert plain.manifest["known"] == {}
    assert plain.manifest["known_threshold"] is not None
    assert plain.manifest["temperature"] != 1.0
    assert plain.place("Red Tower") is None

    outside, data = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    for number in range(8):
        draw_landmark(4, number).save(outside / f"{number}.png")
    split = json.loads((run_dir / "split.json").read_text())
    shutil.copytree(split["root"], data)
    (data / "landmarks.csv").write_text("class_name,latitude,longitude\nRed Tower,48.85,2.29\n")
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"data": str(data)}))
    written = ["model.pt", "model.pt2", "manifest.json", "MODEL_CARD.md", "predictions.csv"]
    written += ["calibration.png", "confusion.png"]
    for name in written:
        (run_dir / name).unlink()

    monkeypatch.setattr(train.exporting.known_score, "MIN_PHOTOS", 2)
    monkeypatch.setattr(train.exporting.known_score, "FOLDS", 2)
    assert main(ExportConfig(run_dir, (outside,))) == 0
    assert f"exported {run_dir / 'model.pt'}: validation top-1" in capsys.readouterr().out
    assert all((run_dir / name).is_file() for name in written)
    taught = Predictor.load(run_dir / "model.pt")
    assert taught.place("Red Tower").latitude == 48.85
    assert taught.place("Green Castle") is None
    assert taught.manifest["known"]["outside_photos"] == 4  # half A
    photo = outside / "1.png"
    assert taught.answer(photo).known_score != plain.answer(photo).known_score
    assert taught.classify(photo) == plain.classify(photo)
    assert str(outside) not in (run_dir / "manifest.json").read_text()
    assert "learned from 4 photos" in (run_dir / "MODEL_CARD.md").read_text()
    with pytest.raises(ValueError, match="no folder of outside photos"):
        export_run(run_dir, [tmp_path / "absent"])


def test_mistakes_are_told_before_anything_is_loaded(
    finished_scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(train.exporting.model_file, "export_run", pytest.fail)
    for message, config in {
        "train first, or name a run folder": ExportConfig(tmp_path),
        "no folder of outside photos": ExportConfig(finished_scratch, (tmp_path / "absent",)),
        "no photos in": ExportConfig(finished_scratch, (tmp_path,)),
    }.items():
        assert main(config) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_parity_gate_bounds() -> None:
    Parity(photos=1000, eager_top1=0.9, file_top1=0.902, flips=5).check()
    Parity(photos=3, eager_top1=1 / 3, file_top1=2 / 3, flips=1).check()
    Parity(1000, 0.9, 0.9, 0, twin_flips=0, twin_difference=1e-5).check()
    for bad in (
        Parity(photos=1000, eager_top1=0.9, file_top1=0.897, flips=3),
        Parity(photos=1000, eager_top1=0.9, file_top1=0.9, flips=6),
        Parity(photos=3, eager_top1=1.0, file_top1=1 / 3, flips=2),
        Parity(1000, 0.9, 0.9, 0, twin_flips=1, twin_difference=1e-6),
        Parity(1000, 0.9, 0.9, 0, twin_flips=0, twin_difference=2e-4),
        Parity(1000, 0.9, 0.9, 0, twin_flips=0, twin_difference=float("nan")),
    ):
        with pytest.raises(ParityError):
            bad.check()
