"""Functions that the notebooks share: photos to learn from, resumable trainings, tables, figures.

Environment: LANDMARKS_DATA (photos; without it they are drawn), LANDMARKS_OUTSIDE (photos of none
of its landmarks), LANDMARKS_EPOCHS (for a short try), LANDMARKS_LESSON (folder for all results).
"""

import csv
import dataclasses
import io
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from tqdm import tqdm

from models.networks.pretrained import BackboneError, build_pretrained
from models.networks.scratch_cnn import ScratchCNN
from models.predictor import Predictor
from train.compare import CompareConfig, compare
from train.config import TrainConfig, TransferConfig
from train.data.sources import open_source
from train.data.split import Split
from train.engine.training_run import run_training
from train.evaluation.figure import new_figure
from train.evaluation.findings import find
from train.evaluation.phrases import percent, span
from train.notebook_support.drawn_landmarks import LANDMARKS
from train.notebook_support.drawn_photos import draw_dataset

KNOWN = 6  # of the drawn landmarks are learned; a model never sees the other four
DRAWN_PARTS = {"train": 24, "test": 8}
DRAWN_PX = (160, 120)
DPI = 72  # of figures with pictures, which are most of a notebook's size
SHORT: dict[str, Any] = {"batch_size": 16, "workers": 0, "warmup_epochs": 0.5}


@dataclass(frozen=True)
class Lesson:
    """What a notebook works on: photos, folders and settings.

    Attributes:
        data: Folder with train/ and test/ of class folders.
        outside: Folder of photos of none of its landmarks; None where there is none.
        drawn: Whether the photos are drawn.
        runs: Folder of everything that the notebooks make.
        prepare: Settings of train.prepare that differ from the defaults.
        scratch: Likewise, of a network from scratch.
        transfer: Likewise, of a pretrained network.
    """

    data: Path
    outside: Path | None
    drawn: bool
    runs: Path
    prepare: dict[str, Any]
    scratch: dict[str, Any]
    transfer: dict[str, Any]

    @property
    def model(self) -> Path | None:
        """The second notebook's run; None before it has run, which means the bundled model."""
        run_dir = self.runs / "fine-tuned"
        return run_dir if (run_dir / "model.pt").is_file() else None

    @property
    def finished(self) -> tuple[Path, ...]:
        """The run folders that have a model file."""
        return tuple(path.parent for path in sorted(self.runs.glob("*/model.pt")))

    @property
    def folders(self) -> dict[str, Path]:
        """What it shows -> folder, of the photos that no model has learned from."""
        outside = {"photos of none of the landmarks": self.outside} if self.outside else {}
        return {"test photos": self.data} | outside


def open_lesson() -> Lesson:
    """Return the photos and settings that the environment names; without any, draw photos."""
    runs = Path(os.environ.get("LANDMARKS_LESSON") or "runs/lesson")
    epochs = os.environ.get("LANDMARKS_EPOCHS")
    short = {"epochs": int(epochs)} if epochs else {}
    named, outside = (os.environ.get(f"LANDMARKS_{each}") for each in ("DATA", "OUTSIDE"))
    if named:
        print("photos: LANDMARKS_DATA" + (", LANDMARKS_OUTSIDE" if outside else ""))
        strange = Path(outside) if outside else None
        return Lesson(Path(named), strange, False, runs, {}, short, short)
    # Small enough that all three notebooks take minutes on two cores, large enough to learn from.
    names = list(LANDMARKS)
    data = draw_dataset(runs / "drawn", DRAWN_PARTS, names[:KNOWN], DRAWN_PX)
    strange = draw_dataset(runs / "strange", {"test": DRAWN_PARTS["test"]}, names[KNOWN:], DRAWN_PX)
    print(f"photos: drawn, {KNOWN} landmarks to learn and {len(names) - KNOWN} that stay unknown")
    return Lesson(
        data,
        strange,
        True,
        runs,
        prepare={"label_noise": False, "workers": 1},
        scratch=SHORT | {"epochs": 20, "image_size": 64, "width": 16, "depth": 1} | short,
        transfer=SHORT | {"epochs": 3, "image_size": 96} | short,
    )


def train_run(config: TrainConfig) -> Path:
    """Train into config.run_dir; resume a run that was interrupted, leave a finished one as it is.

    So a cell can be run again at any time, also after the kernel was stopped in mid-training.

    Returns:
        The run folder.

    Raises:
        RuntimeError: The training did not finish; what it printed says why.
    """
    run_dir = config.run_dir
    assert run_dir is not None
    if (run_dir / "model.pt").is_file():  # made by the export, at the end
        same = Path(Split.load(run_dir / "split.json").root) == open_source(config).root
        photos = "" if same else ", on other photos than these"
        print(f"{run_dir} is finished{photos}; delete the folder to train again")
        return run_dir
    if (run_dir / "config.json").is_file():
        config = dataclasses.replace(config, resume=run_dir)
    if status := run_training(config):
        raise RuntimeError(f"the training ended with status {status}")
    return run_dir


def train_candidates(configs: Sequence[TransferConfig]) -> list[Path]:
    """Train each backbone whose weights are available here, and name the others.

    Returns:
        The run folders.
    """
    found = []
    for config in configs:
        try:  # first, so that missing weights are told from a training that failed
            build_pretrained(config.backbone, 2, config.pretrained, config.weights)
        except BackboneError as error:
            print(f"left out: {error}")
        else:
            found.append(train_run(config))
    return found


