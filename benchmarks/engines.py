"""Measure the ONNX twin of a model file against torch: one photo, tagging, the page, 64 clients.

python benchmarks/engines.py [--model FILE]; on an idle machine, 8 minutes. Torch is the same code
with a copy of the file that has no twin. The two take turns, and each figure is a median. Photos
are drawn as in page_latency.py. The limit of tagging is decoding and the bare network.
"""

import asyncio
import dataclasses
import os
import platform
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import onnxruntime
import torch
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from benchmarks.page_load import LoadConfig, draw_photo, memory_mb, open_page, press
from benchmarks.renew_file import build_network
from benchmarks.tag_speed import SHORT, SIZES, SpeedConfig, command_seconds, draw_folder
from models.environment import cores
from models.model_file.archive import TWIN
from models.photos import read_photo
from models.predictor import Predictor
from models.sources.served_model import find_model

BARE = "bare network, onnxruntime"


@dataclass(frozen=True)
class EnginesConfig:
    """Measure the ONNX twin against torch."""

    model: Path | None = None
    """A model file or a run folder; default: the bundled model."""
    repeats: int = 3
    """Repeats of tagging and of opening the page; one photo gets twenty times as many."""
    photos: int = 200
    """Photos of the long run of tagging."""
    seconds: float = 60
    """Seconds of load, after a third of that which is not counted."""
    seed: int = 0
    """Seed of the first photo's noise."""


