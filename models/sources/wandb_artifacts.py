"""Fetch models from W&B: look up an artifact, download and verify it, keep it in a local cache.

Light: what runs a model is imported only once a file has arrived and is loaded.

    <cache>/models/<sha256>/model.pt     what was downloaded, under the digest of its training
    <cache>/models/names/<name>.json     which of them a name such as team/landmarks:best meant last
"""

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import tempfile
import threading
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.command_line import first_line
from models.environment import default_cache, has_wandb_key, project_name
from models.files import file_digest, write_text
from models.model_file.model_path import ModelFileError

if TYPE_CHECKING:
    from models.predictor import Predictor

MODEL_NAME = "landmarks"
LOOK_SECONDS = 5.0


class SourceError(ModelFileError):
    """A W&B artifact that cannot be fetched or trusted; the message says why."""


@dataclass(frozen=True)
class Origin:
    """Which artifact a model file is.

    Attributes:
        name: entity/project/name:alias, as asked for.
        version: v0, v1, ...
        sha256: Digest of model.pt that its training recorded.
        run_url: Page of the training run, where it is known.
    """

    name: str
    version: str
    sha256: str
    run_url: str | None


@dataclass(frozen=True)
class Served:
    """A loaded model and, if it came from W&B, which artifact it is."""

    predictor: "Predictor"
    origin: Origin | None = None


def best_name() -> str:
    """Return the :best of WANDB_ENTITY / WANDB_PROJECT; without an entity, the key's own."""
    entity = [os.environ["WANDB_ENTITY"]] if os.environ.get("WANDB_ENTITY") else []
    return "/".join([*entity, project_name(), f"{MODEL_NAME}:best"])


def fetch_artifact(name: str) -> Served:
    """Load the model of a W&B artifact; downloads it unless its digest is in the cache.

    Args:
        name: entity/project/name:alias, or less where W&B has defaults.

    Raises:
        SourceError: Unreachable, missing, damaged, or not a model file of this project.
    """
    if has_wandb_key():
        import wandb  # noqa: F401 - takes a second, which must not count against LOOK_SECONDS
    artifact, origin = call_within(LOOK_SECONDS, _look_up, name)
    models = _models_folder(origin.sha256)
    model = models / origin.sha256 / "model.pt"
    if not model.is_file() or file_digest(model) != origin.sha256:
        _download(artifact, origin, models)
    served = Served(_load_checked(model, origin), origin)
    # Without a cache; or another process wrote the same at the same time.
    with contextlib.suppress(OSError):
        notes = _name_file(name)
        notes.parent.mkdir(parents=True, exist_ok=True)
        write_text(notes, json.dumps(asdict(origin)))
    return served


def cached_artifact(name: str) -> Served | None:
    """Load what was last fetched under a name, if it is still intact; W&B is not asked."""
    try:
        origin = Origin(**json.loads(_name_file(name).read_text(encoding="utf-8")))
        return Served(_load_checked(_cached_file(origin.sha256), origin), origin)
    except (OSError, ValueError, TypeError):
        return None


def call_within(seconds: float | None, function: Any, *arguments: Any) -> Any:
    """Call W&B's client, which may hang, in a thread of its own; wait only so long for it.

    Args:
        seconds: The longest wait; None waits for ever.
        function: What to call.
        arguments: Its arguments.

    Returns:
        What the function returned.

    Raises:
        SourceError: When the time is over. The thread cannot be stopped: it ends by itself or
            with the process.
        Exception: Whatever the function raised.
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


def _cached_file(sha256: str) -> Path:
    return default_cache() / "models" / sha256 / "model.pt"


def _name_file(name: str) -> Path:
    return default_cache() / "models" / "names" / (re.sub(r"[^\w.-]", "_", name) + ".json")


def _models_folder(sha256: str) -> Path:
    """Return the cache of models if it holds this one or can be written, else a folder of ours."""
    try:
        models = default_cache() / "models"
        if not (models / sha256 / "model.pt").is_file():
            models.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=models).close()
        return models
    except OSError:  # a container's user often has no folder; a page needs none
        return _own_folder()


@functools.cache
def _own_folder() -> Path:
    """Make a folder that ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="landmarks-models-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _look_up(name: str) -> tuple[Any, Origin]:
    """The artifact's record, through the public API: wandb.init would create a run."""
    if not has_wandb_key():
        raise SourceError(f"W&B has no key, so {name} cannot be looked up; run: wandb login")
    import wandb

    try:
        artifact = wandb.Api(timeout=int(LOOK_SECONDS)).artifact(name, type="model")
        run = artifact.logged_by()
    except Exception as error:  # the client raises ValueError, its own and requests' errors
        raise SourceError(f"{name} could not be found on W&B: {first_line(error)}") from error
    sha256 = str(artifact.metadata.get("sha256", ""))
    # The digest becomes a folder name below: nothing but hex may get there.
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise SourceError(f"{name} is no model of this project: it records no sha256 of its file")
    return artifact, Origin(name, artifact.version, sha256, run.url if run else None)


def _download(artifact: Any, origin: Origin, models: Path) -> None:
    """Download into a fresh folder, verify, and move that into models/ in one step."""
    folder = Path(tempfile.mkdtemp(dir=models, prefix="download-"))
    try:
        try:
            artifact.download(root=str(folder), skip_cache=True)
            artifact.verify(str(folder))  # download itself compares no digests
        except Exception as error:
            raise SourceError(
                f"{origin.name} {origin.version} arrived damaged or in part: {first_line(error)}"
            ) from error
        model = folder / "model.pt"
        if not model.is_file() or file_digest(model) != origin.sha256:
            raise SourceError(
                f"{origin.name} {origin.version} is not the file that its training recorded"
            )
        _load_checked(model, origin)
        target = models / origin.sha256
        shutil.rmtree(target, ignore_errors=True)  # it is there only if its content is damaged
        try:
            os.replace(folder, target)
        except OSError:
            if not (target / "model.pt").is_file():  # else another process fetched it meanwhile
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load_checked(model: Path, origin: Origin) -> "Predictor":
    """Check digest and manifest before anything is loaded, then try the model on a blank photo."""
    if file_digest(model) != origin.sha256:
        raise SourceError(f"{model} is damaged")
    names: list[str] = []
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            names = archive.namelist()
    if not any(name.endswith("/extra/manifest.json") for name in names):
        raise SourceError(f"{origin.name} {origin.version} is no model file of this project")
    import numpy as np

    from models.predictor import Predictor

    predictor = Predictor.load(model)
    try:
        # Everything a page asks for: a failure later would come in several threads at once, which
        # ends the process.
        probabilities, _, _ = predictor.measure(np.zeros((48, 64, 3), np.uint8))
        is_complete = probabilities.shape == (len(predictor.class_names),)
        if not (is_complete and abs(probabilities.sum().item() - 1) < 1e-3):
            raise SourceError(f"{origin.name} {origin.version} gives no probabilities")
    except RuntimeError as error:
        raise SourceError(f"{origin.name} {origin.version} fails: {first_line(error)}") from error
    return predictor
