"""Where the model comes from: a file, a run folder, or the bundled one."""

from pathlib import Path

from models.predictor import ModelFileError

BUNDLED = Path(__file__).parent / "bundled" / "landmarks.pt"


def find_model(path: Path | None = None) -> Path:
    """The model file to serve.

    Args:
        path: A model file, a run folder (its model.pt), or None for the bundled model.

    Raises:
        ModelFileError: If there is none; what was asked for is never replaced by another.
    """
    if path is None:
        path = BUNDLED
    if path.is_dir():
        if not (path / "model.pt").is_file():
            raise ModelFileError(
                f"no model.pt in {path}; finish that run with: "
                f"python -m train.transfer --resume {path}"
            )
        path = path / "model.pt"
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}; give a .pt file or a run folder")
    return path
