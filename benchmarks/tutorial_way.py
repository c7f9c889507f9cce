"""Tag photos the way tutorials do, for comparison in benchmarks/tag_speed.py.

python benchmarks/tutorial_way.py --photos FOLDER [--model FILE]: PIL decodes each photo at full
size and resizes it with its default filter; torch uses its default threads, one photo after the
other. Prints the five best of each, then photos per second without the start-up time.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from PIL import Image
from torchvision.transforms import PILToTensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.sources.served_model import find_model


@dataclass(frozen=True)
class TutorialConfig:
    """Classify the photos of a folder."""

    photos: Path
    """Folder of JPEG files."""
    model: Path | None = None
    """A model file or a run folder; default: the bundled model."""


def main(config: TutorialConfig) -> None:
    """Print the five best matches of each photo, and the speed."""
    model = torch.jit.load(find_model(config.model))
    to_tensor = PILToTensor()
    paths = sorted(config.photos.glob("*.jpg"))
    model(to_tensor(Image.new("RGB", (256, 256))))  # the first call is slow
    started = time.perf_counter()
    for path in paths:
        image = Image.open(path).convert("RGB").resize((256, 256))
        with torch.no_grad():
            probabilities = model(to_tensor(image))
        values, indices = probabilities.topk(5)
        best = zip(indices.tolist(), values.tolist(), strict=True)
        print(path.name, *(f"{model.class_names[index]} {value:.3f}" for index, value in best))
    print(f"{len(paths) / (time.perf_counter() - started):.3f} photos/s")


if __name__ == "__main__":
    main(tyro.cli(TutorialConfig))
