"""Trainings that take seconds, and what they logged."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from train.config import RunConfig, TransferConfig
from train.engine.training_run import run_training


@contextmanager
def no_program() -> Iterator[None]:
    """Leave model.pt2 empty: torch.export takes most of the time of a tiny training."""

    def save(program: None, path: Path, extra_files: dict[str, str]) -> None:
        path.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "export", lambda *_, **__: None)
        patch.setattr(torch.export, "load", lambda *_, **__: None)
        patch.setattr(torch.export, "save", save)
        yield


def tiny(data: Path, run_dir: Path, **changes: object) -> TransferConfig:
    """Settings of a training that takes seconds, of timm's smallest residual network."""
    settings = {
        "data": data,
        "run_dir": run_dir,
        "backbone": "test_resnet",
        "pretrained": False,
        "epochs": 3,
        "image_size": 32,
        "batch_size": 8,
        "workers": 0,
        "device": "cpu",
    }
    return TransferConfig(**settings | changes)


def train_only(config: RunConfig) -> int:
    """Train without the export, which takes most of a tiny run's time."""
    return run_training(config, export=lambda *_: None)


@contextmanager
def stopped_after(asked: int, number: int | None = None) -> Iterator[None]:
    """Have every training in the block stop when the loop asks for the given time.

    The loop asks after each step and after each validation. With a signal's number the training
    really gets that signal; without one, only the answer is yes.
    """
    from train.engine.trainer import Trainer

    count, ask = 0, Trainer._stop_asked

    def stop_asked(trainer: Trainer) -> bool:
        nonlocal count
        count += 1
        if number is None:
            return count == asked
        if count == asked:
            signal.raise_signal(number)
        return ask(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_stop_asked", stop_asked)
        yield


def read_records(run_dir: Path) -> list[dict]:
    """What each epoch logged."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
