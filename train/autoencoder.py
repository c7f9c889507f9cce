"""Pretrain without labels: python -m train.autoencoder --data DIR [--extra DIR ...].

Then python -m train.scratch --init-from RUN_FOLDER starts from the encoder.
"""

import json
import signal
import sys
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - else W&B fails on figures
import numpy as np
import torch
import tyro
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

from models.files import atomic, code_commit
from models.model_file.preprocess import Preprocess
from models.model_file.torchscript import script_network
from models.networks.autoencoder import ENCODER_FILE, ENCODER_FORMAT, ENCODER_SETTINGS, Autoencoder
from train.data.batches import EpochBatches, PhotoDataset
from train.data.split import Split
from train.data.transforms import build_eval_transform, build_train_transform
from train.data.unlabelled import find_photos, photo_keys
from train.engine.checkpoints import load_checkpoint, save_checkpoint
from train.engine.device import build_accelerator
from train.engine.interrupts import StopRequest
from train.engine.pretraining import AutoencoderConfig, Pretrainer
from train.engine.trainer import Interrupted
from train.engine.training_run import KNOWN_ERRORS, build_loader, open_run, read_photos, write_run
from train.exporting.model_file import PRIVATE
from train.exporting.parity import ParityError
from train.tracking.wandb_run import Tracker

PICTURE = "reconstructions.png"
MODEL_FILE = "autoencoder.pt"
MAX_DIFFERENCE = 1e-3


def main(config: AutoencoderConfig) -> int:
    """Pretrain and export.

    Returns:
        Exit status: 0 done, 1 error, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    stop, tracker = StopRequest(), Tracker()
    status, run_dir = 1, Path()
    try:
        accelerator = build_accelerator(config.scratch())
        if accelerator.num_processes > 1:
            raise ValueError("train.autoencoder runs in one process; start it without torchrun")
        config, run_dir = open_run(config)
        with stop.watch():
            pretrain(config, run_dir, tracker, accelerator, stop)
            export_encoder(config, run_dir)
        print(f"exported {run_dir / ENCODER_FILE} and {MODEL_FILE}; look at {run_dir / PICTURE}")
        print(
            f"start from it: python -m train.scratch --init-from {run_dir}{network_flags(config)}"
        )
        status = 0
    except (Interrupted, KeyboardInterrupt):
        saved = (run_dir / "checkpoints" / "last.pt").is_file()
        go_on = f"python -m {config.command} --resume {run_dir}"
        print(f"stopped; go on with: {go_on}" if saved else "stopped before the first step")
        status = 128 + (stop.signal or signal.SIGINT)
    except KNOWN_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
    finally:
        tracker.finish(exit_code=1 if status == 1 else 0)
        # Else a second run in this process (a notebook) could not choose another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    return status


def network_flags(config: AutoencoderConfig) -> str:
    """The flags that train.scratch needs to build the same network."""
    asked = ((name, getattr(config, name)) for name in ENCODER_SETTINGS)
    default = AutoencoderConfig
    return "".join(f" --{name} {value}" for name, value in asked if value != getattr(default, name))


def build_model(config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder with random weights."""
    return Autoencoder(**{name: getattr(config, name) for name in ENCODER_SETTINGS})


def pretrain(
    config: AutoencoderConfig,
    run_dir: Path,
    tracker: Tracker,
    accelerator: Accelerator,
    stop: StopRequest,
) -> None:
    """Everything up to the last checkpoint; the run folder appears once nothing can be missing."""
    settings = config.scratch()
    torch.manual_seed(config.seed)
    model = build_model(config)
    if (run_dir / "split.json").is_file():
        split, cache = read_photos(settings, run_dir, settings.eval_side_px)
    else:
        split, cache = find_photos(settings, [config.data, *map(Path, config.extra)])
        write_run(config, run_dir, split, cache.left_out)
    tracker.start(config, run_dir, split, cache.left_out)
    preprocess = Preprocess(config.image_size, config.image_size)

    def loader(paths: list[str], shuffle: bool) -> DataLoader:
        transform = (
            build_train_transform(preprocess, strength=0, flip=config.flip)
            if shuffle
            else build_eval_transform(preprocess)
        )
        labels = np.zeros(len(paths), np.int64)
        dataset = PhotoDataset(cache.subset(paths), labels, transform, config.seed)
        size = min(config.batch_size, len(paths))
        batches = EpochBatches(len(paths), size, config.seed, shuffle)
        return build_loader(dataset, batches, settings, accelerator)

    metrics = run_dir / "metrics.jsonl"
    logged = len(metrics.read_text().splitlines()) if metrics.is_file() else 0

    def log(record: dict[str, float], picture: Figure | None) -> None:
        if picture is not None:
            picture.savefig(run_dir / PICTURE, dpi=110)
        if record["epoch"] <= logged:
            return  # killed between log and checkpoint, this epoch was done twice
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        tracker.log(record if picture is None else {**record, "reconstructions": picture})
        print(
            f"epoch {record['epoch']:>2}  loss {record['train/loss']:.4f}  "
            f"val loss {record['val/loss']:.4f}  {record['images_per_second']:.0f} images/s",
            flush=True,
        )

    train_loader, val_loader = loader(split.train, True), loader(split.val, False)
    trainer = Pretrainer(config, model, train_loader, val_loader, accelerator, run_dir, log, stop)
    stop.deferred = True
    trainer.fit()
    stop.deferred = False


def export_encoder(config: AutoencoderConfig, run_dir: Path) -> None:
    """Write encoder.pt, for --init-from, and the whole autoencoder as TorchScript.

    Raises:
        ParityError: The TorchScript computes something else; neither is written.
    """
    saved = load_checkpoint(run_dir / "checkpoints" / "last.pt")
    split = Split.load(run_dir / "split.json")
    model = build_model(config)
    model.load_state_dict(saved["model"])
    scripted = script_network(model.eval(), config.image_size)
    example = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.no_grad():
        difference = (scripted(example) - model(example)).abs().max().item()
    if not difference < MAX_DIFFERENCE:
        raise ParityError(f"the autoencoder's TorchScript is off by {difference}; not exported")
    with atomic(run_dir / MODEL_FILE) as partial:
        scripted.save(str(partial))
    last = saved["progress"]["history"][-1]
    pretraining = {
        "config": {k: v for k, v in config.to_dict().items() if k not in (*PRIVATE, "extra")},
        "split": split.fingerprint,
        "photos": len(split.train),
        "photo_keys": sorted(photo_keys(Path(split.root), split.train)),
        "epochs": last["epoch"],
        "val/loss": last["val/loss"],
        "versions": {"torch": str(torch.__version__), "commit": code_commit()},
    }
    save_checkpoint(
        run_dir / ENCODER_FILE,
        {
            "format": ENCODER_FORMAT,
            "settings": {name: getattr(config, name) for name in ENCODER_SETTINGS},
            "weights": model.encoder.state_dict(),
            "pretraining": pretraining,
        },
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(AutoencoderConfig, prog="python -m train.autoencoder")))
