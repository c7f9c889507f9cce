"""Run a training as a job of Amazon SageMaker: its variables, folders and processes.

Outside of a job, nothing here has an effect. The photos come from SM_CHANNEL_TRAINING, see
train.config. Names: github.com/aws/sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md.
"""

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from models.files import atomic
from train.config import TrainConfig
from train.engine.training_run import run_training

# Where this folder exists, S3 mirrors it while the job runs and fills it before a restart.
CHECKPOINTS = Path("/opt/ml/checkpoints")
# The model comes last: where it exists, the others are complete.
HANDED_OVER = ("MODEL_CARD.md", "manifest.json", "model.pt")


def train_job(config: TrainConfig) -> int:
    """Train as run_training does, and hand the finished model over to the job.

    SM_NUM_GPUS is the number of processes: 0 means the CPU; with several, this process becomes
    torchrun, unless torchrun started it. SM_MODEL_DIR gets the finished model.

    Args:
        config: The settings.

    Returns:
        The exit status of run_training, or 2 where a variable of the job is wrong.
    """
    try:
        # torchrun sets LOCAL_RANK for the processes that it starts: they go straight to training.
        if "LOCAL_RANK" not in os.environ and (processes := process_count()) > 1:
            launch(config, processes, sys.argv[1:])
        config = place_job(config)
        status = run_training(config)
        model_dir = os.environ.get("SM_MODEL_DIR")
        if status == 0 and model_dir and os.environ.get("RANK", "0") == "0":
            hand_over(config.resume or config.run_dir, Path(model_dir))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return status


def process_count() -> int:
    """Return SM_NUM_GPUS, else 1.

    Raises:
        ValueError: SM_NUM_GPUS is not a number.
    """
    named = os.environ.get("SM_NUM_GPUS", "1")
    if not named.isdecimal():
        raise ValueError(f"SM_NUM_GPUS is {named!r}; it must be a whole number, 0 for the CPU")
    return int(named)


def place_job(config: TrainConfig) -> TrainConfig:
    """Return the settings with the job's device and run folder, where flags leave them open.

    The run folder goes where SageMaker keeps it: to /opt/ml/checkpoints, else SM_OUTPUT_DATA_DIR.
    A run that is already there is resumed: it was cut when a spot instance was taken away.
    """
    if process_count() == 0 and config.device == "auto":
        config = dataclasses.replace(config, device="cpu")
    if "SM_MODEL_DIR" not in os.environ or config.resume or config.run_dir:
        return config
    name = f"{config.network_name}-s{config.seed}"
    output = os.environ.get("SM_OUTPUT_DATA_DIR")
    if not (CHECKPOINTS.is_dir() or output):
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return dataclasses.replace(config, run_dir=Path("runs") / f"{stamp}-{name}")
    run_dir = (CHECKPOINTS if CHECKPOINTS.is_dir() else Path(output)) / name
    if (run_dir / "config.json").is_file():
        return dataclasses.replace(config, resume=run_dir)
    return dataclasses.replace(config, run_dir=run_dir)


def launch(config: TrainConfig, processes: int, arguments: Sequence[str]) -> None:
    """Replace this process by torchrun, so that signals and the exit status pass directly.

    Args:
        config: The settings.
        processes: How many processes to start.
        arguments: What followed the command.
    """
    import torch

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    count = ["--nproc-per-node", str(processes)]
    command = [*torchrun, *count, "-m", config.command, *arguments]
    environment = dict(os.environ)
    if config.device == "cpu" or not torch.accelerator.is_available():
        print(f"{processes} processes on the CPU: torch sees no GPU, or --device says so")
        environment["ACCELERATE_USE_CPU"] = "true"
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def hand_over(run_dir: Path, model_dir: Path) -> None:
    """Copy a finished model to where SageMaker takes it from; no file is ever half-written."""
    model_dir.mkdir(parents=True, exist_ok=True)
    for name in HANDED_OVER:
        with atomic(model_dir / name) as partial:
            shutil.copyfile(run_dir / name, partial)
    print(f"model handed over to {model_dir}")
