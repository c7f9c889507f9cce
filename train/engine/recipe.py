"""What a command trains: its network, its phases, and what the network wants to see."""

import dataclasses
from typing import Any

from timm.optim import param_groups_weight_decay
from torch import nn

from models.model_file.preprocess import Preprocess
from models.networks.autoencoder import load_encoder
from models.networks.pretrained import (
    build_pretrained,
    check_image_sizes,
    freeze_backbone,
    layer_learning_rates,
    normalisation,
    unfreeze,
)
from models.networks.scratch_cnn import ScratchCNN
from train.config import ScratchConfig, TrainConfig, TransferConfig
from train.engine.phases import Phase

HALF = (0.5, 0.5, 0.5)


def build_network(config: TrainConfig, class_count: int) -> nn.Module:
    """The network with its starting weights.

    Raises:
        BackboneError: Weights that cannot be had, or sizes that the backbone cannot see.
        EncoderError: A pretrained encoder that cannot be read or is of another network.
        ValueError: A network that is too large.
    """
    if isinstance(config, ScratchConfig):
        network = ScratchCNN(
            class_count, config.width, config.depth, config.stem, config.norm, config.activation,
            config.drop_path, config.drop_rate,
        )  # fmt: skip
        if config.init_from is not None:
            load_encoder(config.init_from, network, config.to_dict())
        return network
    assert isinstance(config, TransferConfig)
    model = build_pretrained(
        config.backbone, class_count, config.pretrained, config.weights, config.drop_rate
    )
    check_image_sizes(model, {config.image_size, config.eval_side_px})
    return model


def build_trained(config: TrainConfig, class_count: int, weights: dict[str, Any]) -> nn.Module:
    """The network with the weights of a checkpoint, for export."""
    if isinstance(config, TransferConfig):
        config = dataclasses.replace(config, pretrained=False)
    elif isinstance(config, ScratchConfig):
        config = dataclasses.replace(config, init_from=None)
    model = build_network(config, class_count)
    model.load_state_dict(weights)
    return model


def build_preprocess(config: TrainConfig, model: nn.Module) -> Preprocess:
    """What validation and the model file do to a photo."""
    mean, std = normalisation(model) if isinstance(config, TransferConfig) else (HALF, HALF)
    return Preprocess(config.eval_side_px, config.eval_side_px, config.resize_mode, mean, std)


def build_phases(config: TrainConfig) -> list[Phase]:
    """The stretches of a training.

    Pretrained: the head on a frozen backbone, then all with lower rates towards the input. From
    random weights no layer knows anything that is worth keeping: all at once.
    """
    if not isinstance(config, TransferConfig):
        return [Phase("all", config.epochs, lambda model: _equal_rates(model, config), True, True)]
    head_epochs = min(config.head_epochs, config.epochs) if config.pretrained else 0
    layer_decay = config.layer_decay if config.pretrained else 1.0

    def prepare_head(model: nn.Module) -> list[dict[str, Any]]:
        freeze_backbone(model)
        return layer_learning_rates(model, config.weight_decay, layer_decay)

    def prepare_all(model: nn.Module) -> list[dict[str, Any]]:
        unfreeze(model)
        return layer_learning_rates(model, config.weight_decay, layer_decay)

    return [
        Phase("head", head_epochs, prepare_head, mix=False, average=False),
        Phase("all", config.epochs - head_epochs, prepare_all, mix=True, average=True),
    ]


def _equal_rates(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    groups = param_groups_weight_decay(model, config.weight_decay)
    return [{**group, "lr_scale": 1.0} for group in groups]
