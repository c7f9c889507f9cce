"""Train a network from random weights: python -m train.scratch --data DIR."""

import sys

from models.command_line import parse_flags
from models.environment import TRAINING
from train.config import ScratchConfig
from train.engine.sagemaker import train_job

EXAMPLES = (
    "python -m train.scratch --data photos",
    "python -m train.scratch --data photos --epochs 20 --image-size 64 --width 32",
    "python -m train.scratch --data photos --init-from runs/20250101-120000-autoencoder-s0",
)

if __name__ == "__main__":
    flags = parse_flags(ScratchConfig, "python -m train.scratch", EXAMPLES, TRAINING)
    sys.exit(train_job(flags))
