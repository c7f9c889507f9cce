"""Where the page's model comes from: order, checks, cache, watch; the real client, a stand-in."""

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gradio_client import Client as PageClient
from gradio_client import handle_file
from torch import nn

from models.files import file_digest
from models.model_file.model_path import BUNDLED, ModelFileError, find_model
from models.model_file.preprocess import Preprocess
from models.model_file.torchscript import rewrite_manifest, save_model
from models.predictor import Predictor
from models.sources import wandb_artifacts
from models.sources.served_model import ModelSource
from tests.support.commands import Client, Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.fake_wandb import FakeWandb
from tests.support.tiny_network import TinyNetwork

MODEL = "landmarks/landmarks"
LOOK = "ArtifactMembershipByName"  # the request of each look for a newer version


@pytest.fixture
def client(fake_wandb: FakeWandb, tmp_path: Path) -> Client:
    return Client(fake_wandb, tmp_path / "home")


@pytest.fixture
def publish(fake_wandb: FakeWandb, tmp_path: Path) -> Callable[..., str]:
    """Log a model file as the best one, as another user; its sha256."""
    client = Client(fake_wandb, tmp_path / "publisher")

    def publish(path: Path, run: str, sha256: str | None = None) -> str:
        sha256 = sha256 or file_digest(path)
        with client.here():
            import wandb

            with wandb.init(project="landmarks", id=run) as opened:
                artifact = wandb.Artifact("landmarks", type="model", metadata={"sha256": sha256})
                artifact.add_file(str(path), name="model.pt")
                opened.log_artifact(artifact, aliases=["best"]).wait(60)
        return sha256

    return publish


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second toy model, of the same classes."""
    torch.manual_seed(1)
    network = TinyNetwork(nn.AdaptiveAvgPool2d(4), nn.Sequential(nn.Flatten(), nn.Linear(48, 6)))
    path = tmp_path_factory.mktemp("other") / "model.pt"
    return save_model(path, network, Preprocess(32, 32), TOY_CLASSES, {"name": "other"})


def served(page: Page) -> str:
    """The digest of the model that answers."""
    with urllib.request.urlopen(f"{page.url}/health", timeout=10) as response:
        return json.loads(response.read())["digest"]


def wait_for(page: Page, digest: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while served(page) != digest:
        assert time.monotonic() < deadline, f"{digest} never came"
        time.sleep(0.1)


def open_page(client: Client, *arguments: object) -> Page:
    return Page("--port", 7930, *arguments, **client.environment, WANDB_MODE="online")


def test_page_serves_best_then_its_cached_copy(
    fake_wandb: FakeWandb,
    client: Client,
    publish: Callable,
    toy_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    digest = publish(toy_model, "first")
    page = open_page(client)  # a cold cache: opens on the bundled model
    try:
        wait_for(page, digest)
        answer = PageClient(page.url, verbose=False).predict(
            handle_file(str(save_photo(toy_model.parent))), api_name="/classify"
        )
        assert {entry["label"] for entry in answer["confidences"]} < set(TOY_CLASSES)
    finally:
        output = page.stop()
    assert "now serving" in output
    assert "Traceback" not in output
    assert list(fake_wandb.runs) == ["first"]  # looking makes no run

    with client.here():
        source = ModelSource.open()
        assert source.served.predictor.digest == digest  # at once, from the cache
        downloads = fake_wandb.downloads
        assert not source.refresh()
        assert fake_wandb.downloads == downloads
        fake_wandb.close()
        monkeypatch.setattr(wandb_artifacts, "LOOK_SECONDS", 1.0)
        source = ModelSource.open()
        assert source.served.predictor.digest == digest
        assert not source.refresh()
        assert "still serving toy" in capsys.readouterr().out
        name = f"{fake_wandb.entity}/{MODEL}:best"
        source = ModelSource.open(artifact=name)
        assert (source.served.predictor.digest, source.wanted) == (digest, name)
        assert "serving the copy of v0 kept here" in capsys.readouterr().out


def save_photo(folder: Path) -> Path:
    path = folder / "photo.jpg"
    draw_landmark(0, 0).save(path)
    return path


def test_what_is_asked_for_by_name_must_work(
    fake_wandb: FakeWandb,
    client: Client,
    publish: Callable,
    toy_model: Path,
    other_model: Path,
    tmp_path: Path,
) -> None:
    name = f"{fake_wandb.entity}/{MODEL}:best"
    damaged = tmp_path / "model.pt"
    damaged.write_bytes(toy_model.read_bytes()[:-100])
    pickled = tmp_path / "pickled.pt"
    torch.save({"weights": torch.zeros(3)}, pickled)

    def refused(named: str, **environment: str) -> str:
        changed = Client(fake_wandb, tmp_path / "home", **environment)
        with changed.here(), pytest.raises(ModelFileError) as caught:
            ModelSource.open(artifact=named)
        return str(caught.value)

    done = client.run("demo.py", "--artifact", "team/nothing/landmarks:best", check=False)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: team/nothing/landmarks:best could not")
    assert "could not be found on W&B" in refused(f"{fake_wandb.entity}/nothing/landmarks:best")
    assert "could not be found on W&B" in refused(name, WANDB_API_KEY="9" * 40)
    assert "wandb login" in refused(name, WANDB_API_KEY="")
    publish(damaged, "damaged")
    assert "no model file of this project" in refused(name)
    publish(pickled, "pickled")
    assert "no model file of this project" in refused(name)
    publish(toy_model, "foreign", sha256="0" * 64)
    assert "is not the file that its training recorded" in refused(name)
    publish(other_model, "unsigned", sha256="unknown")
    assert "records no sha256" in refused(name)
    # The same bytes again would be the same version.
    renamed = tmp_path / "renamed.pt"
    shutil.copy(toy_model, renamed)
    rewrite_manifest(renamed, {**Predictor.load(renamed).manifest, "name": "renamed"})
    publish(renamed, "good")
    fake_wandb.corrupt(f"{MODEL}:best", "model.pt")
    assert "arrived damaged or in part" in refused(name)
    kept = tmp_path / "home" / "landmarks" / "models"
    assert not list(kept.glob("*/model.pt"))  # nothing that was refused stays


def test_watch_swaps_under_load_and_refuses_a_bad_one(
    fake_wandb: FakeWandb,
    client: Client,
    publish: Callable,
    toy_model: Path,
    other_model: Path,
    tmp_path: Path,
) -> None:
    first = publish(toy_model, "first")
    page = open_page(client, "--artifact", f"{fake_wandb.entity}/{MODEL}:best", "--watch", 1)
    photo = save_photo(tmp_path)
    answers, failures, done = [], [], threading.Event()

    def ask() -> None:
        asking = PageClient(page.url, verbose=False)
        while not done.is_set():
            try:
                answers.append(asking.predict(handle_file(str(photo)), api_name="/classify"))
            except Exception as error:
                failures.append(error)

    try:
        assert served(page) == first
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not answers:
            assert not failures
            time.sleep(0.05)
        second = publish(other_model, "second")
        wait_for(page, second)
        deadline = time.monotonic() + 30
        # Its record and its bytes agree, but it is no model: the page stays as it is.
        pickled = tmp_path / "pickled.pt"
        torch.save({"weights": torch.zeros(3)}, pickled)
        publish(pickled, "bad")
        looks = fake_wandb.requests[LOOK]
        while fake_wandb.requests[LOOK] < looks + 2:  # so the first of them has been judged
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert served(page) == second
        done.set()
        for thread in threads:
            thread.join()
    finally:
        done.set()
        output = page.stop()
    assert failures == []
    assert len(answers) > 10
    # Both models answered, each whole: every answer is one of theirs.
    assert len({json.dumps(answer) for answer in answers}) == 2
    assert "no model file of this project" in output
    assert "Traceback" not in output


def test_order_without_an_account(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    shutil.copytree(toy_model.parent, tmp_path / "run")
    assert find_model(tmp_path / "run") == tmp_path / "run" / "model.pt"
    source = ModelSource.open(tmp_path / "run")
    assert (source.served.predictor.digest, source.wanted) == (file_digest(toy_model), None)
    source = ModelSource.open()
    assert (source.served.predictor.path, source.wanted) == (BUNDLED, None)
    monkeypatch.setenv("LANDMARKS_ARTIFACT", "somebody/landmarks/landmarks:best")
    with pytest.raises(ModelFileError, match="wandb login"):
        ModelSource.open()
    assert ModelSource.open(toy_model).wanted is None  # a path comes first


def test_a_model_is_served_without_a_cache(
    client: Client,
    publish: Callable,
    toy_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = publish(toy_model, "first")
    (tmp_path / "file").touch()
    with client.here():
        monkeypatch.setenv("LANDMARKS_CACHE", str(tmp_path / "file" / "cache"))
        source = ModelSource.open(artifact=f"{MODEL}:best")
        assert source.served.predictor.digest == digest
        assert source.served.predictor.path.is_file()  # workers load it again
        assert not source.refresh()
