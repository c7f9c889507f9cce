"""What a run checks before it loads torch, and that it opens its photos once."""

import subprocess
import sys
from pathlib import Path

import pytest

import train.engine.run_folder
from tests.support.commands import ROOT
from tests.support.runs import tiny, train_only
from train.config import AutoencoderConfig, TransferConfig
from train.data.sources import Source, open_source
from train.engine.run_folder import RESUME_OVERRIDES, open_run, open_sources, write_run
from train.engine.training_run import run_training

# Runs a command as python -m does, and tells what it has imported.
PROBE = """
import runpy, sys
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
except SystemExit as end:
    heavy = {"torch", "accelerate", "timm", "matplotlib", "wandb", "gradio", "albumentations"}
    print("status", end.code, "imported", sorted(heavy & set(sys.modules)))
"""
MISTAKES = {
    "train.transfer": (["--data", "absent"], "status 2", "no data folder at absent"),
    "train.scratch": (["--lr", "3"], "status 2", "did you mean --learning-rate?"),
    "train.autoencoder": (["--extra", "absent"], "status 2", "no data folder at"),
    "train.find_lr": (["scratch", "--data", "absent"], "status 2", "no data folder at absent"),
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_are_answered_before_torch_is_imported(command: str) -> None:
    args, status, message = MISTAKES[command]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, command, *args], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{status} imported []"
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and message in line


def test_a_wrong_resume_is_answered_before_torch_is_imported(finished_run: Path) -> None:
    args = ["--resume", str(finished_run), "--epochs", "7"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "train.transfer", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "status 2 imported []"
    assert "its --epochs is 3, not 7" in done.stderr


def test_a_training_opens_its_photos_once(
    landmark_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def counting(config: TransferConfig) -> Source:
        opened.append(config.data)
        return open_source(config)

    for module in ("engine.run_folder", "data.loading", "data.unlabelled"):
        monkeypatch.setattr(f"train.{module}.open_source", counting)
    assert train_only(tiny(landmark_photos, tmp_path / "run", epochs=1)) == 0
    assert opened == [landmark_photos]
    settings = {"image_size": 32, "width": 8, "depth": 1, "workers": 0, "device": "cpu"}
    settings |= {"epochs": 1, "batch_size": 8, "extra": (str(landmark_photos / "train"),)}
    pretraining = AutoencoderConfig(landmark_photos, run_dir=tmp_path / "pretraining", **settings)
    opened.clear()
    assert train_only(pretraining) == 0
    assert opened == [landmark_photos, landmark_photos / "train"]


def test_a_resumed_run_opens_nothing(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.engine.run_folder, "open_source", None)
    config, run_dir = open_run(TransferConfig(resume=finished_run))
    assert run_dir == finished_run
    assert open_sources(config, run_dir) == []


def test_resume_takes_over_only_where_the_run_happens(finished_run: Path, tmp_path: Path) -> None:
    asked = TransferConfig(
        resume=finished_run,
        device="cuda:3",
        workers=5,
        cache_dir=tmp_path,
        wandb="offline",
        promote=False,
    )
    config, _ = open_run(asked)
    for name in RESUME_OVERRIDES:
        assert getattr(config, name) == getattr(asked, name)
    assert (config.backbone, config.epochs, config.batch_size) == ("test_resnet", 3, 8)
    with pytest.raises(ValueError, match=r"its --batch-size is 8, not 9"):
        open_run(TransferConfig(resume=finished_run, batch_size=9))


def test_new_runs_do_not_share_a_folder(
    landmark_photos: Path, finished_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="already holds a run; resume it with --resume"):
        open_run(tiny(landmark_photos, finished_run))
    config = tiny(landmark_photos, None, seed=4)
    assert open_run(config)[1].parent == Path("runs")
    assert open_run(config)[1].name.endswith("-test_resnet-s4")


def test_a_run_can_be_resumed_once_its_settings_are_written(
    landmark_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config.json comes last: a kill before it leaves no run that resume would believe in."""
    config, run_dir = tiny(landmark_photos, tmp_path / "run"), tmp_path / "run"
    source = open_source(config)
    split = source.split([], config.val_fraction, config.split_seed)
    written = []
    original = train.engine.run_folder.write_text
    monkeypatch.setattr(
        train.engine.run_folder,
        "write_text",
        lambda path, text: (written.append(path.name), original(path, text)),
    )
    write_run(config, run_dir, split, {})
    assert written[-1] == "config.json" and (run_dir / "split.json").is_file()
    assert open_run(TransferConfig(resume=run_dir))[0].run_dir == run_dir


def test_several_processes_are_refused_where_one_is_needed(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    class Two:
        num_processes = 2

    monkeypatch.setattr("train.engine.device.build_accelerator", lambda _config: Two())
    run_dir = tmp_path / "run"
    assert run_training(AutoencoderConfig(landmark_photos, run_dir=run_dir)) == 2
    assert "train.autoencoder runs in one process; start it without" in capsys.readouterr().err
    assert run_training(tiny(landmark_photos, run_dir, batch_size=9)) == 2
    assert "--batch-size 9 is not a multiple of 2 processes" in capsys.readouterr().err
    assert not run_dir.exists()
