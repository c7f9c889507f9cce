"""Checkpoint -> model file, behind a gate: the file must score what the training scored."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from train.exporting.model_file import export_run
from train.exporting.parity import ParityError


def main(run_dir: Annotated[Path, tyro.conf.Positional], outside: Path | None = None) -> int:
    """Export the best checkpoint of a run folder to model.pt and model.pt2, with the parity gate.

    Args:
        run_dir: The run folder, runs/ID.
        outside: Folder of photos of none of the landmarks; every other one teaches the file to say
            "not a known landmark". None: that of the training.
    """
    try:
        parity, _ = export_run(run_dir, outside)
    except (ParityError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"exported {run_dir / 'model.pt'}: {parity}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, prog="python -m train.export"))
