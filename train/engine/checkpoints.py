"""Save and load checkpoints; an interruption while saving keeps the previous one."""

from pathlib import Path
from typing import Any

import torch

from models.files import atomic


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values in one step, so that no half-written file is ever read.

    Args:
        path: The target; its folder is made.
        state: What torch.load(weights_only=True) can read: tensors, numbers, text, lists, dicts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        torch.save(state, partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU, without unpickling code.

    Raises:
        FileNotFoundError: There is none.
    """
    return torch.load(path, map_location="cpu", weights_only=True)
