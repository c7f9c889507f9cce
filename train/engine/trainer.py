"""The training loop: phases, one optimizer-step path, checkpoints inside an epoch, resume.

What is learned is a task (tasks.py): the loop is the same with labels and without.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from models.networks.pretrained import set_train_mode
from train.config import RunConfig
from train.engine.checkpoints import load_checkpoint, save_checkpoint
from train.engine.interrupts import Interrupted, TrainingError
from train.engine.phases import Phase, Progress, schedule_factor
from train.engine.tasks import Batch, Task

Log = Callable[[dict[str, Any], Figure | None], None]


class Trainer:
    """Train a model; fit() runs to the end, from the start or from a checkpoint.

    Args:
        config: The settings.
        model: Takes (B, 3, S, S) float32; what it returns is the task's.
        task: The loss and the validation.
        phases: In order.
        train_loader: Batches of EpochBatches; prepared for the device here.
        val_loader: Batches of EpochBatches without shuffle; prepared for the device here.
        accelerator: Devices, precision and processes.
        run_dir: Checkpoints go to run_dir/checkpoints.
        fingerprint: The split's, recorded in each checkpoint.
        log: Gets the figures of each epoch, and a picture with some of them.
        should_stop: Asked after each step; True saves a checkpoint and raises Interrupted.
    """

    def __init__(
        self,
        config: RunConfig,
        model: nn.Module,
        task: Task,
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
        self.config, self.accelerator, self.task, self.phases = config, accelerator, task, phases
        self.log, self.should_stop = log, should_stop
        self.checkpoints, self.fingerprint = run_dir / "checkpoints", fingerprint
        self.batches = train_loader.batch_sampler
        self.photo_names = train_loader.dataset.names
        self.plain = model.to(accelerator.device, memory_format=torch.channels_last)
        self.train_loader, self.val_loader = accelerator.prepare(train_loader, val_loader)
        self.progress = Progress()
        self.average: ModelEmaV3 | None = None

    def fit(self) -> Progress:
        """Train through all phases, from the step at which last.pt was saved.

        Raises:
            Interrupted: A stop was asked for; last.pt resumes from that very step.
            TrainingError: The loss is not finite.
        """
        saved = self._load()
        first = 0  # the epoch in which the phase begins
        for phase in self.phases:
            end = first + phase.epochs
            if self.progress.epoch < end and not self._is_stale():
                # The checkpoint's optimizer and average belong to one phase. A phase that begins
                # with this run makes its own, even if a checkpoint was saved right before it.
                inside = (self.progress.epoch, self.progress.batch) > (first, 0)
                self.start_phase(phase, saved if inside else None)
                saved = None
                while self.progress.epoch < end and not self._is_stale():
                    self._train_epoch(phase, first)
                    self._finish_epoch(phase)
            first = end
        return self.progress

    def _is_stale(self) -> bool:
        """Tell whether validation has not improved for config.patience epochs."""
        done = self.progress.epoch - 1 - self.progress.best_epoch
        return self.progress.batch == 0 and done >= self.config.patience

    def start_phase(self, phase: Phase, saved: dict[str, Any] | None) -> None:
        """Freeze or unfreeze, and build the optimizer and the average of a phase.

        Args:
            phase: Its prepare decides what learns.
            saved: A checkpoint inside the phase, to continue from; None at its start.
        """
        optimizer = phase.prepare(self.plain)
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
        # The model does not go through prepare, which patches its forward for good; a deep copy
        # (the average) would then share it. It is wrapped once per phase, since DDP reads which
        # parameters learn when it is made.
        several = self.accelerator.num_processes > 1
        self.model = DistributedDataParallel(self.plain) if several else self.plain

    def _train_epoch(self, phase: Phase, first_epoch: int) -> None:
        """Take the remaining steps of an epoch and note its figures."""
        config, progress, batches = self.config, self.progress, self.batches
        steps_per_epoch = len(batches)
        total = phase.epochs * steps_per_epoch
        warmup = phase.warmup_steps(steps_per_epoch)
        batches.epoch, batches.first_batch = progress.epoch, progress.batch
        set_train_mode(self.model)
        bar = tqdm(
            desc=f"epoch {progress.epoch + 1}/{config.epochs} {phase.name}",
            unit="image",
            total=steps_per_epoch * batches.batch_size,
            initial=progress.batch * batches.batch_size,
            leave=False,
            disable=not self.accelerator.is_main_process,
        )
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
            self._show_progress(bar, config.learning_rate * factor)
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

    def _show_progress(self, bar: tqdm, learning_rate: float) -> None:
        shown = {"loss": f"{self.progress.loss_sum / self.progress.batch:.4f}"}
        shown["lr"] = f"{learning_rate:.1e}"
        if self.task.keeps_best:
            shown["best"] = f"{max(0.0, self.progress.best_top1):.1%}"
        bar.set_postfix(shown, refresh=False)
        bar.update(self.batches.batch_size)

    def step(self, batch: Batch, factor: float, mix: bool) -> float:
        """Take one optimizer step.

        Args:
            batch: What PhotoDataset gives, batched; this process's part.
            factor: Learning rate as a fraction of its peak.
            mix: Whether mixup and CutMix may apply.

        Returns:
            The mean loss of this process's part of the batch, before the step.
        """
        progress, config = self.progress, self.config
        # Dropout and mixing draw from torch's global state. It is seeded for each step, so that a
        # resumed run draws the same without having saved any state.
        key = (config.seed, progress.epoch, progress.batch)
        own = (*key, self.accelerator.process_index)
        torch.manual_seed(int(np.random.SeedSequence(own).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            # Checkpoints of earlier autoencoders have groups without lr_scale.
            scale = group.get("lr_scale", 1.0)
            group["lr"] = config.learning_rate * scale * factor
        loss = self.task.loss(self.model, batch, mix, key)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def _report_non_finite(self, loss: float, factor: float, batch: Batch) -> None:
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
        """Validate, log, and save last.pt, and best.pt if it is due."""
        progress = self.progress
        scored = self.average.module if self.average is not None else self.plain
        val = self.task.validate(scored, self.val_loader)
        better = self.task.keeps_best and self._note_best(val)
        best = {"best_val_top1": progress.best_top1} if self.task.keeps_best else {}
        record = {
            "epoch": progress.epoch + 1,
            "phase": phase.name,
            **self.figures,
            **val,
            **best,
            "elapsed_seconds": round(progress.elapsed_seconds, 1),
        }
        progress.history.append(record)
        progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0
        if self.accelerator.is_main_process:
            if better:
                kept = {"model": scored.state_dict(), "split": self.fingerprint}
                save_checkpoint(self.checkpoints / "best.pt", kept)
            self.log(record, self.task.draw(scored, self.val_loader.dataset, progress.epoch))
        # Last, since resume believes it: a kill before this line only repeats the epoch.
        self._save()
        if self._stop_asked():
            raise Interrupted

    def _note_best(self, val: dict[str, float]) -> bool:
        """Tell whether these are the best figures so far, and remember them if so."""
        progress = self.progress
        better = (val["val/top1"], -val["val/loss"]) > (progress.best_top1, -progress.best_loss)
        if better:
            progress.best_epoch = progress.epoch
            progress.best_top1, progress.best_loss = val["val/top1"], val["val/loss"]
        return better

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = {
                "model": self.plain.state_dict(),
                "average": self.average.module.state_dict() if self.average else None,
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
                "split": self.fingerprint,
            }
            save_checkpoint(self.checkpoints / "last.pt", state)
        self.accelerator.wait_for_everyone()

    def _load(self) -> dict[str, Any] | None:
        if not (self.checkpoints / "last.pt").is_file():
            return None
        saved = load_checkpoint(self.checkpoints / "last.pt")
        self.plain.load_state_dict(saved["model"])
        self.progress = Progress(**saved["progress"])
        return saved
