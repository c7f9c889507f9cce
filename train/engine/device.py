"""Choose where and how precisely a training computes."""

import logging

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration

from train.config import RunConfig


def build_accelerator(config: RunConfig) -> Accelerator:
    """Choose device, precision and processes from the settings and torchrun's environment.

    Args:
        config: device and precision.

    Raises:
        ValueError: The device does not exist.
    """
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    cuda = torch.cuda.is_available()
    if config.device.startswith("cuda"):
        if not cuda:
            raise ValueError(f"there is no GPU for --device {config.device}; try --device cpu")
        torch.cuda.set_device(config.device if ":" in config.device else "cuda:0")
    cpu = config.device == "cpu" or (
        config.device == "auto" and not torch.accelerator.is_available()
    )
    precision = config.precision
    if precision == "auto":
        # bf16 without the hardware's instructions is slower than fp32.
        if not cpu and cuda:
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            precision = "bf16" if cpu and torch.cpu._is_avx512_bf16_supported() else "fp32"
    return Accelerator(
        cpu=cpu,
        mixed_precision="no" if precision == "fp32" else precision,
        # --batch-size counts photos over all processes, so each gets a part of every batch.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )


def release_accelerator() -> None:
    """Leave the group of processes and forget device and precision.

    accelerate keeps both for the life of the process: a second run in it (a notebook, a test) could
    not choose another precision.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)
