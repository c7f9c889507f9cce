"""Measure photos per second of python -m models.tag, against tutorials and against the limit.

python benchmarks/tag_speed.py [--model FILE]; on an idle machine. Photos are drawn as in
page_latency.py, 4000 x 3000 pixels, and 1152 x 864 cut out of those; JPEG of quality 90, all in
memory (the page cache). For each size it prints the median over the repeats of

- the tutorials' way: benchmarks/tutorial_way.py, without its start-up time;
- the command: the time of a long run minus that of a short one, so without start-up and end;
- the limit: cores divided by the CPU seconds of decoding and one pass of the network, measured in
  one process with one thread while nothing else runs.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from benchmarks.page_latency import draw_photo
from models.environment import cores
from models.photos import read_photo
from models.predictor import Predictor
from models.sources.served_model import find_model

ROOT = Path(__file__).parents[1]
SIZES = {"12 megapixels": (4000, 3000), "1 megapixel": (1152, 864)}
GOALS = {"12 megapixels": 4.0, "1 megapixel": 2.0}
LIMIT_GOAL = 0.85
SHORT = 16  # photos of the short run


@dataclass(frozen=True)
class SpeedConfig:
    """Time the tag command."""

    model: Path | None = None
    """A model file or a run folder; default: the bundled model."""
    photos: int = 400
    """Photos of the command's long run; the tutorials' way and the limit get a fifth of them."""
    drawn: int = 20
    """How many of them are drawn; the others are links to these."""
    repeats: int = 3
    """Repeats of each measurement, one after the other."""
    seed: int = 0
    """Seed of the first photo's noise; each next photo takes the next seed."""


def draw_folder(folder: Path, size: tuple[int, int], config: SpeedConfig) -> None:
    """Fill a folder with photos of one size."""
    folder.mkdir()
    names = [folder / f"{number:05}.jpg" for number in range(config.photos)]
    for number, path in enumerate(tqdm(names[: config.drawn], "drawing", leave=False)):
        draw_photo(path, config.seed + number)
        if size != (4000, 3000):
            with Image.open(path) as image:
                cut = image.crop((1000, 1000, 1000 + size[0], 1000 + size[1]))
            cut.save(path, quality=90)
    for number, path in enumerate(names[config.drawn :]):
        os.link(names[number % config.drawn], path)


def tutorial_rate(folder: Path, model: Path) -> float:
    """Return photos per second of the tutorials' way, with torch's default threads."""
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "tutorial_way.py"]
    output = subprocess.run(
        [*command, "--photos", folder, "--model", model], check=True, capture_output=True, text=True
    ).stdout
    return float(output.splitlines()[-1].split()[0])


def command_seconds(folder: Path, model: Path) -> float:
    """Return the wall time of the command, from start to end."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "models.tag", folder, "--out", f"{out}/tags.csv"]
        started = time.perf_counter()
        subprocess.run([*command, "--model", model], check=True, capture_output=True, cwd=ROOT)
        return time.perf_counter() - started


def cpu_seconds(predictor: Predictor, paths: list[Path]) -> tuple[float, float]:
    """Return CPU seconds per photo: of decoding, and of one pass of the network."""
    spent = [0.0, 0.0]
    for path in paths:
        before = time.process_time()
        image = read_photo(path, predictor.side_px)
        decoded = time.process_time()
        predictor.answer(image)
        spent[0] += decoded - before
        spent[1] += time.process_time() - decoded
    return spent[0] / len(paths), spent[1] / len(paths)


def measure(name: str, folder: Path, config: SpeedConfig) -> None:
    """Measure one size of photos and print the figures."""
    draw_folder(folder / "long", SIZES[name], config)
    for part, count in (("fifth", config.photos // 5), ("short", SHORT)):
        (folder / part).mkdir()
        for path in sorted((folder / "long").iterdir())[:count]:
            os.link(path, folder / part / path.name)
    model = find_model(config.model)
    predictor = Predictor.load(model, threads=1)
    paths = sorted((folder / "fifth").iterdir())
    cpu_seconds(predictor, paths[:5])  # a warm-up
    tutorial, starts, rates, decoding, passing = [], [], [], [], []
    for _ in tqdm(range(config.repeats), name, leave=False):
        tutorial.append(tutorial_rate(folder / "fifth", model))
        starts.append(command_seconds(folder / "short", model))
        long = command_seconds(folder / "long", model)
        rates.append((config.photos - SHORT) / (long - starts[-1]))
        seconds = cpu_seconds(predictor, paths)
        decoding.append(seconds[0])
        passing.append(seconds[1])
    rate, limit = median(rates), cores() / (median(decoding) + median(passing))
    megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    print(f"{name}, {megabytes:.2f} MB each")
    print(f"  tutorials' way    {median(tutorial):7.2f} photos/s  {shown(tutorial)}")
    print(f"  python -m models.tag {rate:4.2f} photos/s  {shown(rates)}")
    print(f"  start, {SHORT} photos {median(starts):7.2f} s         {shown(starts)}")
    print(
        f"  limit             {limit:7.2f} photos/s  "
        f"(CPU: decoding {1000 * median(decoding):.1f} ms, pass {1000 * median(passing):.1f} ms)"
    )
    print(f"  {rate / median(tutorial):.2f} times the tutorials' way; goal {GOALS[name]:.0f}")
    print(f"  {rate / limit:.1%} of the limit; goal {LIMIT_GOAL:.0%}")


def shown(values: list[float]) -> str:
    """Write the values of all repeats."""
    return " ".join(f"{value:.2f}" for value in values)


def main(config: SpeedConfig) -> None:
    """Measure both sizes."""
    predictor = Predictor.load(find_model(config.model))
    print(f"model {predictor.manifest.get('name')} ({predictor.digest[:12]})")
    print(f"{platform.processor() or platform.machine()}, {cores()} cores")
    print(f"{config.photos} photos of {config.drawn} seeds from {config.seed} on; medians of:")
    for name in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder), config)


if __name__ == "__main__":
    main(tyro.cli(SpeedConfig))
