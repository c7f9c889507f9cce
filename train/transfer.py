"""Fine-tune a pretrained backbone: python -m train.transfer --data DIR."""

import sys

from models.command_line import parse_flags
from models.environment import TRAINING
from train.config import TransferConfig
from train.engine.sagemaker import train_job

EXAMPLES = (
    "python -m train.transfer --data photos",
    "python -m train.transfer --data photos --backbone resnet18 --epochs 20 --image-size 192",
    "python -m train.transfer --resume runs/20250101-120000-resnet18-s0",
)

if __name__ == "__main__":
    flags = parse_flags(TransferConfig, "python -m train.transfer", EXAMPLES, TRAINING)
    sys.exit(train_job(flags))
