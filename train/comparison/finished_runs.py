"""Finished runs and lone model files: what they are, how they score, how they were trained."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch
from tqdm import tqdm

from models.command_line import first_line
from models.photos import PhotoError, read_photo
from models.predictor import Predictor
from models.sources.served_model import find_model
from train.data.split import DataError, Split, check_photos
from train.evaluation.predictions import Predictions

FIGURES = ("photos", "top1", "top5", "macro_f1", "ece")


@dataclass(frozen=True)
class Opened:
    """A model file and what the run folder around it says.

    Attributes:
        name: Of the run folder; of the file, if it lies elsewhere.
        predictor: The loaded file.
        split: Of the run folder.
        epochs: What each epoch of the run logged; empty for a file that lies elsewhere.
    """

    name: str
    predictor: Predictor
    split: Split | None
    epochs: list[dict[str, Any]]

    @property
    def fingerprint(self) -> str | None:
        """Of the split that it was trained on."""
        return self.predictor.manifest.get("split", {}).get("fingerprint")


def open_model(path: Path) -> Opened:
    """Load a model file or that of a run folder.

    Raises:
        DataError: A folder of something else, or a damaged run folder.
        ModelFileError: No model file, or a damaged one.
    """
    if path.is_dir() and not any((path / n).is_file() for n in ("config.json", "model.pt")):
        raise DataError(f"{path} is not a run folder: no config.json and no model.pt in it")
    file = find_model(path)
    predictor = Predictor.load(file)
    if file.name != "model.pt":
        return Opened(file.stem, predictor, None, [])
    folder = file.resolve().parent
    split, log = folder / "split.json", folder / "metrics.jsonl"
    try:
        epochs = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        return Opened(
            folder.name,
            predictor,
            Split.load(split) if split.is_file() else None,
            [json.loads(line) for line in epochs],
        )
    except (ValueError, TypeError) as error:
        raise DataError(
            f"split.json or metrics.jsonl in {path} is damaged ({first_line(error)}); "
            "without the damaged one, its model can still be compared"
        ) from error


def open_models(paths: Sequence[Path]) -> list[Opened]:
    """Load all models.

    Raises:
        DataError: Fewer than two, or two of one name; and as open_model.
        ModelFileError: As open_model.
    """
    if len(paths) < 2:
        raise DataError("nothing to compare; name at least two run folders or model files")
    opened: dict[str, Opened] = {}
    for path in paths:
        model = open_model(path)
        if model.name in opened:
            raise DataError(f"two models are called {model.name}; name each once, or rename one")
        opened[model.name] = model
    return list(opened.values())


def score(predictor: Predictor, split: Split) -> Predictions:
    """What the file says of the split's validation photos.

    Raises:
        DataError: Photos are not there, or not as they were.
        PhotoError: One of them can no longer be read.
    """
    root = Path(split.root)
    check_photos(root, split.val, split.sizes, "Put them back to score them")
    rows = []
    for path in tqdm(split.val, "scoring", unit="photo", leave=False):
        image = torch.tensor(read_photo(root / path, predictor.side_px))
        rows.append(predictor.probabilities(image.permute(2, 0, 1)))
    labels = torch.from_numpy(split.labels(split.val))
    return Predictions(split.val, labels, torch.stack(rows), split.class_names)


def read_figures(models: Sequence[Opened]) -> list[dict[str, Any]]:
    """Score each model, or read what it carries where its photos are gone (said on stderr).

    Returns:
        For each model what a Contender says of accuracy: FIGURES and correct.

    Raises:
        DataError: Neither photos nor recorded figures.
    """
    # A lone model file uses the split of a run folder with its fingerprint, too.
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
    """What a model is, for people, and whether it began from weights that others trained.

    A model file that does not say counts as such: nobody should rely on the contrary.
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


def read_training(model: Opened) -> dict[str, float | int | None]:
    """Minutes, epochs and images per second of the training, as far as they were recorded."""
    if not model.epochs:
        training = model.predictor.manifest.get("training", {})
        known = {name: training.get(name) for name in ("minutes", "epochs")}
        return known | {"images_per_second": None}
    return {
        "minutes": model.epochs[-1]["elapsed_seconds"] / 60,
        "epochs": len(model.epochs),
        # All epochs have the same number of images.
        "images_per_second": harmonic_mean(epoch["images_per_second"] for epoch in model.epochs),
    }
