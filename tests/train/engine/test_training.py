"""The training: chain, resume, signals, processes, and what stops it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch

import train.exporting.confidence
import train.exporting.known_score
import train.exporting.model_file
from models.predictor import Predictor
from tests.support.drawing import draw_landmark
from tests.support.runs import read_records, stopped_after, tiny, train_only
from train.config import ScratchConfig, TransferConfig
from train.engine.phases import schedule_factor
from train.engine.recipe import build_network
from train.engine.training_run import run_training
from train.evaluation.metrics import bootstrap_interval, classification_metrics, top_k_accuracy
from train.exporting.model_file import export_run
from train.exporting.parity import Parity, ParityError


def final_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    return {**saved["model"], **{f"average.{k}": v for k, v in (saved["average"] or {}).items()}}


def test_run_folder_holds_everything(finished_run: Path) -> None:
    assert {path.name for path in finished_run.iterdir()} == {
        *("config.json", "metrics.jsonl", "checkpoints", "split.json", "left_out.json"),
        *("model.pt", "model.pt2", "manifest.json", "MODEL_CARD.md", "predictions.csv"),
        *("curves.png", "confusion.png", "calibration.png"),
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
            tiny(landmark_photos, run_dir, outside=tmp_path / "absent"),
            "no folder of outside photos",
        ),
        (tiny(landmark_photos, run_dir, pretrained=True), "Two ways out"),
        (tiny(landmark_photos, run_dir, device="cuda:0"), "--device"),
        (tiny(landmark_photos, finished_run), "resume it with --resume"),
        (TransferConfig(resume=tmp_path / "absent"), "no run to resume"),
        (ScratchConfig(resume=finished_run), "resume it with: python -m train.transfer --resume"),
        (tiny(landmark_photos, run_dir, wandb="online"), "wandb login"),
        (TransferConfig(resume=finished_run, epochs=7), "its --epochs is 3, not 7"),
    ]
    for config, message in cases:
        if config.device == "cuda:0" and torch.cuda.is_available():
            continue
        assert run_training(config) == 1
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


def test_export_fails_when_the_file_scores_differently(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    run_dir = tmp_path / "run"
    shutil.copytree(finished_run, run_dir)
    (run_dir / "model.pt").unlink()
    right = train.exporting.confidence.eager_outputs

    def wrong(*parts: object) -> tuple:
        logits, features = right(*parts)
        return -logits, features

    monkeypatch.setattr(train.exporting.confidence, "eager_outputs", wrong)
    with pytest.raises(ParityError, match="disagrees"):
        export_run(run_dir)
    assert not (run_dir / "model.pt").exists()
    assert not list(run_dir.glob("*partial*"))


def test_export_calibrates_locates_and_learns_what_is_outside(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    run_dir, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(finished_run, run_dir)
    outside.mkdir()
    for number in range(8):
        draw_landmark(4, number).save(outside / f"{number}.png")
    data = tmp_path / "data"
    split = json.loads((run_dir / "split.json").read_text())
    shutil.copytree(split["root"], data)
    (data / "landmarks.csv").write_text("class_name,latitude,longitude\nRed Tower,48.85,2.29\n")
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"data": str(data)}))

    export_run(run_dir)
    plain = Predictor.load(run_dir / "model.pt")
    assert plain.manifest["known"] == {}
    assert plain.manifest["known_threshold"] is not None
    assert plain.manifest["temperature"] != 1.0
    assert plain.place("Red Tower").latitude == 48.85
    assert plain.place("Green Castle") is None
    assert (run_dir / "calibration.png").is_file()

    monkeypatch.setattr(train.exporting.known_score, "MIN_PHOTOS", 2)
    monkeypatch.setattr(train.exporting.known_score, "FOLDS", 2)
    export_run(run_dir, outside)
    taught = Predictor.load(run_dir / "model.pt")
    assert taught.manifest["known"]["outside_photos"] == 4  # half A
    photo = outside / "1.png"
    assert taught.answer(photo).known_score != plain.answer(photo).known_score
    assert taught.classify(photo) == plain.classify(photo)
    assert str(outside) not in (run_dir / "manifest.json").read_text()
    with pytest.raises(ValueError, match="no folder of outside photos"):
        export_run(run_dir, tmp_path / "absent")


def test_parity_gate_bounds() -> None:
    Parity(photos=1000, eager_top1=0.9, file_top1=0.902, flips=5).check()
    Parity(photos=3, eager_top1=1 / 3, file_top1=2 / 3, flips=1).check()
    for bad in (
        Parity(photos=1000, eager_top1=0.9, file_top1=0.897, flips=3),
        Parity(photos=1000, eager_top1=0.9, file_top1=0.9, flips=6),
        Parity(photos=3, eager_top1=1.0, file_top1=1 / 3, flips=2),
    ):
        with pytest.raises(ParityError):
            bad.check()


def test_schedule_warms_up_and_ends_at_zero() -> None:
    factors = [schedule_factor(step, 100, 10) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.001


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[3.0, 2, 1, 0], [0, 3, 2, 1], [1, 2, 3, 0], [0, 1, 2, 3]])
    labels = torch.tensor([0, 2, 2, 0])
    assert top_k_accuracy(logits, labels, 1) == 0.5
    assert top_k_accuracy(logits, labels, 2) == 0.75
    assert top_k_accuracy(logits, labels, 9) == 1.0
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert classification_metrics(logits, labels)["loss"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least one"):
        top_k_accuracy(logits[:0], labels[:0], 1)
    low, high = bootstrap_interval(torch.arange(1000) < 900)
    # Normal approximation: 0.9 +- 1.96 * sqrt(0.9 * 0.1 / 1000)
    assert low == pytest.approx(0.8814, abs=0.003)
    assert high == pytest.approx(0.9186, abs=0.003)
