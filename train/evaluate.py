"""Score a model file on a test folder: python -m train.evaluate --model FILE --data DIR --out OUT.

What is scored is the exported file, fed by the page's photo reader: what is served.
"""

import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from models.command_line import parse_flags
from models.environment import TRAINING
from models.files import check_folder, file_digest, write_text
from models.model_file.model_path import ModelFileError, find_model
from train.data.folders import (
    ClassFinder,
    DataError,
    check_data_folder,
    check_layout,
    list_class_folders,
    part_folder,
)
from train.data.outside import OutsidePhotos

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.predictor import Predictor
    from train.evaluation.predictions import Predictions

EXAMPLES = (
    "python -m train.evaluate --model runs/ID --data DIR --out OUT",
    "python -m train.evaluate --data DIR --out OUT --outside OTHER_PHOTOS --robustness",
    "python -m train.evaluate --data DIR --out OUT --outside ANIMALS --outside STREETS",
)


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
    """A Markdown table to append a line to: digest, date, figures."""
    outside: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Folder of photos of none of the landmarks; may be given several times, once per kind
    (animals, streets, ...), or name one folder of such folders. The half that training leaves out
    shows how well the file tells known landmarks from everything else."""
    robustness: bool = False
    """Also score the photos blurred, noisy, recompressed, dark, askew, small and photographed from
    a screen, at each of --severities: with three of them, 22 more answers per photo."""
    severities: tuple[int, ...] = (1, 3, 5)
    """Severities of --robustness, from 1 to 5."""
    tta: bool = False
    """Also average 12 views of each photo (complete, corners, middle; mirrored), to see what that
    would gain and cost. The model file's own answers do not change."""


def check_flags(config: EvaluateConfig) -> None:
    """Check what a person mistypes, before torch is imported.

    Raises:
        ValueError: No such severity, data folder, outside photos or model file; or nothing can be
            written to --out.
    """
    from train.evaluation.corruptions import SEVERITIES

    if unknown := set(config.severities) - set(SEVERITIES):
        raise DataError(f"no --severities {sorted(unknown)}; they go from 1 to 5")
    if not config.artifact:
        find_model(config.model)
    check_data_folder(config.data)
    if config.outside:
        OutsidePhotos.find(config.outside)
    check_folder(config.out, "--out")


def labelled_photos(data: Path, class_names: list[str]) -> dict[str, int]:
    """Return path -> label of the photos in class folders, also in subfolders of these.

    Args:
        data: Folder with test/ of class folders, or of class folders.
        class_names: K labels, one of which is each folder's cleaned name.

    Returns:
        Paths are relative to data.

    Raises:
        DataError: No photos, or a folder that is no class of the model.
    """
    check_data_folder(data)
    root = part_folder(data, "test")
    check_layout(root)
    find = ClassFinder(class_names)
    labels = {}
    for folder in list_class_folders(root):
        label = find.label_of(folder)
        if label is None:
            known = f"it knows {class_names[:3]}, ..."
            raise DataError(f"{folder.path} is no class of this model; {known}")
        labels |= {path.relative_to(data).as_posix(): label for path in folder.photos}
    if not labels:
        raise DataError(f"no photos in class folders of {root}")
    return labels


def classify_photos(
    predictor: "Predictor", data: Path, labels: dict[str, int]
) -> tuple["Predictions", list[str]]:
    """Score each photo; return the predictions, and why some photos could not be read.

    Raises:
        DataError: None of them can be read.
    """
    import torch

    from train.evaluation.scoring import score_photos

    scores = score_photos(predictor, data, list(labels), skip_unreadable=True, keep_bar=True)
    truth = torch.tensor([labels[photo] for photo in scores.photos])
    return scores.with_labels(truth), list(scores.unreadable.values())


def score_outside(
    predictor: "Predictor", folders: Sequence[Path], predictions: "Predictions", out: Path
) -> dict[str, Any]:
    """Measure how well the file knows what it does not know; list the photos in outside.csv.

    Args:
        predictor: The model file.
        folders: Photos of none of the landmarks, see find_outside; their half B is scored.
        predictions: What the file says of the labelled photos.
        out: Folder of outside.csv, the surest photos first.

    Raises:
        DataError: None of the photos of a kind can be read.
    """
    from train.evaluation.open_set import measure_open_set, warn_of_small_kinds
    from train.evaluation.scoring import score_photos
    from train.exporting.known_score import measure_known

    found, thresholds = OutsidePhotos.find(folders), predictor.thresholds
    kinds = {photo: kind for kind, photos in found.measure.items() for photo in photos}
    scores = score_photos(predictor, Path(found.root), list(kinds), "outside", True, keep_bar=True)
    guesses, rows = scores.logits.argmax(1), []
    positions: dict[str, list[int]] = {kind: [] for kind in found.measure}
    for position, (photo, score) in enumerate(
        zip(scores.photos, scores.known_scores.tolist(), strict=True)
    ):
        positions[kinds[photo]].append(position)
        label, verdict = scores.class_names[guesses[position]], thresholds.judge(score)
        rows.append((score, photo, label, verdict != "none", kinds[photo], verdict))
    rows.sort(reverse=True)  # the surest first: the outside photos most easily mistaken
    with (out / "outside.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "known_score", "label", "known", "kind", "verdict"])
        writer.writerows([name, f"{score:.4f}", *rest] for score, name, *rest in rows)
    if unread := [kind for kind, some in positions.items() if not some]:
        raise DataError(
            f"none of the {len(found.measure[unread[0]])} photos of {unread[0]!r} in {found.root} "
            "can be read; leave that kind out"
        )
    # Kinds without a photo in half B were left out of it; they are too small as well.
    counts = dict.fromkeys(found.learn, 0) | {kind: len(some) for kind, some in positions.items()}
    return {
        **measure_known(
            # In double, as the threshold is: float32 may round it to a score just below it.
            predictions.known_scores.double(),
            predictions.right(),
            scores.known_scores.double(),
            thresholds.maybe,
        ),
        **measure_open_set(
            predictions,
            {kind: scores.known_scores[some] for kind, some in positions.items()},
            {kind: guesses[some] for kind, some in positions.items()},
            thresholds,
        ),
        "warnings": warn_of_small_kinds(counts),
    }


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Score every photo; write metrics.json, photos.csv, figures/ and report.html.

    Returns:
        The figures as fractions, and the number of photos.

    Raises:
        DataError: No such data, or none of it can be read.
        ModelFileError: No such model.
    """
    check_flags(config)
    from models.predictor import Predictor
    from models.sources.wandb_artifacts import fetch_artifact
    from train.evaluation.plots import draw_figures
    from train.evaluation.report import write_evaluation
    from train.evaluation.summary import summarise
    from train.evaluation.variants import score_views, summarise_views

    if config.artifact:
        predictor = fetch_artifact(config.artifact).predictor
    else:
        predictor = Predictor.load(find_model(config.model))
    labels = labelled_photos(config.data, predictor.class_names)
    config.out.mkdir(parents=True, exist_ok=True)
    predictions, unreadable = classify_photos(predictor, config.data, labels)
    predictions.write_csv(config.out / "photos.csv")
    metrics = summarise(predictions)
    if config.outside:
        metrics["known"] = score_outside(predictor, config.outside, predictions, config.out)
    metrics |= {
        "model": record(config, predictor, {**predictions.figures(), "photos": metrics["photos"]}),
        "name": predictor.manifest.get("name", predictor.path.stem),
        "unreadable": unreadable,
    }
    # Written before the longer work, so that this much survives if it is cut short.
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


def record(config: EvaluateConfig, predictor: "Predictor", figures: dict[str, float]) -> str:
    """Add the figures to the W&B model, the model file or the log, as the flags ask.

    Returns:
        The model file's digest, after that.
    """
    test = {f"test/{name}": value for name, value in figures.items()}
    digest = predictor.digest
    if config.artifact:
        from train.tracking.registry import record_test

        record_test(config.artifact, test)
    elif config.record:
        from models.model_file.torchscript import rewrite_manifest

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


def save_figures(figures: dict[str, "Figure"], folder: Path) -> dict[str, bytes]:
    """Write figures as PNG files of a folder; return name -> PNG."""
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    return {name: (folder / f"{name}.png").read_bytes() for name in figures}


def print_known(known: dict[str, Any]) -> None:
    """Print what gets a name at each threshold, and what the outside photos are too few for."""
    from train.evaluation.open_set_report import (
        describe_recalls,
        explain_thresholds,
        threshold_rows,
    )
    from train.evaluation.phrases import pad_columns

    table = pad_columns(*threshold_rows(known))
    print(describe_recalls(known), explain_thresholds(known), *table, sep="\n")
    for line in known["warnings"]:
        print(f"warning: {line}", file=sys.stderr)


def main(config: EvaluateConfig) -> int:
    """Score and print."""
    status = 2
    try:
        check_flags(config)
        status = 1
        metrics = evaluate(config)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ModelFileError) else status  # also one that is damaged
    except KeyboardInterrupt:
        print(
            "stopped before the report; run the same command again to start over", file=sys.stderr
        )
        return 130
    low, high = metrics["top1_interval_95"]
    print(
        f"top-1 {metrics['top1']:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"top-5 {metrics['top5']:.2%}, {metrics['photos']} photos; {config.out / 'report.html'}"
    )
    if "known" in metrics:
        print_known(metrics["known"])
    return 130 if metrics.get("views_missing") else 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(EvaluateConfig, "python -m train.evaluate", EXAMPLES, TRAINING)))
