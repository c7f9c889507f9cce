"""Where the model comes from: a file, a named W&B artifact, W&B's best, or the bundled one."""

import contextlib
import json
import os
import re
import shutil
import tempfile
import threading
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.command_line import first_line
from models.environment import default_cache, has_wandb_key, project_name
from models.files import file_digest, write_text
from models.predictor import ModelFileError, Predictor

BUNDLED = Path(__file__).parents[1] / "bundled" / "landmarks.pt"
MODEL_NAME = "landmarks"
LOOK_SECONDS = 5.0


class SourceError(ModelFileError):
    """A W&B artifact that cannot be had or trusted; the message says why."""


@dataclass(frozen=True)
class Origin:
    """Which artifact a model file is.

    Attributes:
        name: entity/project/name:alias, as asked for.
        version: v0, v1, ...
        sha256: Of model.pt, as its training recorded it.
        run_url: Page of the training, where it is known.
    """

    name: str
    version: str
    sha256: str
    run_url: str | None


@dataclass(frozen=True)
class Served:
    """A loaded model and, if it came from W&B, which artifact it is."""

    predictor: Predictor
    origin: Origin | None = None


def find_model(path: Path | None = None) -> Path:
    """The model file at a path.

    Args:
        path: A model file, a run folder (its model.pt), or None for the bundled model.

    Raises:
        ModelFileError: If there is none; what was asked for is never replaced by another.
    """
    if path is None:
        path = BUNDLED
    if path.is_dir():
        if not (path / "model.pt").is_file():
            raise ModelFileError(f"no model.pt in {path}; a run is finished with --resume {path}")
        path = path / "model.pt"
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}; give a .pt file or a run folder")
    return path


def best_name() -> str:
    """The :best of WANDB_ENTITY / WANDB_PROJECT; without an entity, the key's own."""
    entity = [os.environ["WANDB_ENTITY"]] if os.environ.get("WANDB_ENTITY") else []
    return "/".join([*entity, project_name(), f"{MODEL_NAME}:best"])


def fetch_artifact(name: str) -> Served:
    """The model of a W&B artifact, from the local cache where its digest is there already.

    Args:
        name: entity/project/name:alias, or less where W&B has defaults.

    Raises:
        SourceError: Out of reach, not there, damaged, or not a model file of this project.
    """
    if has_wandb_key():
        import wandb  # noqa: F401 - before the clock starts
    artifact, origin = call_within(LOOK_SECONDS, _look_up, name)
    model = _cached_file(origin.sha256)
    if not model.is_file() or file_digest(model) != origin.sha256:
        _download(artifact, origin)
    served = Served(_check(model, origin), origin)
    notes = _name_file(name)
    notes.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another process wrote the same at the same time
        write_text(notes, json.dumps(asdict(origin)))
    return served


def cached_artifact(name: str) -> Served | None:
    """What was last fetched under a name, if it is still whole; nothing is asked of W&B."""
    try:
        origin = Origin(**json.loads(_name_file(name).read_text(encoding="utf-8")))
        return Served(_check(_cached_file(origin.sha256), origin), origin)
    except (OSError, ValueError, TypeError):
        return None


def _cached_file(sha256: str) -> Path:
    return default_cache() / "models" / sha256 / "model.pt"


def _name_file(name: str) -> Path:
    return default_cache() / "models" / "names" / (re.sub(r"[^\w.-]", "_", name) + ".json")


def call_within(seconds: float | None, function: Any, *arguments: Any) -> Any:
    """A call of W&B's client that may hang, in a thread of its own, with a limit on the wait.

    Raises:
        SourceError: When the time is over; the thread goes on by itself.
    """
    answer: list[Any] = []

    def call() -> None:
        try:
            answer.append(function(*arguments))
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise SourceError(f"W&B did not answer within {seconds:.0f} s")
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def _look_up(name: str) -> tuple[Any, Origin]:
    """The artifact's record; through the public API, which creates no run."""
    if not has_wandb_key():
        raise SourceError(f"W&B has no key to look for {name} with; run: wandb login")
    import wandb

    try:
        artifact = wandb.Api(timeout=int(LOOK_SECONDS)).artifact(name, type="model")
        run = artifact.logged_by()
    except Exception as error:
        raise SourceError(f"{name} cannot be had from W&B: {first_line(error)}") from error
    sha256 = str(artifact.metadata.get("sha256", ""))
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise SourceError(f"{name} is no model of this project: it records no sha256 of its file")
    return artifact, Origin(name, artifact.version, sha256, run.url if run else None)


