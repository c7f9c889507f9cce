"""The stretches of a training, its schedule, and where in it one is."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.optim import Muon
from torch import Tensor, nn
from torchvision.transforms import v2

from train.config import TrainConfig


@dataclass(frozen=True)
class Phase:
    """A stretch of training with an optimizer and a schedule of its own.

    Attributes:
        name: For the progress bar.
        epochs: How many.
        prepare: Freezes or unfreezes the model and returns its parameter groups (lr_scale each).
        mix: Whether mixup and CutMix apply.
        average: Whether the weights are averaged (EMA), the average being what is validated.
    """

    name: str
    epochs: int
    prepare: Callable[[nn.Module], list[dict[str, Any]]]
    mix: bool
    average: bool


@dataclass
class Progress:
    """Where a training is: all that a checkpoint holds beside tensors."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    elapsed_seconds: float = 0.0
    best_epoch: int = -1
    best_top1: float = -1.0
    best_loss: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)


def schedule_factor(step: int, steps: int, warmup_steps: int, schedule: str = "cosine") -> float:
    """Learning rate as a fraction of its peak: linear warm-up, then a cosine or line to zero."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(
    config: TrainConfig, groups: list[dict[str, Any]], head: nn.Module
) -> torch.optim.Optimizer:
    """AdamW, or Muon with AdamW for vectors and the head.

    Muon makes the update of each weight matrix orthogonal, so that all directions learn alike, at
    the root mean square of an AdamW update. A classifier's rows are no such directions.

    Args:
        config: optimizer and learning_rate.
        groups: Of parameters: params, lr_scale, weight_decay.
        head: The classifier.
    """
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    last = set(head.parameters())
    split = []
    for group in groups:
        for is_head in (False, True):
            params = [param for param in group["params"] if (param in last) == is_head]
            if params:
                split.append({**group, "params": params, "use_fallback": is_head})
    return Muon(split, lr=config.learning_rate, nesterov=True, normalize_spatial=False)


def build_mix(config: TrainConfig, class_count: int) -> Callable[[Tensor, Tensor], Any] | None:
    """Mixup and CutMix in equal parts, of those whose parameter is above 0; None for neither."""
    mixes: list[Any] = []
    if config.mixup > 0:
        mixes.append(v2.MixUp(alpha=config.mixup, num_classes=class_count))
    if config.cutmix > 0:
        mixes.append(v2.CutMix(alpha=config.cutmix, num_classes=class_count))
    return v2.RandomChoice(mixes) if mixes and config.mix_probability > 0 else None
