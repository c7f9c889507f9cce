"""Scoring a model file on a test folder."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TOY_CLASSES, draw_landmark

from models.predictor import Predictor
from train.evaluate import EvaluateConfig, main


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, name in enumerate(TOY_CLASSES[:3]):
        folder = tmp_path / "photos" / "test" / f"{label}.{name.replace(' ', '_')}"
        folder.mkdir(parents=True)
        for variant in range(3):
            draw_landmark(label, variant).save(folder / f"{variant}.png")
    return tmp_path / "photos"


def test_figures_are_those_of_the_file(
    photos: Path, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (photos / "test" / "0.Red_Tower" / "broken.jpg").write_bytes(b"")
    model = tmp_path / "model.pt"
    shutil.copy(toy_model, model)
    before = Predictor.load(model)
    out, log = tmp_path / "out", tmp_path / "LOG.md"
    config = EvaluateConfig(data=photos, out=out, model=model, record=True, log=log)
    assert main(config) == 0
    hits = sum(
        next(iter(before.classify(path))) == name
        for name in TOY_CLASSES[:3]
        for path in (photos / "test").glob(f"*{name.replace(' ', '_')}/*.png")
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["top1"] == pytest.approx(hits / 9)
    assert metrics["photos"] == 9
    assert len(metrics["unreadable"]) == 1
    low, high = metrics["top1_interval_95"]
    assert low <= metrics["top1"] <= high
    assert len(list(csv.DictReader((out / "photos.csv").read_text().splitlines()))) == 9
    assert "9 photos" in capsys.readouterr().out

    after = Predictor.load(model)
    assert after.digest[:12] in log.read_text()
    assert after.manifest["metrics"]["test/top1"] == metrics["top1"]
    assert after.manifest["metrics"]["val/top1"] == before.manifest["metrics"]["val/top1"]
    images = torch.randint(0, 256, (2, 3, 50, 60), dtype=torch.uint8)
    assert torch.equal(after.probabilities(images), before.probabilities(images))


def test_mistakes_end_in_one_line(
    photos: Path, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(EvaluateConfig(data=tmp_path / "absent", out=out, model=toy_model)) == 1
    assert main(EvaluateConfig(data=photos, out=out, model=tmp_path / "absent.pt")) == 1
    (photos / "test" / "9.Unknown_Place").mkdir()
    assert main(EvaluateConfig(data=photos, out=out, model=toy_model)) == 1
    errors = capsys.readouterr().err
    for message in ("no data folder", "no model file", "is no class of this model"):
        assert message in errors
