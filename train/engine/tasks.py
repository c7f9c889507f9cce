"""What a training learns, for the one loop in trainer.py: landmarks, or to restore hidden photos.

A task knows its loss, its validation and how to show both; epochs, checkpoints, resume and stops
are the Trainer's.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from models.networks.autoencoder import reconstruction_loss, spoil
from train.config import AutoencoderConfig, TrainConfig
from train.data.batches import OUTSIDE, PhotoDataset
from train.engine.plots import draw_rows
from train.evaluation.metrics import classification_metrics

Batch = dict[str, Tensor]
DISTILLED = 0.7
"""Weight of the teachers' answers in the loss; the labels and outside photos have the rest."""
SHOWN = 8  # photos in a picture of reconstructions
SHOW_EVERY = 5  # epochs between two such pictures


class Task(Protocol):
    """What the Trainer asks of a task.

    Attributes:
        keeps_best: Whether best.pt holds the weights with the best val/top1; else the last weights
            are the result.
    """

    keeps_best: bool

    def loss(self, model: nn.Module, batch: Batch, mix: bool, key: tuple[int, ...]) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            model: In train mode.
            batch: What PhotoDataset gives, batched.
            mix: Whether the phase mixes photos.
            key: (seed, epoch, step). All draws depend on it or on torch's global state, which is
                seeded with it, so that a resumed run draws the same.
        """

    def validate(self, model: nn.Module, loader: DataLoader) -> dict[str, float]:
        """Return the figures of the validation photos: val/loss and others."""

    def draw(self, model: nn.Module, photos: PhotoDataset, epoch: int) -> Figure | None:
        """Return a picture of validation photos after an epoch, counted from 1, if one is due."""

    def describe(self, record: dict[str, Any]) -> str:
        """Return the line for the terminal that tells of an epoch."""


class Classification:
    """Tell landmarks apart: cross entropy, mixup and CutMix, top-1 and top-5.

    Outside photos in a batch are pulled towards a uniform answer. Where there are teachers, all
    photos of a batch are pulled towards their answers, too.
    """

    keeps_best = True

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        class_count: int,
        teachers: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Hold the settings.

        Args:
            config: The settings.
            accelerator: Devices, precision and processes.
            class_count: K.
            teachers: (B, 3, S, S) images -> (B, K) float32 probabilities to learn.
        """
        self.config, self.accelerator, self.teachers = config, accelerator, teachers
        self.mix = build_mix(config, class_count)

    def loss(self, model: nn.Module, batch: Batch, mix: bool, key: tuple[int, ...]) -> Tensor:
        """Return the cross entropy of a batch, in nats; a part of the batches is mixed first."""
        outside = batch["labels"] == OUTSIDE
        images, labels = batch["images"][~outside], batch["labels"][~outside]
        if mix and self.mix is not None and torch.rand(()) < self.config.mix_probability:
            images, labels = self.mix(images, labels)
        # Channels last, as the model's weights are: faster convolutions on CPU and GPU.
        images = torch.cat([images, batch["images"][outside]])
        images = images.contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            logits = model(images)
        # In fp32: the logarithm of a small probability needs more digits than bf16 has.
        logits = logits.float()
        own, others = logits.split([len(labels), len(logits) - len(labels)])
        smoothing = self.config.label_smoothing
        loss = nn.functional.cross_entropy(own, labels, label_smoothing=smoothing)
        if len(others) > 0:
            loss = loss + self.config.outside_weight * self.outside_loss(own, others)
        if self.teachers is None:
            return loss
        with self.accelerator.autocast():
            answers = self.teachers(images)
        return (1 - DISTILLED) * loss + DISTILLED * distillation_loss(logits, answers)

    def outside_loss(self, own: Tensor, others: Tensor) -> Tensor:
        """Return what the outside photos of a batch add to the loss, in nats.

        Args:
            own: (B, K) float32 logits of the landmark photos, which this loss leaves alone.
            others: (M, K) float32 logits of the outside photos.
        """
        return uniform_loss(others)

    def validate(self, model: nn.Module, loader: DataLoader) -> dict[str, float]:
        """Return val/loss in nats, val/top1 and val/top5 as fractions."""
        figures = classification_metrics(*self.predict(model, loader))
        return {f"val/{name}": value for name, value in figures.items()}

    @torch.no_grad()
    def predict(self, model: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor]:
        """Return logits and labels of every photo of a loader, once each, on every process.

        Returns:
            (N, K) float32 and (N,) int64, on the CPU.
        """
        model.eval()
        all_logits, all_labels = [], []
        for batch in loader:
            images = batch["images"].contiguous(memory_format=torch.channels_last)
            with self.accelerator.autocast():
                logits = model(images).float()
            # Not gather: it would count twice the photos that fill the last batch up.
            logits, labels = self.accelerator.gather_for_metrics((logits, batch["labels"]))
            all_logits.append(logits.cpu())
            all_labels.append(labels.cpu())
        return torch.cat(all_logits), torch.cat(all_labels)

    def draw(self, model: nn.Module, photos: PhotoDataset, epoch: int) -> None:
        """Return no picture: the figures say it all."""

    def describe(self, record: dict[str, Any]) -> str:
        """Return the line for the terminal that tells of an epoch."""
        return (
            f"epoch {record['epoch']:>2} {record['phase']:<4}  loss {record['train/loss']:.3f}  "
            f"val loss {record['val/loss']:.3f}  top-1 {record['val/top1']:.1%}  "
            f"top-5 {record['val/top5']:.1%}  {record['images_per_second']:.0f} images/s"
        )


