"""Fine-tune a pretrained backbone: python -m train.transfer --data DIR."""

import sys

import tyro

from train.config import TransferConfig
from train.run import run_training

if __name__ == "__main__":
    sys.exit(run_training(tyro.cli(TransferConfig)))
