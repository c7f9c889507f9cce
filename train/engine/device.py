"""Where and how precisely a training computes."""

import logging

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from train.config import TrainConfig


def build_accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision and processes, from the settings and torchrun's environment.

    Raises:
        ValueError: A device that is not there.
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
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )
