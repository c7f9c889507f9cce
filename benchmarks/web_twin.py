"""Run the ONNX twin in a browser, with onnxruntime-web, and compare its answers with Predictor's.

python benchmarks/web_twin.py PHOTOS [--model FILE]; needs chromium, and npm, which fetches
onnxruntime-web into a temporary folder. The photos are handed over as this project reads them (as
PNG), so that only the engines differ. Exit status 1 if a label differs.
"""

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import tyro
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.model_file.archive import TWIN, read_extra
from models.photos import read_photo
from models.predictor import Predictor
from models.sources.served_model import find_model
from models.tagging.photo_list import find_photos

PACKAGE = "onnxruntime-web@1.30.0"
# The lines of docs/serving.md, and what hands their answer to this script.
PAGE = """<!doctype html><script type="module">
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const session = await ort.InferenceSession.create("model.onnx");
const { class_names } = await (await fetch("manifest.json")).json();

async function answer(photo) {  // an ImageBitmap
  const { width, height } = photo, size = width * height;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(photo, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(3 * size).map((_, i) => rgba[4 * (i % size) + (i / size | 0)]);
  const images = new ort.Tensor("uint8", pixels, [1, 3, height, width]);
  const { probabilities, classes } = await session.run({ images });
  return Array.from(classes.data.slice(0, 5), (c) => [class_names[c], probabilities.data[c]]);
}

window.ask = async (name) => answer(await createImageBitmap(await (await fetch(name)).blob()));
</script>"""


@dataclass(frozen=True)
class WebConfig:
    """Ask a browser and Predictor about the same photos."""

    photos: tyro.conf.Positional[Path]
    """A folder of photos."""
    model: Path | None = None
    """A model file or a run folder; default: the bundled model."""
    count: int = 10
    """How many of the photos, drawn by chance."""
    seed: int = 0
    """Seed of that draw."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve a folder without a line per request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def compare(predictor: Predictor, paths: list[str], folder: Path) -> int:
    """Print both answers to each photo; return how many labels differ."""
    (folder / "index.html").write_text(PAGE)
    (folder / "model.onnx").write_bytes(read_extra(predictor.path, TWIN))
    (folder / "manifest.json").write_text(json.dumps(predictor.manifest))
    subprocess.run(["npm", "install", "--silent", "--prefix", folder, PACKAGE], check=True)
    handler = functools.partial(QuietHandler, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    wrong, largest = 0, 0.0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{server.server_port}/")
        tab.wait_for_function("() => Boolean(window.ask)", timeout=120_000)
        for path in paths:
            image = read_photo(path, predictor.side_px)
            Image.fromarray(image).save(folder / "photo.png")
            theirs = dict(tab.evaluate("ask('photo.png?' + Math.random())"))
            ours = predictor.classify(image)
            same = next(iter(theirs)) == next(iter(ours))
            wrong += not same
            largest = max(largest, *(abs(theirs.get(label, 0) - ours[label]) for label in ours))
            print(f"{'same ' if same else 'OTHER'} {next(iter(ours)):30} {Path(path).name}")
        browser.close()
    server.shutdown()
    print(f"{len(paths)} photos: {wrong} other labels, probabilities within {largest:.1e}")
    return wrong


def main(config: WebConfig) -> int:
    """Compare; return the exit status."""
    predictor = Predictor.load(find_model(config.model))
    if read_extra(predictor.path, TWIN) is None:
        print(f"error: {predictor.path} has no ONNX twin", file=sys.stderr)
        return 2
    paths = sorted(find_photos([str(config.photos)]))
    paths = random.Random(config.seed).sample(paths, min(config.count, len(paths)))
    print(
        f"{predictor.manifest.get('name')} ({predictor.digest[:12]}), {PACKAGE}, headless chromium"
    )
    with tempfile.TemporaryDirectory() as folder:
        return 1 if compare(predictor, paths, Path(folder)) else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(WebConfig)))