def _download(artifact: Any, origin: Origin) -> None:
    """Into a fresh folder, verified, then into the cache in one step."""
    models = default_cache() / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=models, prefix="download-"))
    try:
        try:
            artifact.download(root=str(folder), skip_cache=True)
            artifact.verify(str(folder))  # download itself compares no digests
        except Exception as error:
            raise SourceError(
                f"{origin.name} {origin.version} did not arrive whole: {first_line(error)}"
            ) from error
        model = folder / "model.pt"
        if not model.is_file() or file_digest(model) != origin.sha256:
            raise SourceError(
                f"{origin.name} {origin.version} is not the file that its training recorded"
            )
        _check(model, origin)
        target = models / origin.sha256
        shutil.rmtree(target, ignore_errors=True)  # there only if damaged
        try:
            os.replace(folder, target)
        except OSError:
            if not (target / "model.pt").is_file():  # else another process was as quick
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(model: Path, origin: Origin) -> Predictor:
    """Digest and contract before anything is loaded, then one blank photo."""
    if file_digest(model) != origin.sha256:
        raise SourceError(f"{model} is damaged")
    names: list[str] = []
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            names = archive.namelist()
    if not any(name.endswith("/extra/manifest.json") for name in names):
        raise SourceError(f"{origin.name} {origin.version} is no model file of this project")
    predictor = Predictor.load(model)
    try:
        # All that a page asks: what fails later fails in several threads, which ends the process.
        probabilities, _, _ = predictor.measure(np.zeros((48, 64, 3), np.uint8))
        whole = probabilities.shape == (len(predictor.class_names),)
        if not (whole and abs(probabilities.sum().item() - 1) < 1e-3):
            raise SourceError(f"{origin.name} {origin.version} gives no probabilities")
    except RuntimeError as error:
        raise SourceError(f"{origin.name} {origin.version} fails: {first_line(error)}") from error
    return predictor


class ModelSource:
    """The model that a page serves, and the W&B name whose newer versions replace it.

    Attributes:
        served: Replaced as a whole, so a request that has read it keeps its model to the end.
        wanted: Artifact to look for, if any.
    """

    def __init__(self, served: Served, wanted: str | None = None) -> None:
        """Serve this until something newer arrives."""
        self.served, self.wanted = served, wanted

    @classmethod
    def open(cls, path: Path | None = None, artifact: str | None = None) -> "ModelSource":
        """By the order: path, named artifact, cached or later W&B best, bundled model.

        Raises:
            ModelFileError: What was asked for by name cannot be had.
        """
        if path is not None:
            return cls(Served(Predictor.load(find_model(path))))
        named = artifact or os.environ.get("LANDMARKS_ARTIFACT")
        if named:
            try:
                return cls(fetch_artifact(named), named)
            except SourceError as error:
                cached = cached_artifact(named)
                if cached is None:
                    raise
                print(f"{error}; serving the copy of {cached.origin.version} kept here")
                return cls(cached, named)
        wanted = best_name() if has_wandb_key() else None
        cached = cached_artifact(wanted) if wanted else None
        return cls(cached or Served(Predictor.load(find_model())), wanted)

    def refresh(self) -> bool:
        """Look once; whether another model is served now. A bad one changes nothing."""
        try:
            found = fetch_artifact(self.wanted)
        except (ModelFileError, OSError) as error:
            name = self.served.predictor.manifest.get("name")
            print(f"{error}; going on with {name}", flush=True)
            return False
        news = found.predictor.digest != self.served.predictor.digest
        self.served = found
        if news:
            print(f"now serving {found.origin.name} {found.origin.version}", flush=True)
        return news

    def start(self, watch_seconds: float | None) -> None:
        """Look in the background: once, and again every watch_seconds where that is set."""
        if self.wanted is None:
            return

        def look() -> None:
            while True:
                self.refresh()
                if not watch_seconds:
                    return
                threading.Event().wait(watch_seconds)

        threading.Thread(target=look, daemon=True, name="model source").start()
