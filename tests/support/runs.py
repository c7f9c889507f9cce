"""Trainings that take seconds, and what they logged."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from train.config import TransferConfig


@contextlib.contextmanager
def no_program() -> Iterator[None]:
    """Leave model.pt2 empty: torch.export takes most of the time of a tiny training."""

    def save(program: None, path: Path, extra_files: dict[str, str]) -> None:
        path.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "export", lambda *_, **__: None)
        patch.setattr(torch.export, "save", save)
        yield


def tiny(data: Path, run_dir: Path, **changes: object) -> TransferConfig:
    """Settings of a training that takes seconds."""
    settings = {
        "data": data, "run_dir": run_dir, "backbone": "resnet18", "pretrained": False,
        "epochs": 3, "image_size": 32, "batch_size": 8, "workers": 0, "device": "cpu",
    } | changes  # fmt: skip
    return TransferConfig(**settings)


def read_records(run_dir: Path) -> list[dict]:
    """What each epoch logged."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
