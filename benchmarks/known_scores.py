"""Compare scores that tell known landmarks from everything else (open-set recognition).

python benchmarks/known_scores.py --run RUN [--test DIR/test] [--left-out DIR]

RUN is a run folder of a training with --outside. Prints R@20, R@5 and R@2 (right names where 20, 5
or 2 of 1,000 other photos get any name), the AUROC and the false positive rate at 95 % of scores
after training: the largest probability and logit, the energy (Liu et al. 2020), the distance to the
5th nearest training photo (Sun et al. 2022), ViM (Wang et al. 2022), the cosine to the nearest of 2
prototypes a class, ASH-S (Djurisic et al. 2023), SCALE (Xu et al. 2024), and logistic regressions
on what models.model_file.classifier.KnownScore weighs: log-odds and cosine only; the score of this
project, with the direction of the features; the same with little restraint; and with an offset per
predicted class (0.6 times its 90 % quantile among the other photos of half A).

Validation photos against the part of half A that the network did not learn from are what decided;
the regressions' figures there are cross-validated. Then validation photos against half B, which
taught nothing; and, where asked for, test photos and landmarks that the network was never shown.
At the end, how many drawn, blank, noisy, screenshot and text images get which verdict.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.photos import PHOTO_EXTENSIONS
from models.predictor import Predictor
from train.config import config_from_dict
from train.data.photo_cache import decode_photos
from train.data.split import Split
from train.engine.checkpoints import load_checkpoint
from train.engine.recipe import build_preprocess, build_trained
from train.engine.run_folder import open_outside
from train.evaluation.open_set import PER_MILLE, recall_at
from train.exporting.confidence import build_extractor, calibrate, fit_calibration
from train.exporting.known_score import (
    KnownFit,
    apply_score,
    detection_figures,
    find_prototypes,
    fit_known,
    score_inputs,
)
from train.notebook_support.drawn_photos import LANDMARKS, draw_photo

NEIGHBOUR, SUBSPACE, IMAGES = 5, 256, 100
FREE = 0.03
PRUNED = 0.9  # of the features, by ASH; SCALE keeps the largest tenth for its factor
QUANTILE, OFFSET = 0.9, 0.6


@dataclass(frozen=True)
class ScoresConfig:
    """Compare scores of known landmarks."""

    run: Path
    """Run folder with checkpoints/best.pt, outside.json and model.pt."""
    test: Path | None = None
    """Photos of known landmarks (class folders) to report on."""
    left_out: Path | None = None
    """Folder of class folders with landmarks that the run was not trained on."""
    seed: int = 0
    """Seed of the folds and the drawn images."""


@dataclass(frozen=True)
class Found:
    """Hold features (N, C), logits (N, K) and labels (N,) of photos; -1 for other things."""

    features: Tensor
    logits: Tensor
    labels: Tensor

    @property
    def right(self) -> Tensor:
        """(N,) bool, whether the best guess is right."""
        return self.logits.argmax(1) == self.labels


def energy(found: Found) -> Tensor:
    """Return (N,) float32, the logarithm of the summed exponentials of the logits."""
    return found.logits.logsumexp(1)


def neighbours(train: Found) -> Callable[[Found], Tensor]:
    """Return a score: the cosine to the fifth nearest training photo."""
    bank = normalize(train.features, dim=1)
    return lambda found: (
        (normalize(found.features, dim=1) @ bank.T).topk(NEIGHBOUR, 1).values[:, -1]
    )


def virtual_logit(train: Found) -> Callable[[Found], Tensor]:
    """Return a score: the energy minus the scaled distance from the training features' subspace."""
    dimension = min(SUBSPACE, train.features.shape[1] // 2)
    mean = train.features.mean(0)
    rest = torch.linalg.eigh(torch.cov((train.features - mean).T)).eigenvectors[:, :-dimension]

    def distance(found: Found) -> Tensor:
        return ((found.features - mean) @ rest).norm(dim=1)

    factor = train.logits.amax(1).mean() / distance(train).mean()
    return lambda found: energy(found) - factor * distance(found)


def shaped(head: torch.nn.Module, prune: bool) -> Callable[[Found], Tensor]:
    """Return the energy of features scaled by exp(sum / sum of the largest tenth).

    Args:
        head: Linear, (N, C) -> (N, K).
        prune: Whether the rest becomes zero (ASH-S), or stays (SCALE).
    """

    def score(found: Found) -> Tensor:
        features = found.features.clamp(min=0)
        level = features.quantile(PRUNED, dim=1, keepdim=True)
        largest = torch.where(features >= level, features, torch.zeros_like(features))
        factor = (features.sum(1) / largest.sum(1).clamp(min=1e-6)).exp()[:, None]
        with torch.inference_mode():
            return head((largest if prune else features) * factor).logsumexp(1)

    return score


def draw_images(kind: str, rng: np.random.Generator) -> Image.Image:
    """Draw an image that is no photo: drawn, blank, noise, screenshot or text."""
    width, height = rng.integers(200, 900, 2).tolist()
    if kind == "drawn":
        return draw_photo(list(LANDMARKS)[rng.integers(len(LANDMARKS))], int(rng.integers(10_000)))
    if kind == "noise":
        grain, channels = rng.integers(1, 9), rng.choice((1, 3))  # grey or coloured
        size = (height // grain, width // grain, channels)
        values = np.repeat(rng.integers(0, 256, size, dtype=np.uint8), 3 // channels, 2)
        return Image.fromarray(values).resize((width, height), Image.Resampling.NEAREST)
    paper = tuple(rng.integers(0 if kind == "blank" else 200, 256, 3).tolist())
    image = Image.new("RGB", (width, height), paper)
    if kind == "blank":
        return image
    draw = ImageDraw.Draw(image)
    if kind == "screenshot":
        for _ in range(rng.integers(2, 6)):
            left, top = rng.integers(0, width - 100), rng.integers(0, height - 100)
            right, bottom = left + rng.integers(80, 400), top + rng.integers(80, 300)
            bar = tuple(rng.integers(0, 256, 3).tolist())
            draw.rectangle((left, top, right, bottom), "white", "grey")
            draw.rectangle((left, top, right, top + 18), bar)
            draw.text((left + 6, top + 3), "File  Edit  View", "white")
            for line in range(top + 30, bottom - 12, 16):
                draw.text((left + 8, line), words(rng, 5), "black")
    else:
        size = int(rng.integers(10, 40))
        font = ImageFont.load_default(size)
        for line in range(10, height, round(1.4 * size)):
            draw.text((12, line), words(rng, 12), "black", font)
    return image


def words(rng: np.random.Generator, count: int) -> str:
    """Return letters that look like words."""
    lengths = rng.integers(2, 9, count)
    return " ".join("".join(chr(c) for c in rng.integers(97, 123, each)) for each in lengths)


def split_kinds(scores: Tensor, kinds: list[str]) -> dict[str, Tensor]:
    """Return kind -> its scores."""
    return {
        kind: scores[torch.tensor([each == kind for each in kinds])] for kind in sorted(set(kinds))
    }


def show(name: str, known: Tensor, right: Tensor, others: dict[str, Tensor]) -> None:
    """Print the figures of a score."""
    figures = detection_figures(known, torch.cat(list(others.values())))
    recalls = "  ".join(f"{recall_at(known, right, others, n):.3f}" for n in PER_MILLE)
    print(f"  {name:28s} {recalls}   {figures['auroc']:.3f}  {figures['fpr95']:.1%}")


def main(config: ScoresConfig) -> None:
    """Compute, compare and print."""
    run = config.run
    settings = config_from_dict(json.loads((run / "config.json").read_text(encoding="utf-8")))
    split, outside = Split.load(run / "split.json"), open_outside(settings, run)
    if outside is None:
        sys.exit(f"error: {run} is no run with outside photos; train with --outside")
    weights = load_checkpoint(run / "checkpoints" / "best.pt")["model"]
    model = build_trained(settings, len(split.class_names), weights)
    preprocess = build_preprocess(settings, model)
    extract = build_extractor(model, preprocess, config.seed)

    def look(root: Path, labels: dict[str, int]) -> Found:
        cache = decode_photos(root, list(labels), preprocess.resize_px, settings.cache_dir)
        logits, features = extract(cache)
        return Found(features, logits, torch.tensor([labels[path] for path in cache.paths]))

    def look_at_others(kinds: dict[str, str]) -> tuple[Found, list[str]]:
        cache = decode_photos(
            Path(outside.root), list(kinds), preprocess.resize_px, settings.cache_dir
        )
        logits, features = extract(cache)
        none = torch.full((len(logits),), -1)
        return Found(features, logits, none), [kinds[path] for path in cache.paths]

    def class_folders(folder: Path) -> dict[str, int]:
        names = {name.replace(" ", "_"): label for label, name in enumerate(split.class_names)}
        return {
            path.relative_to(folder).as_posix(): names.get(path.parent.name.split(".", 1)[-1], -1)
            for path in sorted(folder.glob("*/*"))
            if path.suffix.lower() in PHOTO_EXTENSIONS
        }

    train, val = (
        look(Path(split.root), dict(zip(part, split.labels(part).tolist(), strict=True)))
        for part in (split.train, split.val)
    )
    learned, _ = look_at_others(outside.for_network())
    kept, kept_kinds = look_at_others(outside.for_score())
    measured, measured_kinds = look_at_others(
        {path: kind for kind, paths in outside.measure.items() for path in paths}
    )
    calibration = fit_calibration(val.logits, val.labels)
    prototypes = find_prototypes(train.features, train.labels)

    def described(found: Found) -> Tensor:
        return score_inputs(found.features, calibrate(found.logits, calibration), prototypes)

    def without_direction(found: Found) -> Tensor:
        columns = described(found)
        return torch.cat([torch.zeros_like(columns[:, :-2]), columns[:, -2:]], 1)

    fits: dict[str, tuple[KnownFit, Callable[[Found], Tensor]]] = {
        "log-odds and cosine": (
            fit_known(without_direction(val), prototypes, without_direction(kept), config.seed),
            without_direction,
        ),
        "taught": (fit_known(described(val), prototypes, described(kept), config.seed), described),
        "taught freely": (
            fit_known(described(val), prototypes, described(kept), config.seed, FREE),
            described,
        ),
    }
    scores: dict[str, Callable[[Found], Tensor]] = {
        "largest probability": lambda found: calibrate(found.logits, calibration).amax(1),
        "largest logit": lambda found: found.logits.amax(1),
        "energy": energy,
        "nearest neighbours": neighbours(train),
        "ViM": virtual_logit(train),
        "nearest prototype": lambda found: described(found)[:, -1],
        "ASH-S": shaped(model.get_classifier(), prune=True),
        "SCALE": shaped(model.get_classifier(), prune=False),
        **{
            name: lambda found, fit=fit, columns=columns: apply_score(fit.score, columns(found))
            for name, (fit, columns) in fits.items()
        },
    }
    offsets = class_offsets(scores["taught"], [learned, kept], len(split.class_names))
    scores["taught, offset per class"] = lambda found: (
        scores["taught"](found) - offsets[found.logits.argmax(1)]
    )
    columns = {
        "validation / held-out part of half A": (val, kept, kept_kinds),
        "validation / half B": (val, measured, measured_kinds),
    }
    if config.test is not None:
        test = look(config.test, class_folders(config.test))
        columns["test / half B"] = test, measured, measured_kinds
    if config.left_out is not None:
        strange = look(config.left_out, class_folders(config.left_out))
        columns["validation / left out"] = val, strange, ["left out"] * len(strange.logits)
    print(f"{run.name}; R@20, R@5, R@2, AUROC, false positive rate at 95 %; seed {config.seed}")
    for title, (known, others, kinds) in columns.items():
        print(f"{title}: {len(known.logits)} against {len(others.logits)} photos")
        for name, score in scores.items():
            said, strange = score(known), score(others)
            if name in fits and known is val:
                # The validation photos taught it, so only cross-validated scores are fair.
                said = fits[name][0].held_out
                strange = fits[name][0].held_out_outside if others is kept else strange
            show(name, said, known.right, split_kinds(strange, kinds))
    predictor = Predictor.load(run / "model.pt")
    rng = np.random.default_rng(config.seed)
    for kind in ("drawn", "blank", "noise", "screenshot", "text"):
        verdicts = Counter(
            predictor.answer(draw_images(kind, rng), 1).verdict for _ in range(IMAGES)
        )
        print(f"{kind} images, verdicts of {IMAGES}: {dict(verdicts)}")


def class_offsets(
    score: Callable[[Found], Tensor], others: list[Found], class_count: int
) -> Tensor:
    """Return (K,) what is taken from a score per predicted class; 0 where few photos tell."""
    said = torch.cat([score(each) for each in others])
    guesses = torch.cat([each.logits.argmax(1) for each in others])
    offsets = torch.zeros(class_count)
    for label in range(class_count):
        if (guesses == label).sum() >= 5:
            offsets[label] = OFFSET * said[guesses == label].quantile(QUANTILE)
    return offsets


if __name__ == "__main__":
    main(tyro.cli(ScoresConfig))
