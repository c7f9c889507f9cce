"""Load finished runs and single model files: what they are, how they score and were trained."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch

from models.command_line import first_line
from models.photos import PhotoError
from models.predictor import Predictor
from train.comparison.inputs import find_models
from train.data.folders import DataError
from train.data.split import Split, check_photos
from train.evaluation.predictions import Predictions
from train.evaluation.scoring import score_photos

FIGURES = ("photos", "top1", "top5", "macro_f1", "ece")


@dataclass(frozen=True)
class LoadedRun:
    """Hold a model file and what the run folder around it says.

    Attributes:
        name: Name of the run folder, or of a file that lies elsewhere.
        predictor: The loaded file.
        split: The run folder's; None for a file that lies elsewhere.
        epochs: What each epoch of the run logged; empty for a file that lies elsewhere.
    """

    name: str
    predictor: Predictor
    split: Split | None
    epochs: list[dict[str, Any]]

    @property
    def fingerprint(self) -> str | None:
        """Return the fingerprint of the split that it was trained on."""
        return self.predictor.manifest.get("split", {}).get("fingerprint")


def load_runs(paths: Sequence[Path]) -> list[LoadedRun]:
    """Load run folders and model files.

    Raises:
        DataError: Fewer than two, two of one name, or a damaged run folder.
        ModelFileError: No model file, or a damaged one.
    """
    return [_load_run(name, file) for name, file in find_models(paths).items()]


def _load_run(name: str, file: Path) -> LoadedRun:
    predictor = Predictor.load(file)
    # A file that was copied out of its run says nothing about the folder that it lies in now.
    if file.name != "model.pt":
        return LoadedRun(name, predictor, None, [])
    folder = file.resolve().parent
    split, log = folder / "split.json", folder / "metrics.jsonl"
    try:
        epochs = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        return LoadedRun(
            name,
            predictor,
            Split.load(split) if split.is_file() else None,
            [json.loads(line) for line in epochs],
        )
    except (ValueError, TypeError) as error:
        raise DataError(
            f"split.json or metrics.jsonl in {folder} is damaged ({first_line(error)}); "
            "without the damaged one, its model can still be compared"
        ) from error


def score(predictor: Predictor, split: Split) -> Predictions:
    """Score a model file on the split's validation photos.

    Raises:
        DataError: Photos are not there, or not as they were.
        PhotoError: One of them can no longer be read.
    """
    root = Path(split.root)
    check_photos(root, split.val, split.sizes, "Put them back to score them")
    labels = torch.from_numpy(split.labels(split.val))
    return score_photos(predictor, root, split.val).with_labels(labels)


def read_figures(models: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """Score each model, or read the figures it carries where its photos are gone.

    The second case is reported on stderr.

    Returns:
        For each model what a ComparedModel says of accuracy: FIGURES and correct.

    Raises:
        DataError: Neither photos nor recorded figures.
    """
    # A model file from elsewhere is scored on the split of a run folder with its fingerprint.
    splits = {model.split.fingerprint: model.split for model in models if model.split}
    figures = []
    for model in models:
        try:
            if model.fingerprint not in splits:
                raise DataError("none of the run folders holds its split.json")
            scored = score(model.predictor, splits[model.fingerprint])
            found = scored.figures() | {"photos": len(scored.photos)}
            correct = scored.right()
        except (DataError, PhotoError) as error:
            metrics = model.predictor.manifest.get("metrics", {})
            found = {name: metrics.get(f"val/{name}") for name in FIGURES}
            correct = None
            if not found["photos"] or found["top1"] is None or found["top5"] is None:
                raise DataError(
                    f"{model.name}: no figures in the model file, and no photos to score: {error}"
                ) from error
            print(f"warning: {model.name}: accuracy as recorded; {error}", file=sys.stderr)
        figures.append({name: found[name] for name in FIGURES} | {"correct": correct})
    return figures


def describe_network(manifest: dict[str, Any]) -> tuple[str, bool]:
    """Say what a model is, and whether it began from weights that others trained.

    A model file that does not say is taken for pretrained: nobody should rely on the contrary,
    since those weights have licences of their own.
    """
    config = manifest.get("config", {})
    if config.get("command") == "train.scratch":
        own = ", own encoder" if "encoder" in manifest.get("training", {}) else ""
        return f"scratch, width {config['width']}, depth {config['depth']}{own}", False
    if "backbone" not in config:
        return "unknown", True
    if not config["pretrained"]:
        return f"{config['backbone']}, random start", False
    frozen = config["head_epochs"] >= config["epochs"]
    return f"{config['backbone']}, {'frozen' if frozen else 'fine-tuned'}", True


def read_training(model: LoadedRun) -> dict[str, float | int | None]:
    """Return minutes, epochs and images per second of the training, as far as recorded."""
    if not model.epochs:
        training = model.predictor.manifest.get("training", {})
        known = {name: training.get(name) for name in ("minutes", "epochs")}
        return known | {"images_per_second": None}
    return {
        "minutes": model.epochs[-1]["elapsed_seconds"] / 60,
        "epochs": len(model.epochs),
        # All epochs have the same number of images, so their speeds average harmonically.
        "images_per_second": harmonic_mean(epoch["images_per_second"] for epoch in model.epochs),
    }
