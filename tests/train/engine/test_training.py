"""The training: chain, resume, signals, processes, and what stops it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch

from models.predictor import Predictor
from tests.support.drawing import draw_landmark
from tests.support.runs import read_records, stopped_after, tiny, train_only
from train.config import ScratchConfig, TransferConfig
from train.data import loading
from train.data.batches import PhotoDataset
from train.engine.recipe import build_network
from train.engine.training_run import run_training


def final_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    return {**saved["model"], **{f"average.{k}": v for k, v in (saved["average"] or {}).items()}}


def test_run_folder_holds_everything(finished_run: Path) -> None:
    assert {path.name for path in finished_run.iterdir()} == {
        *("config.json", "metrics.jsonl", "checkpoints", "split.json", "left_out.json"),
        *("model.pt", "model.pt2", "model.onnx", "manifest.json", "MODEL_CARD.md"),
        *("predictions.csv", "curves.png", "confusion.png", "calibration.png"),
    }
    records = read_records(finished_run)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert {"train/loss", "val/loss", "val/top1", "val/top5", "best_val_top1"} <= set(records[0])
    manifest = json.loads((finished_run / "manifest.json").read_text())
    assert manifest == Predictor.load(finished_run / "model.pt").manifest
    assert manifest["metrics"]["val/photos"] == 3
    assert manifest["config"]["backbone"] == "test_resnet"
    assert str(finished_run.parent) not in json.dumps(manifest)
    split = json.loads((finished_run / "split.json").read_text())
    assert manifest["split"]["fingerprint"] == split["fingerprint"]
    assert split["test"] == []
    assert not any("test/" in path for path in split["train"] + split["val"])


def test_model_file_answers(finished_run: Path, tmp_path: Path) -> None:
    answer = Predictor.load(finished_run / "model.pt").classify(draw_landmark(0, 7))
    assert set(answer) == {"Red Tower", "Green Castle", "Blue Bridge"}
    assert sum(answer.values()) == pytest.approx(1, abs=1e-4)


# Inside the first epoch, after its last batch, after its validation, inside the second.
@pytest.mark.parametrize("after", [1, 4, 5, 7])
def test_resume_gives_the_same_weights(
    finished_run: Path,
    landmark_photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    after: int,
) -> None:
    run_dir = tmp_path / "cut"
    with stopped_after(after):
        assert run_training(tiny(landmark_photos, run_dir)) == 130
    assert f"--resume {run_dir}" in capsys.readouterr().out
    assert not (run_dir / "model.pt").exists()
    finish = run_training if after == 7 else train_only
    assert finish(TransferConfig(resume=run_dir, device="cpu", workers=0)) == 0
    assert (run_dir / "model.pt").exists() == (after == 7)
    assert len(read_records(run_dir)) == 3
    whole, resumed = final_weights(finished_run), final_weights(run_dir)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_epoch_done_twice_is_logged_once(
    finished_run: Path, landmark_photos: Path, tmp_path: Path
) -> None:
    """As after a kill between the log and the checkpoint of the second epoch."""
    run_dir = tmp_path / "killed"
    with stopped_after(7):
        assert train_only(tiny(landmark_photos, run_dir)) == 130
    lines = (finished_run / "metrics.jsonl").read_text().splitlines(keepends=True)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write(lines[1])
    assert train_only(TransferConfig(resume=run_dir, device="cpu", workers=0)) == 0
    assert [record["epoch"] for record in read_records(run_dir)] == [1, 2, 3]


def test_head_phase_then_all(landmark_photos: Path, tmp_path: Path) -> None:
    """The default backbone, with its weights: phase one leaves it alone, phase two does not."""
    run_dir = tmp_path / "run"
    settings = {"backbone": "efficientnet_lite0", "pretrained": True, "epochs": 2}
    with stopped_after(5):  # after the validation of the first epoch
        assert train_only(tiny(landmark_photos, run_dir, **settings, head_epochs=1)) == 130
    frozen = final_weights(run_dir)
    start = build_network(TransferConfig(), 3).state_dict()
    same = {name for name in start if torch.equal(frozen[name], start[name])}
    assert set(start) - same == {"classifier.weight", "classifier.bias"}
    assert train_only(TransferConfig(resume=run_dir, device="cpu", workers=0)) == 0
    assert not torch.equal(final_weights(run_dir)["conv_stem.weight"], start["conv_stem.weight"])
    assert [record["phase"] for record in read_records(run_dir)] == ["head", "all"]


def test_a_backbone_that_is_all_head_epochs_stays(landmark_photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "resnet18.pth"
    torch.save(timm.create_model("resnet18", num_classes=1000).state_dict(), weights)
    start = torch.load(weights, weights_only=True)
    settings = {"backbone": "resnet18", "pretrained": True, "weights": weights}
    run_dir = tmp_path / "run"
    config = tiny(landmark_photos, run_dir, **settings, epochs=2, head_epochs=2)
    assert train_only(config) == 0
    frozen = final_weights(run_dir)
    assert {name for name in start if not torch.equal(frozen[name], start[name])} == {
        "fc.weight",
        "fc.bias",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_says_how_to_resume(
    landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture, number: int
) -> None:
    run_dir = tmp_path / "run"
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with stopped_after(2, number):
        assert run_training(tiny(landmark_photos, run_dir)) == 128 + number
    output, errors = capsys.readouterr()
    assert f"resume with: python -m train.transfer --resume {run_dir}" in output
    assert "error" not in errors
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    assert (saved["progress"]["epoch"], saved["progress"]["batch"]) == (0, 2)
    assert before == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]


def test_ctrl_c_in_a_terminal(landmark_photos: Path, tmp_path: Path) -> None:
    """There it reaches the worker processes too, which leave it to the training."""
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "train.transfer", "--data", landmark_photos]
    command += ["--run-dir", run_dir, "--epochs", 500, "--patience", 500, "--workers", 1]
    command += ["--backbone", "test_resnet", "--no-pretrained", "--image-size", 32]
    command += ["--batch-size", 8, "--device", "cpu"]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while not (run_dir / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"resume with: python -m train.transfer --resume {run_dir}" in output
    assert "Traceback" not in errors


def test_corrupt_photo_is_left_out_and_listed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for label, name in enumerate("ab"):
        (data / name).mkdir(parents=True)
        for variant in range(5):
            draw_landmark(label, variant).save(data / name / f"{variant}.jpg")
    (data / "a" / "3.jpg").write_bytes(b"\xff\xd8\xff broken")
    run_dir = tmp_path / "run"
    assert run_training(tiny(data, run_dir, epochs=1)) == 0
    assert list(json.loads((run_dir / "left_out.json").read_text())) == ["a/3.jpg"]
    split = json.loads((run_dir / "split.json").read_text())
    assert len(split["train"] + split["val"]) == 9

    for variant in range(5):
        (data / "b" / f"{variant}.jpg").write_bytes(b"")
    again = tmp_path / "again"
    assert run_training(tiny(data, again, epochs=1)) == 1
    assert not again.exists()


def test_mistakes_end_in_one_line_and_no_run(
    landmark_photos: Path,
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_dir = tmp_path / "run"

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    cases = [
        (tiny(tmp_path / "absent", run_dir), "no data folder"),
        (tiny(landmark_photos, run_dir, backbone="resnet81"), "no backbone"),
        (tiny(landmark_photos, run_dir, weights=tmp_path / "absent"), "no weights file"),
        (
            tiny(landmark_photos, run_dir, outside=(tmp_path / "absent",)),
            "no folder of outside photos",
        ),
        (tiny(landmark_photos, run_dir, pretrained=True), "Two ways out"),
        (tiny(landmark_photos, run_dir, device="cuda:0"), "--device"),
        (tiny(landmark_photos, finished_run), "resume it with --resume"),
        (
            tiny(landmark_photos, Path("/proc/x")),
            "--run-dir /proc/x cannot be written: No such file",
        ),
        (tiny(landmark_photos, Path(__file__) / "x"), "cannot be written: Not a directory"),
        (
            tiny(landmark_photos, run_dir, cache_dir=Path("/proc/x")),
            "with --cache-dir or LANDMARKS",
        ),
        (tiny(landmark_photos, run_dir, backbone="resnet1"), "resnet1"),
        (TransferConfig(resume=tmp_path / "absent"), "no run to resume"),
        (ScratchConfig(resume=finished_run), "resume it with: python -m train.transfer --resume"),
        (tiny(landmark_photos, run_dir, wandb="online"), "wandb login"),
        (TransferConfig(resume=finished_run, epochs=7), "its --epochs is 3, not 7"),
    ]
    for config, message in cases:
        if config.device == "cuda:0" and torch.cuda.is_available():
            continue
        assert run_training(config) == 2
        assert message in capsys.readouterr().err
    assert not run_dir.exists()


def test_non_finite_loss_names_step_rate_and_photos(
    landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tiny(landmark_photos, tmp_path / "run", learning_rate=1e30, clip_norm=1e30)
    assert run_training(config) == 1
    message = capsys.readouterr().err
    assert "the loss is nan" in message or "the loss is inf" in message
    for part in ("step", "learning rate", "train/", "--learning-rate"):
        assert part in message


def test_early_stop(landmark_photos: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    settings = {"epochs": 40, "patience": 2, "learning_rate": 1e-9, "ema_decay": 0.0}
    assert train_only(tiny(landmark_photos, run_dir, **settings)) == 0
    assert len(read_records(run_dir)) < 40


def test_workers_change_nothing(landmark_photos: Path, finished_run: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert train_only(tiny(landmark_photos, run_dir, workers=2)) == 0
    whole, other = final_weights(finished_run), final_weights(run_dir)
    assert all(torch.equal(whole[name], other[name]) for name in whole)


def test_a_worker_killed_for_memory_is_one_line(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    main = os.getpid()
    draw = PhotoDataset.__getitem__

    def die(dataset: PhotoDataset, key: tuple[int, ...]) -> dict:
        if os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        return draw(dataset, key)

    monkeypatch.setattr(PhotoDataset, "__getitem__", die)
    run_dir = tmp_path / "run"
    assert train_only(tiny(landmark_photos, run_dir, workers=1, epochs=1)) == 1
    assert "error: a process that prepares photos was killed" in capsys.readouterr().err
    assert train_only(tiny(landmark_photos, run_dir, resume=run_dir, workers=0, epochs=1)) == 0


@pytest.mark.parametrize(("free_mb", "workers"), [(64, 0), (230, 1), (360, 2), (10_000, 4)])
def test_workers_fit_into_shared_memory(
    free_mb: int,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """Docker gives 64 MB: one batch of the default settings, of 50 MB each."""
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path)
    usage = SimpleNamespace(free=free_mb * 1_000_000)
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda _: usage)
    process = SimpleNamespace(is_main_process=True)
    assert loading.count_workers(TransferConfig(workers=4), process) == workers
    said = capsys.readouterr().out
    assert ("--shm-size" in said and f"--workers {workers}:" in said) == (workers < 4)
    assert loading.count_workers(TransferConfig(workers=0), process) == 0
    assert not capsys.readouterr().out
    # A batch with outside photos is half as large again; a loader takes no float.
    fewer = loading.count_workers(TransferConfig(workers=4, outside=(tmp_path,)), process)
    assert isinstance(fewer, int) and fewer <= workers