def copy_without_twin(path: Path, copy: Path) -> Path:
    """Copy a model file without its twin, so that it answers through torch."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for part in source.infolist():
            if not part.filename.endswith(f"/extra/{TWIN}"):
                target.writestr(zipfile.ZipInfo(part.filename), source.read(part))
    return copy


def take_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median CPU milliseconds of each task, after three calls that are not counted."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 3):
        for name, task in tasks.items():
            started = time.process_time()
            task()
            if turn >= 3:
                spent[name].append(1000 * (time.process_time() - started))
    return {name: median(values) for name, values in spent.items()}


def build_bare(path: Path, manifest: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Return what runs only the network of a model file, on a square that is ready for it."""
    module = torch.jit.load(path).eval()
    network = build_network(manifest["config"], len(manifest["class_names"])).eval()
    network.load_state_dict(module.network.state_dict())
    square = torch.randn(1, 3, *[manifest["preprocess"]["crop_px"]] * 2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        torch.onnx.export(network, (square,), file, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options)
    feed = {session.get_inputs()[0].name: square.numpy()}
    last = square.contiguous(memory_format=torch.channels_last)
    frozen = torch.jit.freeze(module.network)
    return {
        BARE: lambda: session.run(None, feed),
        "bare network, TorchScript": lambda: module.network(last),
        "bare network, TorchScript frozen": lambda: frozen(last),
    }


def one_photo(model: Path, plain: Path, config: EnginesConfig) -> float:
    """Print what a photo costs on one core; return the milliseconds of onnxruntime's network."""
    torch.set_num_threads(1)
    ours, theirs = Predictor.load(model, threads=1), Predictor.load(plain, threads=1)
    image = read_photo(draw_photo(config.seed), ours.side_px)
    images, module = torch.tensor(image).permute(2, 0, 1)[None], torch.jit.load(model)
    tasks = {
        "answer, twin": lambda: ours.answer(image),
        "answer, torch": lambda: theirs.answer(image),
        "probabilities, torch.jit.load": lambda: module(images),
        **build_bare(model, ours.manifest),
    }
    with torch.inference_mode():
        spent = take_turns(tasks, 20 * config.repeats)
    print(f"one photo, decoded at {image.shape[1]} x {image.shape[0]}, one core, CPU time:")
    for name, value in spent.items():
        ratio = spent["answer, twin"] / value
        print(f"  {name:32} {value:6.1f} ms; the twin's answer takes {ratio:.2f} times that")
    return spent[BARE]


def tagging(models: dict[str, Path], bare_ms: float, config: EnginesConfig) -> None:
    """Print photos per second of the command, and of decoding plus the bare network."""
    side_px = Predictor.load(models["twin"]).side_px
    for name, size in SIZES.items():
        rates: dict[str, list[float]] = {engine: [] for engine in models}
        with tempfile.TemporaryDirectory() as folder:
            whole, short = Path(folder) / "long", Path(folder) / "short"
            draw_folder(whole, size, SpeedConfig(photos=config.photos, seed=config.seed))
            short.mkdir()
            paths = sorted(whole.iterdir())
            for path in paths[:SHORT]:
                os.link(path, short / path.name)
            for _ in tqdm(range(config.repeats), name, leave=False):
                for engine, model in models.items():
                    start = command_seconds(short, model)
                    seconds = command_seconds(whole, model) - start
                    rates[engine].append((config.photos - SHORT) / seconds)
            decoding = take_turns(
                {path.name: lambda path=path: read_photo(path, side_px) for path in paths[:20]}, 3
            )
        ours, theirs = median(rates["twin"]), median(rates["torch"])
        limit = 1000 * cores() / (median(decoding.values()) + bare_ms)
        print(
            f"tagging, {name}: twin {ours:.1f} /s, torch {theirs:.1f} /s, ratio "
            f"{ours / theirs:.2f}; limit {limit:.1f} /s (decoding "
            f"{median(decoding.values()):.1f} ms), of which {ours / limit:.0%}"
        )


def opening(models: dict[str, Path], config: EnginesConfig) -> None:
    """Print the seconds from the command to the first page, and the memory of an idle page."""
    seconds: dict[str, list[float]] = {engine: [] for engine in models}
    memory: dict[str, list[float]] = {engine: [] for engine in models}
    for _ in range(config.repeats):
        for engine, model in models.items():
            started = time.perf_counter()
            with open_page(["demo.py", "--model", str(model), "--port", "7870"]) as (process, url):
                httpx.get(url, trust_env=False).raise_for_status()
                seconds[engine].append(time.perf_counter() - started)
                time.sleep(2)
                memory[engine].append(memory_mb(process, "VmRSS"))
    for engine in models:
        print(
            f"page, {engine}: open after {median(seconds[engine]):.1f} s, "
            f"idle {median(memory[engine]):.0f} MB"
        )


def load(models: dict[str, Path], config: EnginesConfig) -> None:
    """Print throughput and waiting time of many clients."""
    asked = LoadConfig(seconds=config.seconds, seed=config.seed)
    warm = dataclasses.replace(asked, seconds=config.seconds / 3)
    photo = draw_photo(config.seed)
    for engine, model in models.items():
        with open_page(["demo.py", "--model", str(model), "--port", "7870"]) as (_, url):
            asyncio.run(press(url, photo, warm))
            tally = asyncio.run(press(url, photo, asked))
        failed = tally.outcomes.total() - tally.outcomes["answer"] - tally.outcomes["busy"]
        print(
            f"{asked.clients} clients, {engine}: {len(tally.waits) / tally.seconds:.1f} answers/s, "
            f"p95 {np.percentile(tally.waits, 95):.2f} s, {failed} failed"
        )


def main(config: EnginesConfig) -> None:
    """Measure everything."""
    model = find_model(config.model).resolve()
    predictor = Predictor.load(model)
    print(f"{predictor.manifest.get('name')} ({predictor.digest[:12]}), seed {config.seed}")
    print(f"{platform.processor() or platform.machine()}, {cores()} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        models = {"twin": model, "torch": copy_without_twin(model, Path(folder) / "model.pt")}
        bare_ms = one_photo(*models.values(), config)
        tagging(models, bare_ms, config)
        opening(models, config)
        load(models, config)


if __name__ == "__main__":
    main(tyro.cli(EnginesConfig))
