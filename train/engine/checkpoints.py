"""Checkpoints and small files that appear whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; an interruption leaves the previous file.

    Args:
        path: Target; its folder is made.
        state: What torch.load(weights_only=True) can read back: tensors, numbers, text, lists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU, without unpickling code.

    Raises:
        FileNotFoundError: If there is none.
    """
    return torch.load(path, map_location="cpu", weights_only=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
