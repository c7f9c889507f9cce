"""Score a model file on a test folder: python -m train.evaluate --model FILE --data DIR --out OUT.

What is scored is the exported file, fed by the page's photo reader: what is served.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tqdm import tqdm

from models.photos import PHOTO_EXTENSIONS, PhotoError
from models.predictor import ModelFileError, Predictor, file_digest, rewrite_manifest
from models.source import fetch_artifact, find_model
from train.checkpoint import write_text
from train.data import DataError, clean_class_name
from train.metrics import bootstrap_interval
from train.predictions import Predictions
from train.tracking import record_test


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a model file on photos in class folders (DIR/test, where there is one)."""

    data: Path
    """Folder with test/ of class folders, or of class folders."""
    out: Path
    """Where metrics.json and photos.csv go."""
    model: Path | None = None
    """A model file or a run folder; none: the bundled model."""
    artifact: str | None = None
    """Instead: a W&B model, entity/project/landmarks:v3; its metadata gets the test figures."""
    record: bool = False
    """Also write the figures into the model file, as test/..., for the page to show."""
    log: Path | None = None
    """A Markdown table that gets one more line: digest, date, figures."""


def labelled_photos(data: Path, class_names: list[str]) -> list[tuple[Path, int]]:
    """Photos and labels, the class being the folder's cleaned name.

    Raises:
        DataError: No photos, or a folder that is no class of the model.
    """
    root = data / "test" if (data / "test").is_dir() else data
    if not root.is_dir():
        raise DataError(f"no data folder at {data}")
    found = []
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        label = clean_class_name(folder.name)
        if label not in class_names:
            raise DataError(f"{folder} is no class of this model; it knows {class_names[:3]}, ...")
        found += [
            (path, class_names.index(label))
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in PHOTO_EXTENSIONS
        ]
    if not found:
        raise DataError(f"no photos in class folders of {root}")
    return found


def classify_photos(
    predictor: Predictor, data: Path, photos: list[tuple[Path, int]]
) -> tuple[Predictions, list[str]]:
    """What the model says of each photo, and why some could not be read.

    Raises:
        DataError: None of them can be read.
    """
    rows, labels, names, unreadable = [], [], [], []
    for path, label in tqdm(photos, "scoring", unit="photo"):
        try:
            scores = predictor.classify(path, k=len(predictor.class_names))
        except PhotoError as error:
            unreadable.append(str(error))
            continue
        names.append(path.relative_to(data).as_posix())
        rows.append([scores[each] for each in predictor.class_names])
        labels.append(label)
    if not rows:
        raise DataError(f"none of the {len(photos)} photos in {data} can be read")
    predictions = Predictions(
        names, torch.tensor(labels), torch.tensor(rows), predictor.class_names
    )
    return predictions, unreadable


def evaluate(config: EvaluateConfig) -> dict[str, object]:
    """Classify every photo; write metrics.json and photos.csv.

    Returns:
        The figures as fractions, and the number of photos.
    """
    if config.artifact:
        predictor = fetch_artifact(config.artifact).predictor
    else:
        predictor = Predictor.load(find_model(config.model))
    photos = labelled_photos(config.data, predictor.class_names)
    config.out.mkdir(parents=True, exist_ok=True)
    predictions, unreadable = classify_photos(predictor, config.data, photos)
    predictions.write_csv(config.out / "photos.csv")
    figures = predictions.metrics()
    count = len(predictions.photos)
    low, high = bootstrap_interval(predictions.probabilities.argmax(1) == predictions.labels)
    test = {f"test/{name}": value for name, value in figures.items()} | {"test/photos": count}
    digest = predictor.digest
    if config.artifact:
        record_test(config.artifact, test)
    elif config.record:
        measured = {**predictor.manifest["metrics"], **test}
        rewrite_manifest(predictor.path, {**predictor.manifest, "metrics": measured})
        digest = file_digest(predictor.path)  # the same network in a file that says more
    metrics = {
        "model": digest,
        "photos": count,
        "unreadable": unreadable,
        **figures,
        "top1_interval_95": [low, high],
        "recall_per_class": {
            row["class"]: row["recall"] for row in predictions.per_class() if row["photos"]
        },
    }
    write_text(config.out / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False))
    if config.log is not None:
        with config.log.open("a", encoding="utf-8") as file:
            file.write(
                f"| {digest[:12]} | {time.strftime('%Y-%m-%d')} | {count} | "
                f"{figures['top1']:.4f} | {figures['top5']:.4f} | {figures['loss']:.4f} |\n"
            )
    return metrics


def main(config: EvaluateConfig) -> int:
    """Score and print."""
    try:
        metrics = evaluate(config)
    except (DataError, ModelFileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    low, high = metrics["top1_interval_95"]
    print(
        f"top-1 {metrics['top1']:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"top-5 {metrics['top5']:.2%}, {metrics['photos']} photos; {config.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(EvaluateConfig)))
