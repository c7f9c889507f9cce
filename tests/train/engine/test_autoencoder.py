"""Pretraining without labels: its run folder, resume, and the encoder's way into a training."""

import json
import signal
from pathlib import Path

import pytest
import torch

from models.networks.autoencoder import Autoencoder
from models.networks.encoder_file import EncoderError, load_encoder, read_encoder
from models.networks.scratch_cnn import ScratchCNN
from tests.support.runs import read_records, stopped_after, train_only
from train.autoencoder import main
from train.config import AutoencoderConfig, ScratchConfig
from train.engine.recipe import build_network
from train.engine.training_run import run_training

NETWORK = {"width": 8, "depth": 1}
QUICK = NETWORK | {"image_size": 32, "batch_size": 8, "workers": 0, "device": "cpu"}


def quick(data: Path, run_dir: Path, **changes: object) -> AutoencoderConfig:
    """Settings of a pretraining that takes seconds."""
    return AutoencoderConfig(data=data, run_dir=run_dir, **({"epochs": 2} | QUICK | changes))


@pytest.fixture(scope="module")
def pretrained(landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "autoencoder"
    assert main(quick(landmark_photos, run_dir)) == 0
    return run_dir


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["model"]


def test_run_folder_holds_everything(pretrained: Path) -> None:
    assert {path.name for path in pretrained.iterdir()} == {
        *("config.json", "metrics.jsonl", "checkpoints", "split.json", "left_out.json"),
        *("reconstructions.png", "encoder.pt", "autoencoder.pt"),
    }
    records = read_records(pretrained)
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[1]["val/loss"] < records[0]["val/loss"]
    saved = read_encoder(pretrained)
    kinds = {"stem": "conv", "norm": "batch", "activation": "relu"}
    assert saved["settings"] == NETWORK | kinds
    assert saved["pretraining"]["val/loss"] == records[1]["val/loss"]
    record = json.dumps(saved["pretraining"])
    assert str(pretrained.parent) not in record and "Red_Tower" not in record
    scripted = torch.jit.load(pretrained / "autoencoder.pt")
    network = Autoencoder(**NETWORK)
    network.load_state_dict(weights(pretrained))
    images = torch.randn(3, 3, 32, 64)
    assert torch.allclose(scripted(images), network.eval()(images), atol=1e-4)


def test_reconstructions_reach_wandb(landmark_photos: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert main(quick(landmark_photos, run_dir, epochs=1, wandb="offline")) == 0
    pictures = list(run_dir.glob("wandb/offline-run-*/files/media/images/reconstructions*.png"))
    assert len(pictures) == 1 and pictures[0].stat().st_size > 1000


@pytest.mark.parametrize("after", [1, 4, 5, 6])
def test_resume_gives_the_same_weights(
    pretrained: Path,
    landmark_photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    after: int,
) -> None:
    run_dir = tmp_path / "cut"
    with stopped_after(after):
        assert main(quick(landmark_photos, run_dir)) == 130
    assert f"python -m train.autoencoder --resume {run_dir}" in capsys.readouterr().out
    assert not (run_dir / "encoder.pt").exists()
    assert main(AutoencoderConfig(resume=run_dir, device="cpu", workers=0)) == 0
    whole, resumed = weights(pretrained), weights(run_dir)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len(read_records(run_dir)) == 2
    assert main(AutoencoderConfig(resume=run_dir, epochs=7)) == 2
    assert "its --epochs is 2, not 7" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_resumes(
    pretrained: Path, landmark_photos: Path, tmp_path: Path
) -> None:
    """It had no average, no split, no lr_scale in its optimizer, and no phase in its records."""
    run_dir = tmp_path / "earlier"
    with stopped_after(6):
        assert main(quick(landmark_photos, run_dir)) == 130
    last = run_dir / "checkpoints" / "last.pt"
    saved = torch.load(last, weights_only=True)
    del saved["average"], saved["split"], saved["progress"]["history"][0]["phase"]
    for group in saved["optimizer"]["param_groups"]:
        del group["lr_scale"]
    torch.save(saved, last)
    assert main(AutoencoderConfig(resume=run_dir, device="cpu", workers=0)) == 0
    whole, resumed = weights(pretrained), weights(run_dir)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_ctrl_c_saves_and_says_how_to_resume(
    landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    with stopped_after(2, signal.SIGINT):
        assert main(quick(landmark_photos, run_dir)) == 130
    output, errors = capsys.readouterr()
    assert f"resume with: python -m train.autoencoder --resume {run_dir}" in output
    assert "error" not in errors
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    assert (saved["progress"]["epoch"], saved["progress"]["batch"]) == (0, 2)


def scratch(data: Path, run_dir: Path, **changes: object) -> ScratchConfig:
    return ScratchConfig(data=data, run_dir=run_dir, **({"epochs": 1} | QUICK | changes))


def test_a_training_starts_from_the_encoder(
    pretrained: Path, landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = scratch(landmark_photos, tmp_path / "run", init_from=pretrained)
    network = build_network(config, 3)
    own, encoder = network.state_dict(), weights(pretrained)
    taken = [name for name in own if not name.startswith("head.")]
    assert all(torch.equal(own[name], encoder[f"encoder.{name}"]) for name in taken)
    assert network.head.weight.abs().sum() == 0
    assert run_training(config) == 0
    assert "were in the pretraining" not in capsys.readouterr().out
    manifest = json.loads((config.run_dir / "manifest.json").read_text())
    assert len(manifest["training"]["encoder"]) == 64
    assert str(pretrained) not in json.dumps(manifest)
    card = (config.run_dir / "MODEL_CARD.md").read_text()
    assert f"the encoder {manifest['training']['encoder'][:12]}, trained without labels" in card
    # With other photos held out, some of them were seen.
    other = scratch(landmark_photos, tmp_path / "other", init_from=pretrained, split_seed=5)
    assert train_only(other) == 0
    assert "validation photos were in the pretraining" in capsys.readouterr().out


def test_resume_needs_no_encoder_file(
    pretrained: Path, landmark_photos: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "encoder.pt"
    copy.write_bytes((pretrained / "encoder.pt").read_bytes())
    config = scratch(landmark_photos, tmp_path / "run", init_from=copy)
    assert train_only(config) == 0
    copy.unlink()
    for left in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        (config.run_dir / left).unlink()  # as if killed in the first epoch
    first = build_network(scratch(landmark_photos, tmp_path, init_from=pretrained), 3)
    assert train_only(ScratchConfig(resume=config.run_dir, workers=0, device="cpu")) == 0
    trained = weights(config.run_dir)
    # One epoch of 4 steps leaves the stem near where it started, and far from random weights.
    moved = (trained["stem.0.weight"] - first.state_dict()["stem.0.weight"]).norm()
    apart = (ScratchCNN(3, 8, 1).stem[0].weight - first.stem[0].weight).norm()
    assert moved < 0.2 * apart


def test_mistakes_end_in_one_line(
    pretrained: Path, landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"PK nothing")
    model_file = tmp_path / "other.pt"
    torch.save({"weights": {}}, model_file)
    cases = {
        "--width 8": {"init_from": pretrained, "width": 16},
        "--norm batch": {"init_from": pretrained, "norm": "group"},
        "no encoder at": {"init_from": tmp_path / "absent"},
        "is not an encoder": {"init_from": damaged},
        "train.autoencoder": {"init_from": model_file},
    }
    for message, changes in cases.items():
        assert run_training(scratch(landmark_photos, run_dir, **changes)) == 2
        assert message in capsys.readouterr().err
    assert main(quick(tmp_path / "absent", run_dir)) == 2
    assert "no data folder" in capsys.readouterr().err
    assert main(quick(landmark_photos, run_dir, learning_rate=1e30)) == 1
    assert "the loss is nan" in capsys.readouterr().err
    for changes in ({"image_size": 40}, {"patch": 24}, {"mask_ratio": 1.0}, {"width": 9}):
        with pytest.raises(ValueError, match=next(iter(changes)).replace("_", "-")):
            AutoencoderConfig(**changes)
    assert not (run_dir / "encoder.pt").exists()


def test_weights_of_another_version_are_refused(pretrained: Path, tmp_path: Path) -> None:
    saved = read_encoder(pretrained)
    del saved["weights"]["stem.0.weight"]
    torch.save(saved, tmp_path / "encoder.pt")
    with pytest.raises(EncoderError, match="another version"):
        load_encoder(tmp_path, ScratchCNN(3, 8, 1), saved["settings"])
