"""Fine-tune a pretrained backbone: python -m train.transfer --data DIR."""

import sys

import tyro
from torch import nn

from models.pretrained import build_pretrained, freeze_backbone, layer_learning_rates, unfreeze
from train.config import TransferConfig
from train.phases import Phase
from train.run import run_training


def build_network(config: TransferConfig, class_count: int) -> nn.Module:
    """The backbone with its weights and a new head of class_count outputs."""
    return build_pretrained(
        config.backbone, class_count, config.pretrained, config.weights, config.drop_rate
    )


def build_phases(config: TransferConfig) -> list[Phase]:
    """Head on a frozen backbone, then all of it with lower rates towards the input."""
    head_epochs = min(config.head_epochs, config.epochs) if config.pretrained else 0
    # Random weights know no layer that is worth keeping.
    layer_decay = config.layer_decay if config.pretrained else 1.0

    def prepare_head(model: nn.Module) -> list[dict[str, object]]:
        freeze_backbone(model)
        return layer_learning_rates(model, config.weight_decay, layer_decay)

    def prepare_all(model: nn.Module) -> list[dict[str, object]]:
        unfreeze(model)
        return layer_learning_rates(model, config.weight_decay, layer_decay)

    return [
        Phase("head", head_epochs, prepare_head, mix=False, average=False),
        Phase("all", config.epochs - head_epochs, prepare_all, mix=True, average=True),
    ]


def main(config: TransferConfig) -> int:
    """Train, export, and say where the model file is."""
    return run_training(config, build_network, build_phases, "train.transfer")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(TransferConfig)))
