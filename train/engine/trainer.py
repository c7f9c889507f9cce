"""The training loop: phases, one optimizer-step path, checkpoints inside an epoch, resume."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from models.networks.pretrained import set_train_mode
from train.config import TrainConfig
from train.engine.checkpoints import load_checkpoint, save_checkpoint
from train.engine.phases import Phase, Progress, build_mix, build_optimizer, schedule_factor
from train.evaluation.metrics import classification_metrics

Log = Callable[[dict[str, float]], None]


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names where and what to change."""


class Interrupted(Exception):
    """A stop by signal, after the checkpoint was saved."""


class Trainer:
    """A model under training; fit() runs it to the end, from the start or a checkpoint.

    Args:
        config: Settings.
        model: (B, 3, S, S) -> (B, K) logits.
        phases: In order.
        train_loader: Over EpochBatches; prepared here.
        val_loader: Over EpochBatches without shuffle; prepared here.
        accelerator: Devices, precision and processes.
        run_dir: Checkpoints go to run_dir/checkpoints.
        fingerprint: Of the split, recorded in each checkpoint.
        log: Gets the figures of each epoch.
        should_stop: Asked after each step; True saves and raises Interrupted.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        phases: list[Phase],
        train_loader: DataLoader,
        val_loader: DataLoader,
        accelerator: Accelerator,
        run_dir: Path,
        fingerprint: str,
        log: Log,
        should_stop: Callable[[], bool],
    ) -> None:
        """Prepare the parts for the device; phases get their optimizers in fit."""
        self.config, self.accelerator, self.phases = config, accelerator, phases
        self.log, self.should_stop = log, should_stop
        self.checkpoints, self.fingerprint = run_dir / "checkpoints", fingerprint
        self.batches = train_loader.batch_sampler
        self.photo_names = train_loader.dataset.cache.paths
        self.class_count = len(np.unique(train_loader.dataset.labels))
        self.mix = build_mix(config, self.class_count)
        self.plain = model.to(accelerator.device, memory_format=torch.channels_last)
        self.train_loader, self.val_loader = accelerator.prepare(train_loader, val_loader)
        self.progress = Progress()
        self.average: ModelEmaV3 | None = None

    def fit(self) -> Progress:
        """Train through all phases; best.pt holds the best weights by validation top-1.

        Raises:
            Interrupted: A stop was asked for; last.pt goes on from that very step.
            TrainingError: The loss is not finite.
        """
        saved = self._load()
        first = 0
        for phase in self.phases:
            end = first + phase.epochs
            if self.progress.epoch < end and not self._is_stale():
                inside = (self.progress.epoch, self.progress.batch) > (first, 0)
                self.start_phase(phase, saved if inside else None)
                saved = None
                while self.progress.epoch < end and not self._is_stale():
                    self._train_epoch(phase, first)
                    self._finish_epoch(phase)
            first = end
        return self.progress

    def _is_stale(self) -> bool:
        done = self.progress.epoch - 1 - self.progress.best_epoch
        return self.progress.batch == 0 and done >= self.config.patience

    def start_phase(self, phase: Phase, saved: dict[str, Any] | None) -> None:
        """Freeze or unfreeze, and give the phase its optimizer; saved: of a checkpoint in it."""
        groups = phase.prepare(self.plain)
        optimizer = build_optimizer(self.config, groups, self.plain.get_classifier())
        self.average = (
            ModelEmaV3(self.plain, self.config.ema_decay, use_warmup=True)
            if phase.average and self.config.ema_decay > 0
            else None
        )
        if saved is not None:
            optimizer.load_state_dict(saved["optimizer"])
            if self.average is not None:
                self.average.module.load_state_dict(saved["average"])
        self.accelerator.free_memory()
        self.optimizer = self.accelerator.prepare(optimizer)
        # Not through prepare: it patches forward for good, which a deep copy (EMA) then shares.
        # Anew for each phase: which parameters learn is read when the model is wrapped.
        several = self.accelerator.num_processes > 1
        self.model = DistributedDataParallel(self.plain) if several else self.plain

    def _train_epoch(self, phase: Phase, first_epoch: int) -> None:
        config, progress, batches = self.config, self.progress, self.batches
        steps_per_epoch = len(batches)
        total = phase.epochs * steps_per_epoch
        warmup = round(config.warmup_epochs * steps_per_epoch)
        batches.epoch, batches.first_batch = progress.epoch, progress.batch
        set_train_mode(self.model)
        title = f"epoch {progress.epoch + 1}/{config.epochs} {phase.name}"
        bar = tqdm(
            total=steps_per_epoch * batches.batch_size, initial=progress.batch * batches.batch_size,
            desc=title, unit="image", leave=False, disable=not self.accelerator.is_main_process,
        )  # fmt: skip
        started, first_batch = time.perf_counter(), progress.batch
        factor = 0.0
        for batch in self.train_loader:
            step = (progress.epoch - first_epoch) * steps_per_epoch + progress.batch
            factor = schedule_factor(step, total, warmup, config.schedule)
            loss = self.step(batch, factor, phase.mix)
            if not math.isfinite(loss):
                self._report_non_finite(loss, factor, batch)
            if self.average is not None:
                self.average.update(self.plain, step=step + 1)
            progress.batch += 1
            progress.loss_sum += loss
            bar.set_postfix(
                loss=f"{progress.loss_sum / progress.batch:.3f}",
                lr=f"{config.learning_rate * factor:.1e}",
                best=f"{max(0.0, progress.best_top1):.1%}",
                refresh=False,
            )
            bar.update(batches.batch_size)
            if self._stop_asked():
                progress.elapsed_seconds += time.perf_counter() - started
                self._save()
                raise Interrupted
        bar.close()
        elapsed = time.perf_counter() - started
        progress.elapsed_seconds += elapsed
        loss_sum = torch.tensor(progress.loss_sum, device=self.accelerator.device)
        self.figures = {
            # Each process has seen its part of every batch.
            "train/loss": self.accelerator.reduce(loss_sum, "mean").item() / steps_per_epoch,
            "train/learning_rate": config.learning_rate * factor,
            "images_per_second": (progress.batch - first_batch) * batches.batch_size / elapsed,
        }

    def step(self, batch: dict[str, Tensor], factor: float, mix: bool) -> float:
        """One optimizer step; the mean loss of this process's part of the batch, in nats."""
        progress, config = self.progress, self.config
        # Dropout and mixing draw from torch's global state: set per step, resume needs no state.
        key = (config.seed, progress.epoch, progress.batch, self.accelerator.process_index)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        images, labels = batch["images"], batch["labels"]
        if mix and self.mix is not None and torch.rand(()) < config.mix_probability:
            images, labels = self.mix(images, labels)
        images = images.contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * group["lr_scale"] * factor
        with self.accelerator.autocast():
            logits = self.model(images)
        loss = nn.functional.cross_entropy(
            logits.float(), labels, label_smoothing=config.label_smoothing
        )
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def _report_non_finite(self, loss: float, factor: float, batch: dict[str, Tensor]) -> None:
        names = [self.photo_names[photo] for photo in batch["photos"].tolist()]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise TrainingError(
            f"the loss is {loss} at epoch {self.progress.epoch + 1}, step {self.progress.batch}, "
            f"learning rate {self.config.learning_rate * factor:.2e}, photos: "
            f"{', '.join(names[:8])}{more}. Lower --learning-rate, or try --precision fp32"
        )

    def _stop_asked(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.should_stop()
        # All processes must leave at the same step, whichever of them got the signal.
        if self.should_stop():
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def _finish_epoch(self, phase: Phase) -> None:
        progress = self.progress
        scored = self.average.module if self.average is not None else self.plain
        logits, labels = self.predict(scored, self.val_loader)
        val = classification_metrics(logits, labels)
        better = (val["top1"], -val["loss"]) > (progress.best_top1, -progress.best_loss)
        if better:
            progress.best_epoch = progress.epoch
            progress.best_top1, progress.best_loss = val["top1"], val["loss"]
        record = {
            "epoch": progress.epoch + 1,
            "phase": phase.name,
            **self.figures,
            **{f"val/{name}": value for name, value in val.items()},
            "best_val_top1": progress.best_top1,
            "elapsed_seconds": round(progress.elapsed_seconds, 1),
        }
        progress.history.append(record)
        progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0
        if self.accelerator.is_main_process:
            if better:
                best = {"model": scored.state_dict(), "split": self.fingerprint}
                save_checkpoint(self.checkpoints / "best.pt", best)
            self.log(record)
        self._save()
        if self._stop_asked():
            raise Interrupted

    @torch.no_grad()
    def predict(self, model: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor]:
        """Logits and labels of every photo of a loader, once each, on every process.

        Returns:
            (N, K) float32 and (N,) int64, on the CPU.
        """
        model.eval()
        all_logits, all_labels = [], []
        for batch in loader:
            images = batch["images"].contiguous(memory_format=torch.channels_last)
            with self.accelerator.autocast():
                logits = model(images).float()
            logits, labels = self.accelerator.gather_for_metrics((logits, batch["labels"]))
            all_logits.append(logits.cpu())
            all_labels.append(labels.cpu())
        return torch.cat(all_logits), torch.cat(all_labels)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.checkpoints / "last.pt",
                {
                    "model": self.plain.state_dict(),
                    "average": self.average.module.state_dict() if self.average else None,
                    "optimizer": self.optimizer.state_dict(),
                    "progress": asdict(self.progress),
                    "split": self.fingerprint,
                },
            )
        self.accelerator.wait_for_everyone()

    def _load(self) -> dict[str, Any] | None:
        if not (self.checkpoints / "last.pt").is_file():
            return None
        saved = load_checkpoint(self.checkpoints / "last.pt")
        self.plain.load_state_dict(saved["model"])
        self.progress = Progress(**saved["progress"])
        return saved
