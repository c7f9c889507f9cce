"""Compare scores that tell known landmarks from everything else (open-set recognition).

python benchmarks/known_scores.py --run RUN --outside DIR [--test DIR/test] [--left-out DIR]

Prints the AUROC and the false positive rate at 95 % true positives of eight scores: the largest
probability and logit, the energy (Liu et al. 2020), the distance to the 5th nearest training photo
(Sun et al. 2022), ViM (Wang et al. 2022), the cosine to the nearest of 2 prototypes a class, the
score of this project, which half A of the outside photos taught (outlier exposure), and the same
with little restraint. Validation photos against half A, and against training photos of landmarks
that the network was never shown (--left-out, its train/), are what decided; the taught scores'
figures there are cross-validated. Then test photos against half B and against --left-out's test/.
At the end, how many drawn, blank, noisy, screenshot and text images count as known landmarks.
"""

import json
import sys
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
from train.data.outside import find_outside
from train.data.split import Split
from train.engine.checkpoints import load_checkpoint
from train.engine.recipe import build_preprocess, build_trained
from train.exporting.confidence import (
    build_extractor,
    calibrate,
    decode_folder,
    fit_calibration,
)
from train.exporting.known_score import (
    ACCEPTED,
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


@dataclass(frozen=True)
class ScoresConfig:
    """Compare scores of known landmarks."""

    run: Path
    """Run folder with checkpoints/best.pt and model.pt."""
    outside: Path
    """Photos of none of the landmarks."""
    test: Path | None = None
    """Photos of known landmarks to report on."""
    left_out: Path | None = None
    """Data folder (train/, test/) of landmarks that the run was not trained on."""
    hidden: Path | None = None
    """A list of file names: outside photos that do show a known landmark. Figures are also printed
    without them."""
    seed: int = 0
    """Seed of the folds and the drawn images."""


@dataclass(frozen=True)
class Found:
    """Hold features (N, C) and logits (N, K) of photos."""

    features: Tensor
    logits: Tensor


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


def main(config: ScoresConfig) -> None:
    """Compute, compare and print."""
    run = config.run
    settings = config_from_dict(json.loads((run / "config.json").read_text(encoding="utf-8")))
    split = Split.load(run / "split.json")
    weights = load_checkpoint(run / "checkpoints" / "best.pt")["model"]
    model = build_trained(settings, len(split.class_names), weights)
    preprocess = build_preprocess(settings, model)
    extract = build_extractor(model, preprocess, config.seed)

    def look(root: Path, paths: list[Path]) -> Found:
        logits, features = extract(decode_folder(settings, preprocess, root, paths))
        return Found(features, logits)

    def photos(folder: Path) -> list[Path]:
        return sorted(p for p in folder.glob("*/*") if p.suffix.lower() in PHOTO_EXTENSIONS)

    root = Path(split.root)
    train, val = (look(root, [root / name for name in part]) for part in (split.train, split.val))
    halves = {
        half: [path for paths in find_outside([config.outside], half).values() for path in paths]
        for half in "AB"
    }
    a, b = (look(config.outside, paths) for paths in halves.values())
    calibration = fit_calibration(val.logits, torch.from_numpy(split.labels(split.val)))
    prototypes = find_prototypes(train.features, torch.from_numpy(split.labels(split.train)))

    def described(found: Found) -> Tensor:
        return score_inputs(found.features, calibrate(found.logits, calibration), prototypes)

    def taught(found: Found, fit: KnownFit) -> Tensor:
        return apply_score(fit.score, described(found))

    fit = fit_known(described(val), prototypes, described(a), config.seed)
    free = fit_known(described(val), prototypes, described(a), config.seed, FREE)
    scores: dict[str, Callable[[Found], Tensor]] = {
        "largest probability": lambda found: calibrate(found.logits, calibration).amax(1),
        "largest logit": lambda found: found.logits.amax(1),
        "energy": energy,
        "nearest neighbours": neighbours(train),
        "ViM": virtual_logit(train),
        "nearest prototype": lambda found: described(found)[:, -1],
        "taught by half A": lambda found: taught(found, fit),
        "taught freely": lambda found: taught(found, free),
    }
    fits = {"taught by half A": fit, "taught freely": free}
    columns = {"validation / half A": (val, a)}
    if config.left_out is not None:
        columns["validation / left out"] = (
            val,
            look(config.left_out, photos(config.left_out / "train")),
        )
    if config.test is not None:
        test = look(config.test, photos(config.test))
        columns["test / half B"] = test, b
        if config.hidden is not None:
            names = set(config.hidden.read_text(encoding="utf-8").split())
            keep = torch.tensor([path.name not in names for path in halves["B"]])
            without = Found(b.features[keep], b.logits[keep])
            columns["test / half B without hidden"] = test, without
        if config.left_out is not None:
            columns["test / left out"] = (
                test,
                look(config.left_out, photos(config.left_out / "test")),
            )
    print(f"{run.name}; AUROC and false positive rate at 95 %; seed {config.seed}")
    for column, (known, other) in columns.items():
        print(f"{column}: {len(known.logits)} against {len(other.logits)} photos")
        for name, score in scores.items():
            figures = detection_figures(score(known), score(other))
            # On these photos, which taught the score, only cross-validated figures are fair.
            if name in fits and known is val:
                fitted = fits[name]
                figures = fitted.figures
                if other is not a:
                    figures = detection_figures(fitted.held_out, taught(other, fitted))
            print(f"  {name:20s} {figures['auroc']:.3f}  {figures['fpr95']:.1%}")
        passed, wrong = (
            (taught(each, fit) >= fit.threshold).float().mean() for each in (known, other)
        )
        print(f"  threshold: {passed:.1%} of the known pass, {wrong:.1%} of the others")
    predictor = Predictor.load(run / "model.pt")
    rng = np.random.default_rng(config.seed)
    for kind in ("drawn", "blank", "noise", "screenshot", "text"):
        answers = [predictor.answer(draw_images(kind, rng), 1) for _ in range(IMAGES)]
        known = sum(answer.known for answer in answers)
        print(f"{kind} images taken for known landmarks: {known} of {IMAGES}")
    print(f"the threshold lets {ACCEPTED:.0%} of validation photos pass")


if __name__ == "__main__":
    main(tyro.cli(ScoresConfig))
