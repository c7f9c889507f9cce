"""What each command trains: its network, task and phases, and how its photos are prepared."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from accelerate import Accelerator
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.optim import Optimizer

from models.model_file.preprocess import Preprocess
from models.networks.autoencoder import Autoencoder
from models.networks.encoder_file import ENCODER_SETTINGS, load_encoder
from models.networks.pretrained import (
    build_pretrained,
    check_image_sizes,
    freeze_backbone,
    layer_learning_rates,
    normalisation,
    unfreeze,
)
from models.networks.scratch_cnn import ScratchCNN
from train.config import AutoencoderConfig, RunConfig, ScratchConfig, TrainConfig, TransferConfig
from train.engine.phases import Phase, build_optimizer
from train.engine.tasks import Classification, Reconstruction, Task

HALF = (0.5, 0.5, 0.5)
PRETRAINING_WARMUP = 0.05  # part of the steps of train.autoencoder


def build_network(config: RunConfig, class_count: int) -> nn.Module:
    """Build the network with its starting weights.

    Args:
        config: The network's settings.
        class_count: Number of landmarks, K; an autoencoder ignores it.

    Raises:
        BackboneError: Weights are out of reach, or the backbone cannot take photos of these sizes.
        EncoderError: A pretrained encoder cannot be read or is of another network.
        ValueError: The network is too large.
    """
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(**{name: getattr(config, name) for name in ENCODER_SETTINGS})
    if isinstance(config, ScratchConfig):
        own = {
            name: getattr(config, name) for name in (*ENCODER_SETTINGS, "drop_path", "drop_rate")
        }
        network = ScratchCNN(class_count, **own)
        if config.init_from is not None:
            load_encoder(config.init_from, network, config.to_dict())
        return network
    assert isinstance(config, TransferConfig)
    model = build_pretrained(
        config.backbone, class_count, config.pretrained, config.weights, config.drop_rate
    )
    check_image_sizes(model, {config.image_size, config.eval_side_px})
    return model


def build_trained(config: RunConfig, class_count: int, weights: dict[str, Any]) -> nn.Module:
    """Build the network with the weights of a checkpoint, for export.

    Args:
        config: The run's settings; the weights it started from are not needed.
        class_count: Number of landmarks, K.
        weights: The state that the checkpoint holds of the model.
    """
    if isinstance(config, TransferConfig):
        config = dataclasses.replace(config, pretrained=False)
    elif isinstance(config, ScratchConfig):
        config = dataclasses.replace(config, init_from=None)
    model = build_network(config, class_count)
    model.load_state_dict(weights)
    return model


def build_preprocess(config: RunConfig, model: nn.Module) -> Preprocess:
    """Return what validation, and the model file, do to a photo."""
    if isinstance(config, AutoencoderConfig):
        return Preprocess(config.image_size, config.image_size)
    mean, std = normalisation(model) if isinstance(config, TransferConfig) else (HALF, HALF)
    return Preprocess(config.eval_side_px, config.eval_side_px, config.resize_mode, mean, std)


def build_task(
    config: RunConfig,
    accelerator: Accelerator,
    class_count: int,
    teachers: Callable[[Tensor], Tensor] | None = None,
) -> Task:
    """Return what is learned: landmarks, or without labels to restore photos.

    Args:
        config: The settings.
        accelerator: Devices, precision and processes.
        class_count: Number of landmarks, K; an autoencoder ignores it.
        teachers: Whose answers are learned beside the labels; see Classification.
    """
    if isinstance(config, AutoencoderConfig):
        return Reconstruction(config, accelerator)
    return Classification(config, accelerator, class_count, teachers)


def build_phases(config: RunConfig) -> list[Phase]:
    """Return the phases of a training.

    From random weights there is nothing to protect: all layers learn at once. Pretrained layers
    wait until the new head has learned something, whose random gradients would spoil them.
    """
    warmup_steps = functools.partial(_warmup_steps, config)
    if isinstance(config, TransferConfig):
        # Random weights have no features that a head could learn from first.
        head_epochs = min(config.head_epochs, config.epochs) if config.pretrained else 0
        layer_decay = config.layer_decay if config.pretrained else 1.0

        def prepare_layers(freeze: Callable[[nn.Module], None], model: nn.Module) -> Optimizer:
            freeze(model)
            groups = layer_learning_rates(model, config.weight_decay, layer_decay)
            return build_optimizer(config, groups, model.get_classifier())

        prepare_head = functools.partial(prepare_layers, freeze_backbone)
        prepare_all = functools.partial(prepare_layers, unfreeze)
        rest = config.epochs - head_epochs
        return [
            Phase("head", head_epochs, prepare_head, warmup_steps, mix=False, average=False),
            Phase("all", rest, prepare_all, warmup_steps, mix=True, average=True),
        ]
    has_labels = isinstance(config, TrainConfig)

    def prepare(model: nn.Module) -> Optimizer:
        last = model.get_classifier() if has_labels else model.decoder.last
        groups = param_groups_weight_decay(model, config.weight_decay)
        return build_optimizer(config, [{**group, "lr_scale": 1.0} for group in groups], last)

    return [Phase("all", config.epochs, prepare, warmup_steps, mix=has_labels, average=has_labels)]


def _warmup_steps(config: RunConfig, steps_per_epoch: int) -> int:
    if isinstance(config, TrainConfig):
        return round(config.warmup_epochs * steps_per_epoch)
    # Multiplied in this order: a run of an earlier version must round to the same step on resume.
    return round(PRETRAINING_WARMUP * (config.epochs * steps_per_epoch))
