"""What all tests share: drawn photos, no network, no cache of the user's."""

import contextlib
import copy
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_wandb import FakeWandb, fake_wandb  # noqa: F401 - a fixture
from PIL import Image, ImageDraw

# Networks of tests are tiny, and several processes share two cores: a second thread only waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub
os.environ["WANDB_MODE"] = "disabled"  # those that need it turn it on, against a stand-in
for _variable in ("WANDB_API_KEY", "WANDB_BASE_URL", "LANDMARKS_ARTIFACT"):
    os.environ.pop(_variable, None)

if TYPE_CHECKING:
    from train.config import TransferConfig

ROOT = Path(__file__).parents[1]
COLOURS = ["crimson", "seagreen", "royalblue", "gold", "orchid", "sienna"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, help="folder of real photos, for slow tests")
    parser.addoption("--wandb-project", help="ENTITY/PROJECT of a real account, for one test")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs an account, unless one is named."""
    if not config.getoption("--wandb-project"):
        left_out = [item for item in items if item.get_closest_marker("account")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def draw_landmark(label: int, variant: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A drawn photo: the label decides shape and colour, the variant place, size and noise."""
    rng = np.random.default_rng((label, variant))
    width, height = size
    noise = rng.normal(150, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise)
    draw = ImageDraw.Draw(image)
    centre_x, centre_y = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
    radius = min(size) * rng.uniform(0.25, 0.38)
    colour = COLOURS[label % len(COLOURS)]
    draw.regular_polygon((centre_x, centre_y, radius), 3 + label, rng.uniform(0, 90), fill=colour)
    return image


@pytest.fixture(scope="session")
def landmark_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: train/ of 3 classes with 12 drawn photos each, and a test/ folder."""
    root = tmp_path_factory.mktemp("landmark_photos")
    for part, count, first in (("train", 12, 0), ("test", 2, 100)):
        for label, name in enumerate(["Red_Tower", "Green_Castle", "Blue_Bridge"]):
            folder = root / part / f"{label:02}.{name}"
            folder.mkdir(parents=True)
            for variant in range(first, first + count):
                draw_landmark(label, variant).save(folder / f"{variant:03}.jpg", quality=95)
    return root


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded photos of tests stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDMARKS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


TOY_CLASSES = ["Red Tower", "Green Castle", "Blue Bridge", "Gold Gate", "Pink Palace", "Old Rock"]


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of six classes with random weights, in a run folder of its own."""
    import torch
    from tiny_network import TinyNetwork
    from torch import nn

    from models.predictor import save_model
    from models.preprocess import Preprocess

    torch.manual_seed(0)
    network = TinyNetwork(
        nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)),
    )
    path = tmp_path_factory.mktemp("toy_run") / "model.pt"
    metrics = {"val/top1": 0.5, "val/top5": 0.9, "val/photos": 40}
    manifest = {"name": "toy", "metrics": metrics}
    return save_model(path, network, Preprocess(32, 32), TOY_CLASSES, manifest)


def tiny(data: Path, run_dir: Path, **changes: object) -> "TransferConfig":
    """Settings of a training that takes seconds."""
    from train.config import TransferConfig

    settings = {
        "data": data, "run_dir": run_dir, "backbone": "resnet18", "pretrained": False,
        "epochs": 3, "image_size": 32, "batch_size": 8, "workers": 0, "device": "cpu",
    } | changes  # fmt: skip
    return TransferConfig(**settings)


@pytest.fixture(scope="session")
def finished_run(landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from train.run import run_training

    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    assert run_training(tiny(landmark_photos, run_dir)) == 0
    return run_dir


@pytest.fixture(scope="session")
def finished_scratch(landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the network from random weights, with no W&B."""
    from train.config import ScratchConfig
    from train.run import run_training

    run_dir = tmp_path_factory.mktemp("runs") / "scratch"
    config = ScratchConfig(
        data=landmark_photos, run_dir=run_dir, epochs=3, image_size=32, batch_size=8, width=8,
        depth=1, workers=0, device="cpu",
    )  # fmt: skip
    assert run_training(config) == 0
    return run_dir


def read_records(run_dir: Path) -> list[dict]:
    """What each epoch logged."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


class Client:
    """Commands of this project or of wandb, each in a process group of its own, on a stand-in."""

    def __init__(self, server: FakeWandb, home: Path, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if "WANDB" not in name}
        cache = {"LANDMARKS_CACHE": str(home / "landmarks")}
        self.environment = inherited | server.environment(home) | cache | environment
        self.folder = ROOT

    def without_key(self) -> "Client":
        """The same, with no account."""
        other = copy.copy(self)
        other.environment = {k: v for k, v in self.environment.items() if k != "WANDB_API_KEY"}
        return other

    def start(self, *arguments: object) -> subprocess.Popen:
        """Start python with these arguments; killed with all its children when collected late."""
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=self.folder, env=self.environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        STARTED.append(process)
        return process

    def run(
        self, *arguments: object, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess:
        """Run to the end, within a limit."""
        process = self.start(*arguments)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if check:
            assert process.returncode == 0, f"{arguments}\n{output[-3000:]}\n{errors[-3000:]}"
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Kill what a test's clients left behind: an orphaned wandb-core survives its parent."""
    yield
    while STARTED:
        process = STARTED.pop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class Page:
    """A running demo.py, in a process of its own."""

    def __init__(self, *arguments: object, wait: bool = True, **environment: str) -> None:
        command = [sys.executable, str(ROOT / "demo.py"), *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.lines: list[str] = []
        self.url = ""
        if wait:
            while not self.url:
                line = self.process.stdout.readline()
                assert line, "".join(self.lines)
                self.lines.append(line)
                if "is open at" in line:
                    self.url = line.split()[-1]
            self._wait_for_health()

    def _wait_for_health(self) -> None:
        context = ssl._create_unverified_context()
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.url}/health", context=context, timeout=5).read()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"no answer from {self.url}")

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Ask it to end; all that it printed."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> str:
        """Wait for its end; all that it printed."""
        try:
            rest, _ = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return "".join(self.lines) + rest


@pytest.fixture(scope="module")
def page(toy_model: Path) -> Iterator[Page]:
    """The page on the toy model, shared by a test module; must end without a traceback."""
    running = Page("--model", toy_model, "--port", 7900)
    yield running
    output = running.stop()
    assert running.process.returncode == 0, output
    assert "Traceback" not in output, output
