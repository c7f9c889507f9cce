"""Pretraining without labels: its settings and its loop."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from timm.optim import param_groups_weight_decay
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from models.environment import default_cache
from models.networks.autoencoder import Autoencoder, reconstruction_loss, spoil
from train.config import ScratchConfig, default_data
from train.engine.checkpoints import load_checkpoint, save_checkpoint
from train.engine.phases import Progress, build_optimizer, schedule_factor
from train.engine.plots import draw_rows
from train.engine.trainer import Interrupted, TrainingError

WARMUP = 0.05  # part of the steps
SHOWN = 8  # photos in a picture of reconstructions
SHOW_EVERY = 5  # epochs from one such picture to the next


@dataclass(frozen=True)
class AutoencoderConfig:
    """Pretrain the network of train.scratch on photos without labels: hide most, restore all.

    A setting that train.scratch has too means the same. What decides the network and the held-out
    photos must be given to both.
    """

    command: ClassVar[str] = "train.autoencoder"
    network_name: ClassVar[str] = "autoencoder"
    # What train.tracking.wandb_run asks of every training.
    group: ClassVar[None] = None
    tags: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[None] = None
    upload_photos: ClassVar[bool] = False

    data: Path = field(default_factory=default_data)
    """What train.scratch takes (what it validates on is held out), or any folder with photos at
    any depth. Folders named test are never opened."""
    extra: tuple[str, ...] = ()
    """Further such folders."""
    epochs: int = 60
    """Passes over the photos."""
    image_size: int = ScratchConfig.image_size
    """Side in pixels of the crops, a multiple of 32."""
    patch: int = 16
    """Side in pixels of the squares that are hidden; divides image_size."""
    mask_ratio: float = 0.6
    """Part of the squares that is hidden (SparK, Tian et al. 2023)."""
    noise: float = 0.1
    """Standard deviation of the noise on the visible ones; black and white are 2 apart."""
    batch_size: int = 64
    """Photos per step."""
    learning_rate: float = ScratchConfig.learning_rate
    """Peak, after a warm-up over a twentieth of the steps; then a cosine to zero. Optimizer and
    weight decay are those of train.scratch."""
    flip: bool = True
    """Mirror half of the photos. Hiding is augmentation enough beside crops (He et al. 2022)."""
    width: int = ScratchConfig.width
    """Channels of the first stage; the further ones have 2, 4 and 6 times as many."""
    depth: int = ScratchConfig.depth
    """Residual blocks per stage."""
    stem: Literal["conv", "deep", "patch"] = ScratchConfig.stem
    """One 3x3 convolution, three of them, or patches of 4 x 4 pixels."""
    norm: Literal["batch", "group"] = ScratchConfig.norm
    """Normalisation: over the batch, or over groups of channels of each photo."""
    activation: Literal["relu", "silu", "gelu"] = ScratchConfig.activation
    """Between the layers."""
    val_fraction: float = ScratchConfig.val_fraction
    """Part of the photos that is held out, per class."""
    split_seed: int = 0
    """Decides which photos are held out."""
    seed: int = 0
    """Seed of weights, order, crops, hidden squares and noise."""
    limit: int | None = None
    """At most so many photos per class, or of a folder without classes, for a quick try."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast; auto: bf16 where the hardware has it, fp16 on other GPUs, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ..."""
    workers: int = 1
    """Processes that crop photos; 0 crops in the training process."""
    cache_dir: Path = field(default_factory=default_cache)
    """Where decoded photos are kept between runs (LANDMARKS_CACHE)."""
    run_dir: Path | None = None
    """Folder of this run; none: runs/<time>-autoencoder-s<seed>."""
    resume: Path | None = None
    """Run folder to go on with; its own settings are used."""
    wandb: Literal["online", "offline", "disabled"] | None = None
    """Weights & Biases; none: WANDB_MODE, else online where a key is, else offline."""
    entity: str | None = None
    """W&B user or team; none: WANDB_ENTITY, else the key's own."""
    project: str | None = None
    """W&B project; none: WANDB_PROJECT, else landmarks."""

    def __post_init__(self) -> None:
        """Reject settings that cannot work, before anything is written."""
        side, patch = self.image_size, self.patch
        rules = {
            "image-size must be a multiple of 32": side > 0 and side % 32 == 0,
            "patch must divide image-size into parts": 0 < patch < side and side % patch == 0,
            "mask-ratio must lie in (0, 1)": 0 < self.mask_ratio < 1,
            "noise must be at least 0": self.noise >= 0,
        }
        for message, holds in rules.items():
            if not holds:
                raise ValueError(message)
        self.scratch()

    def scratch(self) -> ScratchConfig:
        """The settings that both commands have, as those of a training to come.

        Raises:
            ValueError: One that cannot work.
        """
        names = {each.name for each in fields(ScratchConfig)}
        return ScratchConfig(**{k: v for k, v in vars(self).items() if k in names})

    def to_dict(self) -> dict[str, Any]:
        """The command and the fields, as JSON-ready values."""
        return {"command": self.command} | {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }


class Pretrainer:
    """An autoencoder under training; fit() runs it to the end, from the start or a checkpoint.

    Args:
        config: Settings.
        model: To train.
        train_loader: Over EpochBatches; prepared here.
        val_loader: Over EpochBatches without shuffle; prepared here.
        accelerator: Device and precision; of one process.
        run_dir: Checkpoints go to run_dir/checkpoints.
        log: Gets the figures of each epoch, and a picture of reconstructions with some.
        should_stop: Asked after each step; True saves and raises Interrupted.
    """

    def __init__(
        self,
        config: AutoencoderConfig,
        model: Autoencoder,
        train_loader: DataLoader,
        val_loader: DataLoader,
        accelerator: Accelerator,
        run_dir: Path,
        log: Callable[[dict[str, Any], Figure | None], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Prepare the parts for the device."""
        self.config, self.accelerator, self.log = config, accelerator, log
        self.should_stop, self.last = should_stop, run_dir / "checkpoints" / "last.pt"
        self.batches = train_loader.batch_sampler
        self.photos, self.held_out = train_loader.dataset, val_loader.dataset
        self.model = model.to(accelerator.device, memory_format=torch.channels_last)
        self.settings = config.scratch()
        groups = param_groups_weight_decay(self.model, self.settings.weight_decay)
        optimizer = build_optimizer(self.settings, groups, self.model.decoder.last)
        prepared = accelerator.prepare(train_loader, val_loader, optimizer)
        self.train_loader, self.val_loader, self.optimizer = prepared
        self.progress = Progress()

    def fit(self) -> Progress:
        """Train; the weights at the end are the result, since the rate ends at zero.

        Raises:
            Interrupted: A stop was asked for; last.pt goes on from that very step.
            TrainingError: The loss is not finite.
        """
        if self.last.is_file():
            saved = load_checkpoint(self.last)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.progress = Progress(**saved["progress"])
        while self.progress.epoch < self.config.epochs:
            self._train_epoch()
        return self.progress

    def _train_epoch(self) -> None:
        config, progress, batches = self.config, self.progress, self.batches
        total = config.epochs * len(batches)
        batches.epoch, batches.first_batch = progress.epoch, progress.batch
        self.model.train()
        bar = tqdm(
            total=len(batches) * batches.batch_size, initial=progress.batch * batches.batch_size,
            desc=f"epoch {progress.epoch + 1}/{config.epochs}", unit="image", leave=False,
        )  # fmt: skip
        started, first_batch, factor = time.perf_counter(), progress.batch, 0.0
        for batch in self.train_loader:
            step = progress.epoch * len(batches) + progress.batch
            factor = schedule_factor(step, total, round(WARMUP * total))
            loss = self._step(batch["images"], config.learning_rate * factor)
            if not math.isfinite(loss):
                names = [self.photos.cache.paths[photo] for photo in batch["photos"].tolist()]
                raise TrainingError(
                    f"the loss is {loss} at epoch {progress.epoch + 1}, step {progress.batch}, "
                    f"learning rate {config.learning_rate * factor:.2e}, photos: "
                    f"{', '.join(names[:8])}, ... Lower --learning-rate, or try --precision fp32"
                )
            progress.batch += 1
            progress.loss_sum += loss
            bar.set_postfix(loss=f"{progress.loss_sum / progress.batch:.4f}", refresh=False)
            bar.update(batches.batch_size)
            if self.should_stop():
                progress.elapsed_seconds += time.perf_counter() - started
                self._save()
                raise Interrupted
        bar.close()
        elapsed = time.perf_counter() - started
        progress.elapsed_seconds += elapsed
        progress.epoch += 1
        record = {
            "epoch": progress.epoch,
            "train/loss": progress.loss_sum / len(batches),
            "train/learning_rate": config.learning_rate * factor,
            "images_per_second": (progress.batch - first_batch) * batches.batch_size / elapsed,
            "val/loss": self.validate(),
            "elapsed_seconds": round(progress.elapsed_seconds, 1),
        }
        progress.history.append(record)
        progress.batch, progress.loss_sum = 0, 0.0
        shown = progress.epoch % SHOW_EVERY == 0 or progress.epoch in (1, config.epochs)
        self.log(record, self.show() if shown else None)
        self._save()
        if self.should_stop():
            raise Interrupted

    def _step(self, images: Tensor, learning_rate: float) -> float:
        """One optimizer step; the loss of the batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        # Drawn anew for each step from its number, so that resume needs no state.
        loss = self._loss(images, (self.config.seed, self.progress.epoch, self.progress.batch))
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def _loss(self, images: Tensor, key: tuple[int, ...]) -> Tensor:
        spoiled, hidden = self._spoil(images, key)
        with self.accelerator.autocast():
            output = self.model(spoiled)
        return reconstruction_loss(output, images, hidden)

    def _spoil(self, images: Tensor, key: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """What the encoder sees of photos, and which pixels it does not; drawn by the key alone."""
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        generator, config = torch.Generator().manual_seed(seed), self.config
        spoiled, hidden = spoil(images, config.patch, config.mask_ratio, config.noise, generator)
        return spoiled.contiguous(memory_format=torch.channels_last), hidden

    @torch.no_grad()
    def validate(self) -> float:
        """Mean loss of the held-out photos, with the same squares hidden each time."""
        self.model.eval()
        total = 0.0
        for number, batch in enumerate(self.val_loader):
            total += self._loss(batch["images"], (number,)).item() * len(batch["images"])
        return total / len(self.held_out)

    @torch.no_grad()
    def show(self) -> Figure:
        """Some held-out photos: what the encoder saw, what came out, what was there."""
        self.model.eval()
        count = min(SHOWN, len(self.held_out))
        chosen = np.linspace(0, len(self.held_out) - 1, count).round().astype(int).tolist()
        images = torch.stack([self.held_out[(0, photo)]["images"] for photo in chosen])
        images = images.to(self.accelerator.device)
        spoiled, _ = self._spoil(images, (0,))
        with self.accelerator.autocast():
            output = self.model(spoiled).float()
        rows = {
            name: (0.5 + 0.5 * pictures).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
            for name, pictures in (("seen", spoiled), ("restored", output), ("photo", images))
        }
        return draw_rows(rows, f"Held-out photos after epoch {self.progress.epoch}")

    def _save(self) -> None:
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_checkpoint(self.last, parts | {"progress": asdict(self.progress)})
