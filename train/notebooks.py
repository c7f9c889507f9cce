"""Run the notebooks from the first cell and keep their outputs: python -m train.notebooks."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from models.command_line import parse_flags
from models.environment import TRAINING
from models.files import atomic

if TYPE_CHECKING:
    import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"
LESSON = ("cnn_from_scratch", "transfer_learning", "app")
EXAMPLES = (
    "python -m train.notebooks                  # all three; photos are drawn",
    "LANDMARKS_EPOCHS=2 python -m train.notebooks cnn_from_scratch",
)
NEEDS = (*TRAINING, "nbclient")


@dataclass(frozen=True)
class NotebooksConfig:
    """Run notebooks and write their outputs into them; settings come from the environment."""

    names: tyro.conf.Positional[tuple[str, ...]] = LESSON
    """Which notebooks, in this order: later ones use what earlier ones made."""


def run_notebook(path: Path) -> "nbformat.NotebookNode":
    """Run a notebook in the folder where it lies, and return it with its outputs.

    What differs between runs without meaning is left out: progress bars and warnings (stderr),
    times, and what widgets hold.

    Raises:
        CellExecutionError: A cell failed.
        OSError: No such notebook.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
        store_widget_state=False,
        record_timing=False,
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def main(config: NotebooksConfig) -> int:
    """Run and write; a notebook that fails keeps its old outputs."""
    for name in config.names:  # all of them before the first runs, which takes minutes
        if not (FOLDER / f"{name}.ipynb").is_file():
            known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.ipynb")))
            print(f"error: no notebook {name!r}; there are: {known}", file=sys.stderr)
            return 2
    import nbformat
    from nbclient.exceptions import CellExecutionError

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
    sys.exit(main(parse_flags(NotebooksConfig, "python -m train.notebooks", EXAMPLES, NEEDS)))
