"""The phases of a training, the schedule of the learning rate, and the progress in between."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.optim import Muon
from torch import nn

from train.config import RunConfig


@dataclass(frozen=True)
class Phase:
    """A stretch of training with an optimizer and a schedule of its own.

    Attributes:
        name: Shown in the progress bar and recorded with each epoch.
        epochs: Its length.
        prepare: Freezes or unfreezes the model and returns the optimizer of what learns. Its groups
            have an lr_scale each, a factor on the learning rate.
        warmup_steps: Steps per epoch -> steps over which the learning rate rises to its peak.
        mix: Whether mixup and CutMix apply.
        average: Whether the weights are averaged (EMA), and the average is what is validated.
    """

    name: str
    epochs: int
    prepare: Callable[[nn.Module], torch.optim.Optimizer]
    warmup_steps: Callable[[int], int]
    mix: bool
    average: bool


@dataclass
class Progress:
    """How far a training is: all that a checkpoint holds beside tensors.

    Attributes:
        epoch: Completed epochs, over all phases.
        batch: Completed batches of the current epoch.
        loss_sum: Sum of their losses.
        elapsed_seconds: Time spent on training steps.
        best_epoch: The epoch of best.pt, counted from 0; -1 before the first validation.
        best_top1: Its validation top-1, a fraction.
        best_loss: Its validation loss, which decides between equal top-1.
        history: One record per epoch, as in metrics.jsonl.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    elapsed_seconds: float = 0.0
    best_epoch: int = -1
    best_top1: float = -1.0
    best_loss: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)


def schedule_factor(step: int, steps: int, warmup_steps: int, schedule: str = "cosine") -> float:
    """Return the learning rate as a fraction of its peak: linear warm-up, then a fall to zero.

    Args:
        step: The step, counted from 0 at the start of the phase.
        steps: Steps of the phase.
        warmup_steps: How many of them belong to the warm-up.
        schedule: "cosine" or "linear", the shape of the fall.
    """
    if step < warmup_steps:  # from above zero: a step at rate zero would be lost
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(
    config: RunConfig, groups: list[dict[str, Any]], head: nn.Module
) -> torch.optim.Optimizer:
    """Build AdamW, or Muon with AdamW for vectors and the head.

    Muon makes the update of each weight matrix orthogonal, so that all directions learn alike, at
    the root mean square of an AdamW update. A classifier's rows are no such directions.

    Args:
        config: optimizer and learning_rate.
        groups: Groups of parameters: params, lr_scale, weight_decay.
        head: The last layer.
    """
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    # A group has one rule, so a group that holds the head and other layers becomes two.
    last = set(head.parameters())
    split = []
    for group in groups:
        for is_head in (False, True):
            params = [param for param in group["params"] if (param in last) == is_head]
            if params:
                split.append({**group, "params": params, "use_fallback": is_head})
    return Muon(split, lr=config.learning_rate, nesterov=True, normalize_spatial=False)
