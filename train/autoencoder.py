"""Pretrain without labels: python -m train.autoencoder --data DIR [--extra DIR ...].

Then python -m train.scratch --init-from RUN_FOLDER starts from the encoder.
"""

import sys
from pathlib import Path
from typing import Any

from models.command_line import parse_flags
from models.environment import TRAINING
from models.files import atomic, code_commit
from models.networks.encoder_file import ENCODER_FILE, ENCODER_FORMAT, ENCODER_SETTINGS
from train.config import AutoencoderConfig
from train.data.split import Split
from train.engine.interrupts import TrainingError
from train.engine.training_run import PICTURE, run_training

EXAMPLES = (
    "python -m train.autoencoder --data photos",
    "python -m train.autoencoder --data photos --extra holidays old/scans --width 32",
    "python -m train.autoencoder --resume runs/20250101-120000-autoencoder-s0",
)
MODEL_FILE = "autoencoder.pt"
MAX_DIFFERENCE = 1e-3


def main(config: AutoencoderConfig) -> int:
    """Pretrain and export.

    Returns:
        Exit status: 0 done, 1 error, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    return run_training(config, export=hand_over)


def hand_over(config: AutoencoderConfig, run_dir: Path, history: list[dict[str, Any]]) -> None:
    """Export, and say what to run next."""
    export_encoder(config, run_dir, history)
    print(f"exported {run_dir / ENCODER_FILE} and {MODEL_FILE}; look at {run_dir / PICTURE}")
    print(f"start from it: python -m train.scratch --init-from {run_dir}{network_flags(config)}")


def network_flags(config: AutoencoderConfig) -> str:
    """Return the flags that train.scratch needs to build the same network."""
    asked = ((name, getattr(config, name)) for name in ENCODER_SETTINGS)
    default = AutoencoderConfig
    return "".join(f" --{name} {value}" for name, value in asked if value != getattr(default, name))


def export_encoder(config: AutoencoderConfig, run_dir: Path, history: list[dict[str, Any]]) -> None:
    """Write encoder.pt, for --init-from, and the complete autoencoder as TorchScript.

    Args:
        config: The settings.
        run_dir: The run folder, with checkpoints/last.pt.
        history: One record per epoch.

    Raises:
        TrainingError: The TorchScript computes something else; neither file is written.
    """
    import torch

    from models.model_file.torchscript import script_network
    from train.data.unlabelled import photo_keys
    from train.engine.checkpoints import load_checkpoint, save_checkpoint
    from train.engine.recipe import build_trained
    from train.exporting.model_file import PRIVATE

    saved = load_checkpoint(run_dir / "checkpoints" / "last.pt")
    split = Split.load(run_dir / "split.json")
    model = build_trained(config, 0, saved["model"]).eval()
    scripted = script_network(model, config.image_size)
    example = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.no_grad():
        difference = (scripted(example) - model(example)).abs().max().item()
    if not difference < MAX_DIFFERENCE:  # also where it is not a number
        raise TrainingError(f"the autoencoder's TorchScript is off by {difference}; not exported")
    with atomic(run_dir / MODEL_FILE) as partial:
        scripted.save(str(partial))
    pretraining = {
        "config": {k: v for k, v in config.to_dict().items() if k not in (*PRIVATE, "extra")},
        "split": split.fingerprint,
        "photos": len(split.train),
        # A training that starts here learns from them which of its validation photos were seen.
        "photo_keys": sorted(photo_keys(Path(split.root), split.train)),
        "epochs": history[-1]["epoch"],
        "val/loss": history[-1]["val/loss"],
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
    flags = parse_flags(AutoencoderConfig, "python -m train.autoencoder", EXAMPLES, TRAINING)
    sys.exit(main(flags))
