"""Trainings that take seconds, and what they logged."""

import json
from pathlib import Path

from train.config import TransferConfig


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
