"""Run the notebooks from the first cell and keep their outputs: python -m train.notebooks."""

import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import tyro
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from models.files import atomic

FOLDER = Path(__file__).parents[1] / "notebooks"
LESSON = ("cnn_from_scratch", "transfer_learning", "app")


@dataclass(frozen=True)
class NotebooksConfig:
    """Run notebooks and write their outputs into them; settings come from the environment."""

    names: tyro.conf.Positional[tuple[str, ...]] = LESSON
    """Which ones, in this order: later ones use what earlier ones made."""


def run_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in the folder that it lies in.

    Left out is what differs without meaning: progress bars and warnings, times, and what widgets
    hold.

    Raises:
        CellExecutionError: A cell failed.
        OSError: No such notebook.
    """
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources=folder, coalesce_streams=True,
        store_widget_state=False, record_timing=False,
    ).execute()  # fmt: skip
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def main(config: NotebooksConfig) -> int:
    """Run and write; a notebook that fails keeps its old outputs."""
    for name in config.names:
        path = FOLDER / f"{name}.ipynb"
        print(f"running {path.name}", flush=True)
        try:
            notebook = run_notebook(path)
        except (CellExecutionError, OSError) as error:
            print(f"error: {path.name}: {error}", file=sys.stderr)
            return 1
        with atomic(path) as partial:
            nbformat.write(notebook, partial)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(NotebooksConfig, prog="python -m train.notebooks")))
