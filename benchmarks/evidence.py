"""Measure how faithful the evidence of a model file is, and how well its boxes hit.

python benchmarks/evidence.py --run RUN --outside DIR; prints two tables:

- Deletion and insertion (Petsiuk et al. 2018): the likeliest class's probability while the cells
  with the most evidence are blurred away, or are the first to come back to a blurred photo, as the
  area under the curve; against random maps. Faithful evidence: low deletion, high insertion.
- Boxes: validation photos at a random scale and place on outside photos; overlap of the box found
  with the pasted photo, against a box of equal area in the middle. The level of the box is chosen
  on training photos (--choose) and used as models.model_file.evidence.BOX_LEVEL.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.model_file.evidence import BOX_LEVEL, Box, find_box, spread
from models.model_file.model_path import find_model
from models.photos import read_photo
from models.predictor import Predictor
from train.data.outside import find_outside
from train.data.split import Split

SIDE_PX, STEPS, BLUR_PX = 384, 16, 24.0
LEVELS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)


@dataclass(frozen=True)
class EvidenceConfig:
    """Measure how good the evidence and the boxes of a model file are."""

    run: Path
    """Run folder, for its model file and its split."""
    outside: Path
    """Photos of none of the landmarks: backgrounds, from their half B (half A with --choose)."""
    model: Path | None = None
    """A model file to use instead of the run's."""
    photos: int = 100
    """Photos for deletion and insertion; 0 leaves both out."""
    composites: int = 400
    """How many photos to paste."""
    choose: bool = False
    """Use training photos, and print all levels: for setting BOX_LEVEL."""
    seed: int = 0
    """Seed of photos, scales, places and random maps."""


def curve(
    predictor: Predictor, image: np.ndarray, order: np.ndarray, label: int, insert: bool
) -> float:
    """Return the area under a class's probability while cells are blurred away or come back.

    Args:
        predictor: The model file.
        image: (S, S, 3) uint8.
        order: (h, w) float, the cells with the largest values go first.
        label: The class.
        insert: Bring cells back instead of blurring them away.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR_PX)
    start, end = (blurred, image) if insert else (image, blurred)
    ranks = order.flatten().argsort()[::-1].argsort().reshape(order.shape)
    values = []
    for step in range(STEPS + 1):
        changed = (ranks < step * order.size / STEPS).astype(np.float32)
        mask = cv2.resize(changed, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0.5
        mixed = np.where(mask[:, :, None], end, start)
        values.append(predictor.measure(mixed)[0][label].item())
    return float(np.trapezoid(values, dx=1 / STEPS))


def faithfulness(
    predictor: Predictor, paths: list[Path], rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return each photo's areas: deletion and insertion, by the evidence and by random maps."""
    found: dict[str, list[float]] = {}
    for path in tqdm(paths, "deletion, insertion", unit="photo"):
        image = square(read_photo(path), SIDE_PX)
        answer = predictor.answer(image, 1)
        label = predictor.class_names.index(answer.label)
        maps = {"evidence": answer.evidence[0], "random": rng.random(answer.evidence[0].shape)}
        for name, order in maps.items():
            for insert in (False, True):
                area = curve(predictor, image, order, label, insert)
                found.setdefault(f"{name}/{'insertion' if insert else 'deletion'}", []).append(area)
    return found


def square(image: np.ndarray, side_px: int) -> np.ndarray:
    """Return the middle square of a photo at one size."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    return cv2.resize(crop, (side_px, side_px), interpolation=method)


def compose(
    paths: list[Path], backgrounds: list[Path], count: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Box, int]]:
    """Paste photos on others; yield image (S, S, 3), where, and which of the paths.

    The longer side takes 30 to 80 % of the background's.
    """
    for number in rng.choice(len(paths), count, replace=count > len(paths)):
        canvas = square(read_photo(backgrounds[rng.integers(len(backgrounds))]), SIDE_PX)
        photo = read_photo(paths[number])
        scale = rng.uniform(0.3, 0.8) * SIDE_PX / max(photo.shape[:2])
        high, wide = (max(1, round(scale * side)) for side in photo.shape[:2])
        top, left = rng.integers(SIDE_PX - high + 1), rng.integers(SIDE_PX - wide + 1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas[top : top + high, left : left + wide] = cv2.resize(
            photo, (wide, high), interpolation=method
        )
        box = Box(left / SIDE_PX, top / SIDE_PX, wide / SIDE_PX, high / SIDE_PX)
        yield canvas, box, int(number)


def centred(area: float) -> Box:
    """Return a square in the middle that covers this fraction of the photo."""
    side = area**0.5
    return Box(0.5 - side / 2, 0.5 - side / 2, side, side)


def interval(values: list[float]) -> str:
    """Show the mean and its 95 % interval (normal)."""
    mean, error = np.mean(values), 1.96 * np.std(values) / len(values) ** 0.5
    return f"{mean:.3f} ± {error:.3f}"


def main(config: EvidenceConfig) -> None:
    """Measure and print."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    predictor = Predictor.load(find_model(config.model or config.run))
    split = Split.load(config.run / "split.json")
    part = split.train if config.choose else split.val
    paths = [Path(split.root) / name for name in part]
    labels = [split.class_names[label] for label in split.labels(part)]
    print(f"model {predictor.digest[:12]}, {len(paths)} photos, seed {config.seed}")
    if config.photos:
        some = [paths[i] for i in rng.choice(len(paths), config.photos, replace=False)]
        for name, areas in faithfulness(predictor, some, rng).items():
            print(f"{name:20s} {interval(areas)} ({len(areas)} photos)")
    kinds = find_outside([config.outside], "A" if config.choose else "B")
    backgrounds = [photo for photos in kinds.values() for photo in photos]
    # The level of the box is a choice: it may be made on training photos only.
    levels = LEVELS if config.choose else (BOX_LEVEL,)
    overlaps: dict[str, list[float]] = {}
    named = compose(paths, backgrounds, config.composites, rng)
    for image, truth, number in tqdm(named, "boxes", unit="photo", total=config.composites):
        answer = predictor.answer(image, 1)
        kinds = ["all"] + ["named correctly"] * (answer.label == labels[number])
        mask = spread(answer.evidence[0], answer.region, 96, 96)
        row, column = np.unravel_index(mask.argmax(), mask.shape)
        x, y = (column + 0.5) / 96, (row + 0.5) / 96
        inside = abs(x - truth.left - truth.width / 2) <= truth.width / 2
        inside &= abs(y - truth.top - truth.height / 2) <= truth.height / 2
        for kind in kinds:
            overlaps.setdefault(f"{kind}: peak inside", []).append(float(inside))
            for level in levels:
                box = find_box(answer.evidence[0], answer.region, level)
                area = box.area if box else 0.0
                for name, guess in (("box", box), ("centre", centred(area))):
                    overlap = guess.overlap(truth) if guess else 0.0
                    overlaps.setdefault(f"{kind}: {name} {level:.2f} overlap", []).append(overlap)
                    hit = float(overlap >= 0.5)
                    overlaps.setdefault(f"{kind}: {name} {level:.2f} hits", []).append(hit)
    for name, values in sorted(overlaps.items()):
        print(f"{name:40s} {interval(values)} ({len(values)} photos)")


if __name__ == "__main__":
    main(tyro.cli(EvidenceConfig))
