"""Save and load checkpoints, whole or not at all."""

from pathlib import Path
from typing import Any

import torch

from models.files import atomic


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; an interruption leaves the previous file.

    Args:
        path: Target; its folder is made.
        state: What torch.load(weights_only=True) can read back: tensors, numbers, text, lists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        torch.save(state, partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU, without unpickling code.

    Raises:
        FileNotFoundError: If there is none.
    """
    return torch.load(path, map_location="cpu", weights_only=True)
