"""Export the best checkpoint of a run folder to a model file: python -m train.export runs/ID.

Behind a gate: the file must score the validation photos as the training did, or it is removed.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.command_line import parse_flags
from models.environment import TRAINING
from train.data.outside import list_kinds
from train.engine.run_folder import find_checkpoint

EXAMPLES = (
    "python -m train.export runs/ID",
    "python -m train.export runs/ID --outside OTHER_PHOTOS",
)


@dataclass(frozen=True)
class ExportConfig:
    """Export the best checkpoint of a run folder: model.pt, model.onnx, model.pt2; parity gate."""

    run_dir: tyro.conf.Positional[Path]
    """The run folder, runs/ID."""
    outside: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Folder of photos of none of the landmarks, as for the training; default: the training's."""


def export(config: ExportConfig) -> str:
    """Export, and return a line for people.

    Raises:
        DataError: Not a run folder, nothing trained yet, or no outside photos.
        ParityError: The file scores photos differently.
    """
    from train.exporting.model_file import export_run

    parity, _ = export_run(config.run_dir, config.outside)
    return f"exported {config.run_dir / 'model.pt'}: {parity}"


def main(config: ExportConfig) -> int:
    """Export and print."""
    status = 2
    try:
        # Mistyped paths are told before the seconds that torch takes.
        find_checkpoint(config.run_dir)
        if config.outside:
            list_kinds(config.outside)
        status = 1
        print(export(config))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(ExportConfig, "python -m train.export", EXAMPLES, TRAINING)))
