"""Find the model files of a comparison, without torch: train.compare checks its flags with this."""

from collections.abc import Sequence
from pathlib import Path

from models.model_file.model_path import find_model
from train.data.folders import DataError


def find_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Return name -> model file of run folders and model files.

    A model.pt is named after its run folder, any other file after itself.

    Raises:
        DataError: Fewer than two paths, two models of one name, or a folder of something else.
        ModelFileError: No model file at one of the paths.
    """
    if len(paths) < 2:
        raise DataError("nothing to compare; name at least two run folders or model files")
    files: dict[str, Path] = {}
    for path in paths:
        if path.is_dir() and not any((path / n).is_file() for n in ("config.json", "model.pt")):
            raise DataError(f"{path} is not a run folder: no config.json and no model.pt in it")
        file = find_model(path)
        name = file.stem if file.name != "model.pt" else file.resolve().parent.name
        if name in files:
            raise DataError(f"two models are called {name}; name each once, or rename one")
        files[name] = file
    return files
