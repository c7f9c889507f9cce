"""Decide which model is served: a file, a named W&B artifact, W&B's best, or the bundled one.

Light: what runs a model is imported when one is loaded, so that commands can check flags before.
"""

import os
import threading
from pathlib import Path

from models.environment import has_wandb_key
from models.model_file.model_path import BUNDLED, ModelFileError, find_model
from models.sources.wandb_artifacts import (
    Origin,
    Served,
    SourceError,
    best_name,
    cached_artifact,
    fetch_artifact,
)

__all__ = ["BUNDLED", "ModelSource", "Origin", "Served", "find_model"]


class ModelSource:
    """The model that a page serves, and the W&B name whose newer versions replace it.

    Attributes:
        served: Replaced in one step, so a request that has read it keeps its model to the end.
        wanted: W&B artifact to look for, if any.
    """

    def __init__(self, served: Served, wanted: str | None = None) -> None:
        """Serve this until something newer arrives."""
        self.served, self.wanted = served, wanted

    @classmethod
    def open(cls, path: Path | None = None, artifact: str | None = None) -> "ModelSource":
        """Load the first there is of: path, named artifact, W&B's best, bundled model.

        W&B's best is taken from the cache here; start looks for a newer one in the background, so
        that the page opens without waiting for a server.

        Args:
            path: A model file or a run folder.
            artifact: entity/project/name:alias; none: LANDMARKS_ARTIFACT.

        Raises:
            ModelFileError: If a model that was asked for by name is missing or unusable.
        """
        if path is not None:
            return cls(_load(path))
        named = artifact or os.environ.get("LANDMARKS_ARTIFACT")
        if named:
            try:
                return cls(fetch_artifact(named), named)
            except SourceError as error:
                # The copy of the same name, never another model: that would answer unnoticed.
                cached = cached_artifact(named)
                if cached is None:
                    raise
                print(f"{error}; serving the copy of {cached.origin.version} kept here")
                return cls(cached, named)
        # Without a key nothing would be found, and asking would cost seconds at every start.
        wanted = best_name() if has_wandb_key() else None
        cached = cached_artifact(wanted) if wanted else None
        return cls(cached or _load(None), wanted)

    def refresh(self) -> bool:
        """Look once for a newer model, and serve it if it is sound; a bad one changes nothing.

        Returns:
            Whether another model is served now.
        """
        try:
            found = fetch_artifact(self.wanted)
        except (ModelFileError, OSError) as error:
            name = self.served.predictor.manifest.get("name")
            print(f"{error}; still serving {name}", flush=True)
            return False
        # By content: the same file under another version is no news.
        is_new = found.predictor.digest != self.served.predictor.digest
        self.served = found
        if is_new:
            print(f"now serving {found.origin.name} {found.origin.version}", flush=True)
        return is_new

    def start(self, watch_seconds: float | None) -> None:
        """Look for a newer model in the background.

        Args:
            watch_seconds: Pause between two looks; None looks once.
        """
        if self.wanted is None:
            return

        def look() -> None:
            while True:
                self.refresh()
                if not watch_seconds:
                    return
                threading.Event().wait(watch_seconds)

        threading.Thread(target=look, daemon=True, name="model source").start()


def _load(path: Path | None) -> Served:
    file = find_model(path)  # before what may take seconds to import
    from models.predictor import Predictor

    return Served(Predictor.load(file))
