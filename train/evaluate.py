"""Score a model file on a test folder: python -m train.evaluate --model FILE --data DIR --out OUT.

What is scored is the exported file, fed by the page's photo reader: what is served.
"""

import csv
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from matplotlib.figure import Figure
from tqdm import tqdm

from models.files import file_digest, write_text
from models.model_file.model_path import find_model
from models.model_file.torchscript import rewrite_manifest
from models.photos import PHOTO_EXTENSIONS, PhotoError
from models.predictor import ModelFileError, Predictor
from models.sources.wandb_artifacts import fetch_artifact
from train.data.split import DataError, clean_class_name
from train.evaluation.corruptions import SEVERITIES
from train.evaluation.plots import draw_figures
from train.evaluation.predictions import Predictions
from train.evaluation.report import write_evaluation
from train.evaluation.summary import summarise
from train.evaluation.variants import score_views, summarise_views
from train.exporting.known_score import find_outside, measure_known
from train.tracking.registry import record_test


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a model file on photos in class folders (DIR/test, where there is one)."""

    data: Path
    """Folder with test/ of class folders, or of class folders."""
    out: Path
    """Where metrics.json, photos.csv, report.html and figures/ go."""
    model: Path | None = None
    """A model file or a run folder; none: the bundled model."""
    artifact: str | None = None
    """Instead: a W&B model, entity/project/landmarks:v3; its metadata gets the test figures."""
    record: bool = False
    """Also write the figures into the model file, as test/..., for the page to show."""
    log: Path | None = None
    """A Markdown table that gets one more line: digest, date, figures."""
    outside: Path | None = None
    """Folder of photos of none of the landmarks: every other one, which training left aside, shows
    how well the file tells known landmarks from the rest."""
    robustness: bool = False
    """Also score the photos blurred, noisy, recompressed, dark, askew, small and photographed from
    a screen, at the --severities: with three of them, 22 more answers a photo."""
    severities: tuple[int, ...] = (1, 3, 5)
    """Of --robustness, from 1 to 5."""
    tta: bool = False
    """Also average 12 views of each photo (whole, corners, middle; mirrored): what it would gain
    and cost. The model file's own answers stay what they are."""


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
            rows.append(predictor.measure(path))
        except PhotoError as error:
            unreadable.append(str(error))
            continue
        names.append(path.relative_to(data).as_posix())
        labels.append(label)
    if not rows:
        raise DataError(f"none of the {len(photos)} photos in {data} can be read")
    probabilities, logits, known_scores = zip(*rows, strict=True)
    predictions = Predictions(
        names, torch.tensor(labels), torch.stack(probabilities), predictor.class_names,
        torch.stack(logits), torch.tensor(known_scores),
    )  # fmt: skip
    return predictions, unreadable


def score_outside(
    predictor: Predictor, folder: Path, predictions: Predictions, out: Path
) -> dict[str, float]:
    """How well the file knows what it does not know; the outside photos go to outside.csv.

    Args:
        predictor: The model file.
        folder: Photos of none of the landmarks; their half B is scored.
        predictions: Of the labelled photos.
        out: Folder of outside.csv, the surest first.

    Raises:
        DataError: None of the photos can be read.
    """
    rows = []
    for path in tqdm(find_outside(folder, "B"), "outside", unit="photo"):
        try:
            answer = predictor.answer(path, 1)
        except PhotoError:
            continue
        name = path.relative_to(folder).as_posix()
        rows.append((answer.known_score, name, answer.label, answer.known))
    if not rows:
        raise DataError(f"none of the photos in {folder} can be read")
    rows.sort(reverse=True)
    with (out / "outside.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "known_score", "label", "known"])
        writer.writerows([name, f"{score:.4f}", *rest] for score, name, *rest in rows)
    threshold = predictor.manifest["known_threshold"]
    other = torch.tensor([score for score, *_ in rows])
    return measure_known(predictions.known_scores, predictions.right(), other, threshold)


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Classify every photo; write metrics.json, photos.csv, figures/ and report.html.

    Returns:
        The figures as fractions, and the number of photos.
    """
    if unknown := set(config.severities) - set(SEVERITIES):
        raise DataError(f"no --severities {sorted(unknown)}; they go from 1 to 5")
    if config.artifact:
        predictor = fetch_artifact(config.artifact).predictor
    else:
        predictor = Predictor.load(find_model(config.model))
    photos = labelled_photos(config.data, predictor.class_names)
    config.out.mkdir(parents=True, exist_ok=True)
    predictions, unreadable = classify_photos(predictor, config.data, photos)
    predictions.write_csv(config.out / "photos.csv")
    metrics = summarise(predictions)
    if config.outside is not None:
        metrics["known"] = score_outside(predictor, config.outside, predictions, config.out)
    metrics |= {
        "model": record(config, predictor, {**predictions.figures(), "photos": metrics["photos"]}),
        "name": predictor.manifest.get("name", predictor.path.stem),
        "unreadable": unreadable,
    }
    # Written before the longer work, so that this much outlives it.
    write_metrics(metrics, config.out)
    severities = sorted(set(config.severities)) if config.robustness else []
    scores = None
    if config.tta or severities:
        scores = score_views(predictor, config.data, predictions, config.tta, severities)
        scored = 0 if scores is None else len(scores.photos)
        metrics["views_missing"] = metrics["photos"] - scored  # after Ctrl-C
    if scores is not None:
        metrics |= summarise_views(scores, predictions)
        write_metrics(metrics, config.out)
    pictures = save_figures(draw_figures(predictions, metrics), config.out / "figures")
    report = config.out / "report.html"
    write_evaluation(report, config.data, predictions, metrics, pictures, scores)
    return metrics


def record(config: EvaluateConfig, predictor: Predictor, figures: dict[str, float]) -> str:
    """Add the figures to the W&B model, the model file or the log, where that is asked for.

    Returns:
        The model file's digest, after that.
    """
    test = {f"test/{name}": value for name, value in figures.items()}
    digest = predictor.digest
    if config.artifact:
        record_test(config.artifact, test)
    elif config.record:
        measured = {**predictor.manifest["metrics"], **test}
        rewrite_manifest(predictor.path, {**predictor.manifest, "metrics": measured})
        digest = file_digest(predictor.path)  # the same network in a file that says more
    if config.log is not None:
        with config.log.open("a", encoding="utf-8") as file:
            file.write(
                f"| {digest[:12]} | {time.strftime('%Y-%m-%d')} | {figures['photos']} | "
                f"{figures['top1']:.4f} | {figures['top5']:.4f} | {figures['loss']:.4f} |\n"
            )
    return digest


def write_metrics(metrics: dict[str, Any], out: Path) -> None:
    """Write metrics.json."""
    write_text(out / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False))


def save_figures(figures: dict[str, Figure], folder: Path) -> dict[str, bytes]:
    """Write figures as PNG files of a folder; name -> PNG."""
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    return {name: (folder / f"{name}.png").read_bytes() for name in figures}


def main(config: EvaluateConfig) -> int:
    """Score and print."""
    try:
        metrics = evaluate(config)
    except (ModelFileError, PhotoError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped before the report; the same line again starts anew", file=sys.stderr)
        return 130
    low, high = metrics["top1_interval_95"]
    print(
        f"top-1 {metrics['top1']:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"top-5 {metrics['top5']:.2%}, {metrics['photos']} photos; {config.out / 'report.html'}"
    )
    return 130 if metrics.get("views_missing") else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(EvaluateConfig, prog="python -m train.evaluate")))