class Reconstruction:
    """Restore photos of which most is hidden; labels are ignored."""

    keeps_best = False

    def __init__(self, config: AutoencoderConfig, accelerator: Accelerator) -> None:
        """Hold the settings."""
        self.config, self.accelerator = config, accelerator

    def loss(self, model: nn.Module, batch: Batch, mix: bool, key: tuple[int, ...]) -> Tensor:
        """Return the mean squared error of what the model makes of spoiled photos."""
        spoiled, hidden = self._spoil(batch["images"], key)
        with self.accelerator.autocast():
            output = model(spoiled)
        return reconstruction_loss(output, batch["images"], hidden)

    @torch.no_grad()
    def validate(self, model: nn.Module, loader: DataLoader) -> dict[str, float]:
        """Return val/loss, the mean over the photos; every epoch hides the same squares."""
        model.eval()
        total = 0.0
        for number, batch in enumerate(loader):
            # The key leaves the epoch out: two epochs then differ only by the weights.
            loss = self.loss(model, batch, False, (number,))
            total += loss.item() * len(batch["images"])
        return {"val/loss": total / len(loader.dataset)}

    @torch.no_grad()
    def draw(self, model: nn.Module, photos: PhotoDataset, epoch: int) -> Figure | None:
        """Show photos after the first, last and every fifth epoch: as seen, restored, original."""
        if epoch % SHOW_EVERY and epoch not in (1, self.config.epochs):
            return None
        model.eval()
        count = min(SHOWN, len(photos))
        chosen = np.linspace(0, len(photos) - 1, count).round().astype(int).tolist()
        images = torch.stack([photos[(0, photo)]["images"] for photo in chosen])
        images = images.to(self.accelerator.device)
        spoiled, _ = self._spoil(images, (0,))
        with self.accelerator.autocast():
            output = model(spoiled).float()
        rows = {
            name: (0.5 + 0.5 * pictures).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
            for name, pictures in (("seen", spoiled), ("restored", output), ("photo", images))
        }
        return draw_rows(rows, f"Held-out photos after epoch {epoch}")

    def describe(self, record: dict[str, Any]) -> str:
        """Return the line for the terminal that tells of an epoch."""
        return (
            f"epoch {record['epoch']:>2}  loss {record['train/loss']:.4f}  "
            f"val loss {record['val/loss']:.4f}  {record['images_per_second']:.0f} images/s"
        )

    def _spoil(self, images: Tensor, key: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return what the encoder sees of photos, and which pixels are hidden from it."""
        # A generator per key, on the CPU: resume needs no state, and every device hides the same.
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        generator, config = torch.Generator().manual_seed(seed), self.config
        spoiled, hidden = spoil(images, config.patch, config.mask_ratio, config.noise, generator)
        return spoiled.contiguous(memory_format=torch.channels_last), hidden


def uniform_loss(logits: Tensor) -> Tensor:
    """Return how far answers are from uniform (outlier exposure, Hendrycks et al. 2019).

    Args:
        logits: (M, K) float32 of outside photos, M > 0.

    Returns:
        The mean divergence KL(uniform || softmax) in nats; 0 where all classes are equally likely.
    """
    return -logits.log_softmax(1).mean() - math.log(logits.shape[1])


def distillation_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Return how far answers are from the teachers' (Hinton et al. 2015, at temperature 1).

    Args:
        logits: (B, K) float32.
        answers: (B, K) float32, the teachers' probabilities.

    Returns:
        The mean divergence KL(teachers || softmax) in nats; 0 where they agree.
    """
    return nn.functional.kl_div(logits.log_softmax(1), answers, reduction="batchmean")


def build_mix(config: TrainConfig, class_count: int) -> Callable[[Tensor, Tensor], Any] | None:
    """Return a random choice of mixup and CutMix, of those that are turned on; None for neither."""
    mixes: list[Any] = []
    if config.mixup > 0:
        mixes.append(v2.MixUp(alpha=config.mixup, num_classes=class_count))
    if config.cutmix > 0:
        mixes.append(v2.CutMix(alpha=config.cutmix, num_classes=class_count))
    return v2.RandomChoice(mixes) if mixes and config.mix_probability > 0 else None
