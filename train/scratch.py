"""Train a network from random weights: python -m train.scratch --data DIR."""

import sys

import tyro

from train.config import ScratchConfig
from train.engine.sagemaker import train_job

if __name__ == "__main__":
    sys.exit(train_job(tyro.cli(ScratchConfig, prog="python -m train.scratch")))
