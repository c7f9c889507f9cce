"""What all tests share: drawn photos, no network, no cache of the user's."""

import multiprocessing.process
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Page, kill_started
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.fake_wandb import fake_wandb  # noqa: F401 - a fixture

# Networks of tests are tiny, and several processes share two cores: a second thread only waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub
os.environ["WANDB_MODE"] = "disabled"  # those that need it turn it on, against a stand-in
for _variable in ("WANDB_API_KEY", "WANDB_BASE_URL", "LANDMARKS_ARTIFACT"):
    os.environ.pop(_variable, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, help="folder of real photos, for slow tests")
    parser.addoption("--wandb-project", help="ENTITY/PROJECT of a real account, for one test")
    parser.addoption(
        "--quick", action="store_true", help="skip what needs a browser, a process or a training"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs an account, unless one is named; with --quick, a browser too."""
    unwanted = set() if config.getoption("--wandb-project") else {"account"}
    if config.getoption("--quick"):
        unwanted.add("browser")
    left_out = [item for item in items if any(map(item.get_closest_marker, unwanted))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def only_quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --quick, skip a test at the moment when it would start a process or a training.

    So no list of slow tests has to be kept, and quick stays quick.
    """
    if not request.config.getoption("--quick"):
        yield
        return
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from train.engine.trainer import Trainer

    def skip(*_: object, **__: object) -> None:
        pytest.skip("starts a process or a training")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", skip)
        patch.setattr(subprocess.Popen, "__del__", lambda _: None)
        patch.setattr(multiprocessing.process.BaseProcess, "start", skip)
        patch.setattr(Trainer, "fit", skip)
        hook = register_optimizer_step_pre_hook(skip)
        yield
        hook.remove()


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


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of six classes with random weights, in a run folder of its own; no ONNX twin."""
    from models.model_file.preprocess import Preprocess
    from models.model_file.torchscript import save_model
    from tests.support.tiny_network import toy_network

    path = tmp_path_factory.mktemp("toy_run") / "model.pt"
    metrics = {"val/top1": 0.5, "val/top5": 0.9, "val/photos": 40}
    manifest = {"name": "toy", "metrics": metrics}
    return save_model(path, toy_network(), Preprocess(32, 32), TOY_CLASSES, manifest)


@pytest.fixture(scope="session")
def toy_twin(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model with its ONNX twin."""
    from models.model_file.torchscript import add_twin
    from tests.support.tiny_network import toy_network

    path = shutil.copy(toy_model, tmp_path_factory.mktemp("toy_twin") / "model.pt")
    add_twin(path, toy_network())
    return path


@pytest.fixture(scope="session")
def finished_run(landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from train.engine.training_run import run_training

    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    from tests.support.runs import tiny

    assert run_training(tiny(landmark_photos, run_dir)) == 0
    return run_dir


@pytest.fixture(scope="session")
def finished_scratch(landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the network from random weights, with no W&B."""
    from train.config import ScratchConfig
    from train.engine.training_run import run_training

    run_dir = tmp_path_factory.mktemp("runs") / "scratch"
    config = ScratchConfig(
        data=landmark_photos,
        run_dir=run_dir,
        epochs=3,
        image_size=32,
        batch_size=8,
        width=8,
        depth=1,
        workers=0,
        device="cpu",
    )
    assert run_training(config) == 0
    return run_dir


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Kill what a test's clients left behind: an orphaned wandb-core survives its parent."""
    yield
    kill_started()


@pytest.fixture(scope="session")
def page(toy_model: Path) -> Iterator[Page]:
    """The page on the toy model, shared by all tests; must end without a traceback."""
    running = Page("--model", toy_model, "--port", 7900)
    yield running
    output = running.stop()
    assert running.process.returncode == 0, output
    assert "Traceback" not in output, output
