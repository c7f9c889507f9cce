"""Train a network from random weights: python -m train.scratch --data DIR."""

import sys

import tyro

from train.config import ScratchConfig
from train.run import run_training

if __name__ == "__main__":
    sys.exit(run_training(tyro.cli(ScratchConfig)))
