"""Measure how long the page's handler takes for a 12-megapixel photo.

python benchmarks/page_latency.py [--model FILE]; prints percentiles in milliseconds, from the
handler's entry to its return: reading the uploaded file, decoding, the model, the five best.
"""

import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.page.app import build_page
from models.predictor import Predictor
from models.sources.served_model import ModelSource, Served, find_model


@dataclass(frozen=True)
class LatencyConfig:
    """Time the page's answer to one 12-megapixel JPEG."""

    model: Path | None = None
    """A model file or a run folder; default: the bundled model."""
    repeats: int = 200
    """Timed calls, after ten untimed ones."""
    seed: int = 0
    """Seed of the photo's noise."""


def draw_photo(path: Path, seed: int) -> None:
    """Draw a 4000 x 3000 JPEG of quality 90: smooth shapes with a camera's noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (12, 16, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 11, image.shape).astype(np.float32)
    noisy = (image + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path, quality=90)


def main(config: LatencyConfig) -> None:
    """Draw the photo, call the handler, print the percentiles."""
    predictor = Predictor.load(find_model(config.model))
    page = build_page(ModelSource(Served(predictor)))
    # The handler itself, without HTTP and without the queue: page_load.py measures those.
    handler = next(fn.fn for fn in page.fns.values() if fn.api_name == "classify")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        draw_photo(path, config.seed)
        megabytes = path.stat().st_size / 1e6
        milliseconds = []
        for call in range(config.repeats + 10):
            started = time.perf_counter()
            handler(str(path))
            if call >= 10:  # the first ones also load what is imported late
                milliseconds.append(1000 * (time.perf_counter() - started))
    model = predictor.manifest.get("name")
    print(f"model {model} ({predictor.digest[:12]}), photo 4000 x 3000, {megabytes:.1f} MB")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    shown = ", ".join(
        f"p{level} {np.percentile(milliseconds, level):.0f}" for level in (10, 50, 90, 99)
    )
    print(f"{config.repeats} calls, seed {config.seed}, milliseconds: {shown}")


if __name__ == "__main__":
    main(tyro.cli(LatencyConfig))
