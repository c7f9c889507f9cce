"""Fine-tune a pretrained backbone: python -m train.transfer --data DIR."""

import sys

import tyro

from train.config import TransferConfig
from train.engine.sagemaker import train_job

if __name__ == "__main__":
    sys.exit(train_job(tyro.cli(TransferConfig, prog="python -m train.transfer")))
