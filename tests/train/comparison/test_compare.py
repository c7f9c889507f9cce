"""Trained models side by side: runs read, scored, counted and timed."""

import csv
import functools
import json
import shutil
from pathlib import Path

import pytest

import models.predictor
import train.comparison.serving_cost
from models.model_file.torchscript import rewrite_manifest
from models.predictor import Predictor
from train.compare import CompareConfig, main
from train.comparison.finished_runs import describe_network
from train.comparison.serving_cost import EnergyMeter, measure_size, measure_speed
from train.data.split import Split


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = functools.partial(measure_speed, rounds=1, calls=2)
    monkeypatch.setattr(train.comparison.serving_cost, "measure_speed", timed)


def read_table(out: Path) -> dict[str, dict[str, str]]:
    lines = (out / "table.csv").read_text(encoding="utf-8").splitlines()
    return {row["name"]: row for row in csv.DictReader(lines)}


def test_runs_and_files_are_compared_on_their_validation_photos(
    finished_run: Path,
    finished_scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    lone = shutil.copy(finished_scratch / "model.pt", tmp_path / "lone.pt")
    opened = set()

    def read_photo(path: Path, side_px: int, read: object = models.predictor.read_photo) -> object:
        opened.add(path)
        return read(path, side_px)

    monkeypatch.setattr(models.predictor, "read_photo", read_photo)
    out = tmp_path / "out"
    assert main(CompareConfig((finished_run, finished_scratch, lone), out)) == 0
    split = Split.load(finished_run / "split.json")
    assert opened == {Path(split.root) / path for path in split.val}  # no test photo
    rows = read_table(out)
    assert list(rows) == ["whole", "scratch", "lone"]
    for name, folder in (("whole", finished_run), ("scratch", finished_scratch)):
        row, manifest = rows[name], json.loads((folder / "manifest.json").read_text())
        assert float(row["top1"]) == pytest.approx(manifest["metrics"]["val/top1"])
        assert 0 <= float(row["top1_low"]) <= float(row["top1"]) <= float(row["top1_high"]) <= 1
        assert int(row["photos"]) == len(split.val)
        assert int(row["file_bytes"]) == (folder / "model.pt").stat().st_size
        assert float(row["minutes"]) > 0 and float(row["images_per_second"]) > 0
        assert int(row["epochs"]) == len((folder / "metrics.jsonl").read_text().splitlines())
        assert float(row["latency_p95_ms"]) >= float(row["latency_ms"]) > 0
    same = ("top1", "top5", "macro_f1", "ece", "parameters", "macs", "split")
    assert [rows["lone"][key] for key in same] == [rows["scratch"][key] for key in same]
    assert rows["lone"]["images_per_second"] == ""  # not in the model file
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "test_resnet, random start" in text and "scratch, width 8" in text
    assert "All of them began from random weights." in text
    assert str(tmp_path) not in text  # the text may be published
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")


def move(run_dir: Path, target: Path) -> Path:
    """A run folder on another machine: the data folder is not there."""
    shutil.copytree(run_dir, target, ignore=shutil.ignore_patterns("checkpoints", "wandb"))
    split = json.loads((target / "split.json").read_text())
    (target / "split.json").write_text(json.dumps(split | {"root": str(target / "gone")}))
    return target


def test_without_photos_recorded_figures_serve(
    finished_run: Path, finished_scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = (move(finished_run, tmp_path / "a"), move(finished_scratch, tmp_path / "b"))
    assert main(CompareConfig(runs, tmp_path / "out")) == 0
    captured = capsys.readouterr()
    rows = read_table(tmp_path / "out")
    for name, folder in (("a", finished_run), ("b", finished_scratch)):
        metrics = json.loads((folder / "manifest.json").read_text())["metrics"]
        assert float(rows[name]["top1"]) == metrics["val/top1"]
        assert rows[name]["ece"] == str(metrics.get("val/ece", ""))
        assert f"{name}: accuracy as recorded" in captured.err
    assert "As recorded at export, since the photos are not there: a, b." in captured.out
    assert "cannot be said" in captured.out


def test_other_validation_photos_give_a_warning_and_no_advice(
    finished_run: Path, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "comparison.png").write_bytes(b"of an earlier comparison")
    assert main(CompareConfig((finished_run, toy_model), tmp_path)) == 0
    captured = capsys.readouterr()
    assert f"{toy_model.parent.name}: no split recorded" in captured.err
    assert "do not compare" in (tmp_path / "comparison.md").read_text()
    assert "Most accurate" not in captured.out
    assert not (tmp_path / "comparison.png").exists()


def test_mistakes_end_in_one_line(
    finished_run: Path, finished_scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def fails(*runs: Path, status: int = 2) -> str:
        assert main(CompareConfig(runs, tmp_path / "out")) == status
        error = capsys.readouterr().err.rsplit("\r", 1)[-1]  # after a progress bar
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    assert "at least two" in fails()
    assert "at least two" in fails(finished_run)
    assert "called whole" in fails(finished_run, finished_run / "model.pt")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is not a run folder" in fails(finished_run, empty)
    shutil.copy(finished_run / "config.json", empty)
    assert "no model.pt" in fails(finished_run, empty)
    (empty / "model.pt").write_bytes(b"PK damaged")
    assert "not a complete model file" in fails(finished_run, empty)
    assert "no model file" in fails(finished_run, tmp_path / "absent.pt")
    damaged = move(finished_scratch, tmp_path / "damaged")
    (damaged / "metrics.jsonl").write_text('{"epoch": 1, ')
    assert "metrics.jsonl" in fails(finished_run, damaged, status=1)
    (damaged / "metrics.jsonl").unlink()
    (damaged / "split.json").unlink()
    manifest = Predictor.load(damaged / "model.pt").manifest
    rewrite_manifest(damaged / "model.pt", manifest | {"metrics": {}, "split": {}})
    assert "no figures in the model file" in fails(finished_run, damaged, status=1)
    assert not (tmp_path / "out").exists()


def test_size_is_counted_by_hand(toy_model: Path) -> None:
    size = measure_size(Predictor.load(toy_model))
    # A 5 x 5 convolution 3 -> 8 at stride 2 on 32 px, then 32 -> 6.
    assert size.macs == 14 * 14 * 8 * (3 * 5 * 5) + 32 * 6
    assert size.parameters == 8 * 3 * 5 * 5 + 8 + 32 * 6 + 6
    assert size.file_bytes == toy_model.stat().st_size


def write_counter(folder: Path, name: str, energy_uj: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(name + "\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    return folder


def test_energy_counts_whole_packages_also_over_their_end(tmp_path: Path) -> None:
    first = write_counter(tmp_path / "intel-rapl:0", "package-0", 999_000_000)
    second = write_counter(tmp_path / "intel-rapl:1", "package-1", 5_000_000)
    write_counter(tmp_path / "intel-rapl:0:0", "core", 1)  # a part of the first
    write_counter(tmp_path / "intel-rapl-mmio:0", "package-0", 1)  # the first once more
    (write_counter(tmp_path / "intel-rapl:2", "package-2", 1) / "energy_uj").unlink()
    meter = EnergyMeter.find(tmp_path)
    assert meter.packages == (first, second)
    before = meter.read()
    write_counter(first, "package-0", 1_000_000)
    write_counter(second, "package-1", 8_000_000)
    assert meter.joules_since(before) == pytest.approx(2 + 3)
    assert EnergyMeter.find(tmp_path / "absent").packages == ()


def test_energy_is_per_photo(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(toy_model)
    meter = EnergyMeter((Path("package"),))
    monkeypatch.setattr(EnergyMeter, "read", lambda self: [0])
    monkeypatch.setattr(EnergyMeter, "joules_since", lambda self, before: 6.0)
    (speed,) = measure_speed([predictor], meter, rounds=2, calls=3)
    assert speed.joules_per_photo == 2.0
    (speed,) = measure_speed([predictor], EnergyMeter(()), rounds=1, calls=1)
    assert speed.joules_per_photo is None


def test_networks_are_named() -> None:
    transfer = {"backbone": "resnet18", "pretrained": True, "head_epochs": 1, "epochs": 12}
    frozen, random = transfer | {"head_epochs": 12}, transfer | {"pretrained": False}
    scratch = {"command": "train.scratch", "width": 32, "depth": 2}
    assert describe_network({"config": transfer}) == ("resnet18, fine-tuned", True)
    assert describe_network({"config": frozen}) == ("resnet18, frozen", True)
    assert describe_network({"config": random}) == ("resnet18, random start", False)
    assert describe_network({"config": scratch}) == ("scratch, width 32, depth 2", False)
    encoder = {"config": scratch, "training": {"encoder": "digest"}}
    assert describe_network(encoder) == ("scratch, width 32, depth 2, own encoder", False)
    assert describe_network({}) == ("unknown", True)