def describe_backbones(names: Sequence[str], side_px: int = 224, calls: int = 10) -> str:
    """Return a table of backbones: parameters, and the median time for one photo on this CPU.

    Args:
        names: Of timm; random weights, which are as fast as any.
        side_px: Side of the square photo.
        calls: Measurements per backbone.
    """
    lines = [f"{'backbone':<26} {'parameters':>12} {'one photo':>10}"]
    images = torch.zeros(1, 3, side_px, side_px)
    for name in tqdm(names, "timing", unit="backbone", leave=False):
        network = build_pretrained(name, 50, pretrained=False).eval()
        seconds = []
        with torch.inference_mode():
            for _ in range(calls + 2):
                start = time.perf_counter()
                network(images)
                seconds.append(time.perf_counter() - start)
        # The first two calls also allocate memory and choose kernels.
        milliseconds = 1000 * statistics.median(seconds[2:])
        lines.append(f"{name:<26} {count_parameters(network):>12,} {milliseconds:>7.0f} ms")
    return "\n".join(lines)


def compare_runs(runs: Sequence[Path], out: Path) -> str:
    """Return the Markdown of train.compare without its picture, which is in out.

    The picture's path is relative to the report, and a notebook would not find it.
    """
    parts = compare(CompareConfig(tuple(runs), out)).split("\n\n")
    return "\n\n".join(part for part in parts if not part.startswith("!["))


def describe_score(metrics: dict[str, Any]) -> str:
    """Write the figures of train.evaluate, and the findings made from them, as text."""
    top1 = f"top-1 {percent(metrics['top1'])} ({span(metrics['top1_interval_95'])})"
    lines = [f"{metrics['photos']} test photos: {top1}, top-5 {percent(metrics['top5'])}"]
    for kind, sentences in find(metrics).items():
        lines += ["", f"{kind}:", *(f"- {sentence}" for sentence in sentences)]
    return "\n".join(lines)


def describe_layers(network: ScratchCNN, side_px: int) -> str:
    """Return a table of a network's parts: size of the features after each, and parameters."""
    parts = {"stem": network.stem}
    parts |= {f"block {number}": block for number, block in enumerate(network.stages, 1)}
    lines = [f"{'part':<10} {'channels':>8} {'side':>5} {'parameters':>11}"]
    features = torch.zeros(1, 3, side_px, side_px)
    network.eval()
    with torch.inference_mode():
        for name, part in parts.items():
            features = part(features)
            channels, side = features.shape[1:3]
            lines.append(f"{name:<10} {channels:>8} {side:>5} {count_parameters(part):>11,}")
    lines.append(
        f"{'head':<10} {network.head.out_features:>8} {'':>5} {count_parameters(network.head):>11,}"
    )
    lines.append(f"{'all':<10} {'':>8} {'':>5} {count_parameters(network):>11,}")
    return "\n".join(lines)


def count_parameters(part: nn.Module) -> int:
    """Count the numbers that a part of a network learns."""
    return sum(parameter.numel() for parameter in part.parameters())


def show_pictures(pictures: Mapping[str, np.ndarray | Image.Image], columns: int = 6) -> Figure:
    """Show pictures with their titles, in rows."""
    rows = -(-len(pictures) // columns)
    figure = new_figure(figsize=(1.8 * columns, 1.65 * rows), dpi=DPI, layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place in places:
        place.axis("off")
    for place, (title, picture) in zip(places, pictures.items(), strict=False):
        place.imshow(picture)
        place.set_title(title, fontsize=8)
    return figure


def show_answers(
    predictor: Predictor, photos: Mapping[str, np.ndarray | Image.Image], columns: int = 2
) -> Figure:
    """Show each photo with its title and bars of its five most likely landmarks."""
    rows = -(-len(photos) // columns)
    figure = new_figure(figsize=(5.2 * columns, 1.7 * rows), dpi=DPI, layout="constrained")
    places = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1.2, 1] * columns)
    for place in places.flat:
        place.axis("off")
    for number, (title, photo) in enumerate(photos.items()):
        row, column = divmod(number, columns)
        picture, bars = places[row, 2 * column], places[row, 2 * column + 1]
        best = predictor.classify(photo)
        picture.imshow(photo)
        picture.set_title(title, fontsize=8)
        bars.barh(range(len(best)), list(best.values()), color="#a9c6e8")
        bars.set(xlim=(0, 1), ylim=(4.6, -0.6))
        for position, (label, share) in enumerate(best.items()):
            text = f"{share:.0%} {label}".replace("$", r"\$")
            bars.text(0.02, position, text, fontsize=8, va="center")
    return figure


def show_confidences(tables: Mapping[str, str]) -> Figure:
    """Show histograms of the probability of the best guess.

    Args:
        tables: Name -> predictions.csv of train.submission, as text.
    """
    figure = new_figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    for name, table in tables.items():
        sure = [float(row["probability_1"]) for row in csv.DictReader(io.StringIO(table))]
        axes.hist(
            sure,
            bins=np.linspace(0, 1, 21),
            weights=np.full(len(sure), 1 / len(sure)),
            alpha=0.6,
            label=f"{name} ({len(sure)} photos)",
        )
    axes.set(xlabel="probability of the best guess", ylabel="share of the photos", xlim=(0, 1))
    axes.legend()
    return figure


def share_above(table: str, threshold: float) -> float:
    """Return the share of a table's photos whose best guess has at least this probability."""
    sure = [float(row["probability_1"]) for row in csv.DictReader(io.StringIO(table))]
    return sum(value >= threshold for value in sure) / len(sure)
