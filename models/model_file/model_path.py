"""Find a model file, before anything slow is imported: commands check --model with this first."""

from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "bundled" / "landmarks.pt"

ZIP = b"PK"  # how every model file begins


class ModelFileError(ValueError):
    """A model file that is missing, damaged or not one of ours; the message names the fix."""


def find_model(path: Path | None = None) -> Path:
    """Return the model file that a path stands for.

    Args:
        path: A model file, a run folder (its model.pt), or None for the bundled model.

    Raises:
        ModelFileError: If there is none; what was asked for is never replaced by another.
    """
    if path is None:
        path = BUNDLED
    if path.is_dir():
        if not (path / "model.pt").is_file():
            fix = (
                f"a run is finished with --resume {path}"
                if (path / "config.json").is_file()
                else "it is no run folder, so give another or a .pt file"
            )
            raise ModelFileError(f"no model.pt in {path}; {fix}")
        path = path / "model.pt"
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}; give a .pt file or a run folder")
    with path.open("rb") as file:
        start = file.read(len(ZIP))
    if not ZIP.startswith(start):  # of a model file that was cut short, the loading tells
        raise ModelFileError(
            f"{path} is no model file; give the model.pt of a run folder, or the run folder"
        )
    return path
