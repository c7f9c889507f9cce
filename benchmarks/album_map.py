"""Draw a map of many photos: how long that takes, how large it is, how long a browser needs.

python benchmarks/album_map.py --photos DIR [--count 10000]; the photos of a folder, repeated, each
with a random position in Europe and a day of May. The browser is the Chromium of the tests.
"""

import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import tyro
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.album_map.map_page import write_map
from models.environment import cores
from models.photos.folder_walk import walk_photos
from models.tagging.table import COLUMNS

REPEATS = 5


@dataclass(frozen=True)
class MapConfig:
    """Draw a map of many photos."""

    photos: Path
    """Folder of photos, searched to any depth."""
    count: int = 10_000
    """Photos on the map; those of the folder are repeated."""
    seed: int = 0
    """Seed of the positions."""


def main(config: MapConfig) -> None:
    """Write the map, open it a few times, print sizes and seconds."""
    draws = np.random.default_rng(config.seed)
    found = [*walk_photos(config.photos)]
    album = []
    for number, photo in enumerate(islice(cycle(found), config.count)):
        row = dict.fromkeys(COLUMNS) | {"photo": photo.as_posix(), "verdict": "none"}
        north, east = draws.uniform((36, -10), (60, 30))
        row |= {"own_latitude": float(north), "own_longitude": float(east)}
        row["taken"] = f"2024-05-{1 + number * 31 // config.count:02}T12:00:00"
        album.append((photo, row))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "map.html"
        start = time.perf_counter()
        write_map(page, album)
        seconds = time.perf_counter() - start
        size = page.stat().st_size / 1e6
        opened, zoomed = browse(page)
    print(f"{platform.processor() or platform.machine()}, {cores()} cores; seed {config.seed}")
    print(f"{config.count:,} photos ({len(found):,} distinct): {size:.1f} MB in {seconds:.0f} s")
    print(f"opened in {opened:.1f} s, zoomed in {zoomed * 1000:.0f} ms; medians of {REPEATS}")


def browse(page: Path) -> tuple[float, float]:
    """Return the seconds until a map shows markers, and those of a step of zoom."""
    program = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    opened, zoomed = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(REPEATS):
            tab = browser.new_page()
            start = time.perf_counter()
            tab.goto(page.as_uri())
            tab.locator(".leaflet-marker-icon").first.wait_for()
            opened.append(time.perf_counter() - start)
            start = time.perf_counter()
            tab.evaluate("map.setZoom(map.getZoom() + 1, { animate: false }); 0")
            zoomed.append(time.perf_counter() - start)
            tab.close()
        browser.close()
    return statistics.median(opened), statistics.median(zoomed)


if __name__ == "__main__":
    main(tyro.cli(MapConfig))
