"""Jobs of Amazon SageMaker: what the commands do with its variables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train.engine.sagemaker
from models.command_line import parse_flags
from models.files import file_digest
from models.predictor import Predictor
from tests.support.commands import ROOT
from tests.support.runs import read_records, stopped_after, tiny
from train.config import ScratchConfig, TransferConfig, default_data
from train.engine.sagemaker import hand_over, place_job, train_job
from train.prepare import PrepareConfig

TINY = ["--image-size", "32", "--batch-size", "8", "--workers", "0"]
FLAGS = {
    ScratchConfig: [*TINY, "--width", "8", "--depth", "1"],
    TransferConfig: [*TINY, "--backbone", "test_resnet", "--no-pretrained"],
}


@pytest.fixture
def job(landmark_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The variables of a job with no GPU, under a folder that stands for /opt/ml."""
    monkeypatch.setattr(train.engine.sagemaker, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setenv("SM_CHANNEL_TRAINING", str(landmark_photos))
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path / "model"))
    monkeypatch.setenv("SM_OUTPUT_DATA_DIR", str(tmp_path / "output" / "data"))
    monkeypatch.setenv("SM_NUM_GPUS", "0")
    return tmp_path


def test_the_channel_is_the_data_unless_a_flag_says_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDMARKS_DATA", raising=False)
    monkeypatch.delenv("SM_CHANNEL_TRAINING", raising=False)
    assert default_data() == Path("data/landmark_images")
    monkeypatch.setenv("LANDMARKS_DATA", "mine")
    assert TransferConfig().data == Path("mine")
    monkeypatch.setenv("SM_CHANNEL_TRAINING", "channel")
    for config in (TransferConfig(), ScratchConfig()):
        assert config.data == Path("channel")
    assert PrepareConfig().folders == (Path("channel"),)
    assert TransferConfig(data=Path("flag")).data == Path("flag")


@pytest.mark.parametrize("kind", FLAGS)
def test_a_job_leaves_its_model_and_its_run(
    job: Path, kind: type[ScratchConfig | TransferConfig]
) -> None:
    assert train_job(parse_flags(kind, kind.command, args=["--epochs", "1", *FLAGS[kind]])) == 0
    run_dir = next((job / "output" / "data").iterdir())
    config = json.loads((run_dir / "config.json").read_text())
    assert config["device"] == "cpu"
    assert config["data"] == os.environ["SM_CHANNEL_TRAINING"]
    names = {path.name for path in (job / "model").iterdir()}
    assert names == {"model.pt", "manifest.json", "MODEL_CARD.md"}
    model = job / "model" / "model.pt"
    assert file_digest(model) == file_digest(run_dir / "model.pt")
    assert Predictor.load(model).manifest == json.loads((job / "model/manifest.json").read_text())


def test_a_spot_instance_resumes_where_it_was(job: Path, landmark_photos: Path) -> None:
    (job / "checkpoints").mkdir()
    config = tiny(landmark_photos, None, device="auto")
    with stopped_after(5):
        assert train_job(config) == 130
    run_dir = job / "checkpoints" / "test_resnet-s0"
    assert not (job / "model").exists()
    assert len(read_records(run_dir)) == 1
    assert train_job(config) == 0
    assert [record["epoch"] for record in read_records(run_dir)] == [1, 2, 3]
    assert file_digest(job / "model" / "model.pt") == file_digest(run_dir / "model.pt")


def test_resume_by_hand_hands_over_too(
    finished_run: Path, job: Path, capsys: pytest.CaptureFixture
) -> None:
    run_dir = job / "earlier"
    shutil.copytree(finished_run, run_dir)
    (run_dir / "model.pt").unlink()
    assert train_job(TransferConfig(resume=run_dir, device="cpu", workers=0)) == 0
    assert file_digest(job / "model" / "model.pt") == file_digest(run_dir / "model.pt")
    assert not (job / "output").exists()
    assert "handed over" in capsys.readouterr().out


def test_flags_decide_before_the_job(job: Path, tmp_path: Path) -> None:
    mine = TransferConfig(run_dir=tmp_path / "mine", device="cuda")
    assert place_job(mine) == mine


def test_outside_a_job_nothing_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train.engine.sagemaker, "CHECKPOINTS", tmp_path)
    for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR", "SM_NUM_GPUS"):
        monkeypatch.delenv(name, raising=False)
    assert place_job(ScratchConfig()) == ScratchConfig()


def test_without_a_folder_for_output_runs_stay_apart(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SM_OUTPUT_DATA_DIR")
    placed = place_job(ScratchConfig(seed=3))
    assert placed.run_dir.parent == Path("runs")
    assert placed.run_dir.name.endswith("-scratch-s3")


class Launched(BaseException):
    """What os.execve would have become."""


@pytest.mark.parametrize(("gpus", "on_cpu"), [(True, False), (False, True)])
def test_several_gpus_start_torchrun_once(
    job: Path, monkeypatch: pytest.MonkeyPatch, gpus: bool, on_cpu: bool
) -> None:
    started = []

    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        started.append((command, environment))
        raise Launched

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: gpus)
    monkeypatch.setattr(sys, "argv", ["scratch.py", "--epochs", "7"])
    monkeypatch.setenv("SM_NUM_GPUS", "4")
    with pytest.raises(Launched):
        train_job(ScratchConfig(epochs=7))
    [(command, environment)] = started
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    assert command[1:] == [*torchrun, "-m", "train.scratch", "--epochs", "7"]
    assert environment.get("ACCELERATE_USE_CPU") == ("true" if on_cpu else None)

    monkeypatch.setenv("LOCAL_RANK", "0")  # one of torchrun's own
    monkeypatch.setattr(train.engine.sagemaker, "run_training", lambda config: 1)
    assert train_job(ScratchConfig(epochs=7)) == 1
    assert len(started) == 1


def test_two_processes_equal_one_within_noise_and_hand_over_one_model(
    job: Path, finished_run: Path
) -> None:
    """The real launcher, on the CPU."""
    flags = [*FLAGS[TransferConfig], "--epochs", "3", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "train.transfer", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "SM_NUM_GPUS": "2", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "2 processes on the CPU" in done.stdout
    assert done.stdout.count("model handed over") == 1
    run_dir = next((job / "output" / "data").iterdir())
    one, two = (read_records(folder) for folder in (finished_run, run_dir))
    assert len(two) == 3  # one process writes
    for first, second in zip(one, two, strict=True):
        # Batch norm sees half the batch and each process draws its own dropout.
        assert second["train/loss"] == pytest.approx(first["train/loss"], rel=0.35)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["metrics"]["val/photos"] == 3  # none counted twice
    assert Predictor.load(job / "model" / "model.pt").manifest == manifest


def test_mistakes_end_in_one_line(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("SM_NUM_GPUS", "two")
    assert train_job(ScratchConfig()) == 2
    assert "SM_NUM_GPUS is 'two'" in capsys.readouterr().err


def test_a_copy_that_fails_leaves_the_old_model(finished_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_text("old")
    with pytest.raises(FileNotFoundError):
        hand_over(tmp_path / "no run", tmp_path)
    assert model.read_text() == "old"
