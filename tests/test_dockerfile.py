"""The container's steps, one by one, as far as they go without Docker."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from subprocess import DEVNULL

import pytest

from models.files import file_digest
from tests.support.bad_photos import encode
from tests.support.commands import ROOT, Client, Page
from tests.support.drawing import draw_landmark
from tests.support.fake_wandb import FakeWandb
from tests.support.page_client import answer_of, classify
from tests.support.serving_set import pins, serving_environment

PORT = "7860"
# What docker run --read-only --tmpfs /tmp does, and USER: nothing can be written but one folder,
# and no privilege gets around that.
CONFINE = """
mount -t tmpfs none "$1" && mount -o remount,ro,bind / && shift &&
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""


def steps() -> list[tuple[str, str]]:
    """Instruction and text of each step."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def texts(instruction: str) -> list[str]:
    """What all steps of a kind say."""
    return [text for name, text in steps() if name == instruction]


def confine(command: list[str], writable: Path) -> list[str]:
    """A command line that lets another write to one folder only; itself where that needs root."""
    confined = ["unshare", "--mount", "sh", "-c", CONFINE, "sh", str(writable)]
    works = shutil.which("unshare") and not subprocess.call([*confined, "true"], stderr=DEVNULL)
    return [*confined, *command] if works else command


def test_the_container_is_what_it_says() -> None:
    (base,) = texts("FROM")
    assert base == "python:3.11-slim"  # pyproject.toml's requires-python
    (user,) = texts("USER")
    assert int(user) > 0
    assert texts("EXPOSE") == [PORT]
    assert PORT in texts("HEALTHCHECK")[0]
    (install,) = [text for text in texts("RUN") if text.startswith("pip ")]
    assert install.split()[-1] == "$REQUIREMENTS"
    assert texts("ARG") == ["REQUIREMENTS=requirements-serve.txt"]
    assert pins("requirements-serve.txt")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder that COPY and RUN make, unwritable as root's files are to USER."""
    app = tmp_path / "app"
    app.mkdir()
    for text in texts("COPY"):
        *sources, target = text.split()
        for source in sources:
            copy = app / target / Path(source).name if target.endswith("/") else app / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, copy)
    for text in texts("RUN"):
        if not text.startswith("pip "):  # the packages: serving_environment
            command = [sys.executable, *text.split()[1:]]
            assert text.startswith("python ")
            subprocess.run(command, cwd=app, check=True)
    for path in (app, *app.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return app


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What ENV says, with a folder of this test as /tmp, and the packages of the serving set."""
    for name in ("tmp", "packages"):
        (tmp_path / name).mkdir()
    settings = dict(text.split("=", 1) for text in texts("ENV"))
    assert settings["HOME"] == "/tmp"
    return {
        **serving_environment(tmp_path / "packages"),
        **{name: value.replace("/tmp", str(tmp_path / "tmp")) for name, value in settings.items()},
        "TMPDIR": str(tmp_path / "tmp"),
        "LANDMARKS_CACHE": "",  # the tests' own
    }


def start(image: Path, environment: dict[str, str], *arguments: object) -> Page:
    """Do what CMD says, with more arguments."""
    (command,) = map(json.loads, texts("CMD"))
    assert command[:2] == ["python", "demo.py"]
    command = confine([sys.executable, *command[1:]], Path(environment["TMPDIR"]))
    return Page(*arguments, command=command, folder=image, **environment)


def test_the_page_answers_on_a_read_only_file_system(
    image: Path, environment: dict[str, str], toy_twin: Path
) -> None:
    before = sorted(image.rglob("*"))
    assert any("__pycache__" in path.parts for path in before)
    page = start(image, environment, "--model", toy_twin)
    try:
        port = page.url.rpartition(":")[2]
        photo = encode(draw_landmark(0, 0), "JPEG")
        status, stream = classify(f"http://127.0.0.1:{port}", photo)
        assert status == 200 and answer_of(stream)["label"]
        _, _, check = texts("HEALTHCHECK")[0].partition("CMD ")
        ask = [sys.executable, *json.loads(check.replace(PORT, port))[1:]]
        assert subprocess.run(ask, env=environment).returncode == 0
    finally:
        page.stop()
    assert page.process.returncode == 0
    assert sorted(image.rglob("*")) == before
    assert subprocess.run(ask, env=environment, capture_output=True).returncode == 1  # unhealthy


def test_it_serves_the_best_model_of_wandb(
    image: Path,
    environment: dict[str, str],
    fake_wandb: FakeWandb,
    toy_twin: Path,
    tmp_path: Path,
) -> None:
    publisher = Client(fake_wandb, tmp_path / "publisher")
    with publisher.here():
        import wandb

        with wandb.init(project="landmarks", id="first") as run:
            digest = {"sha256": file_digest(toy_twin)}
            artifact = wandb.Artifact("landmarks", type="model", metadata=digest)
            artifact.add_file(str(toy_twin), name="model.pt")
            run.log_artifact(artifact, aliases=["best"]).wait(60)
    # docker run -e WANDB_API_KEY: folders for W&B are what HOME says.
    account = {
        name: value
        for name, value in publisher.environment.items()
        if name.startswith("WANDB_") and not name.endswith("DIR")
    }
    name = f"{fake_wandb.entity}/landmarks/landmarks:best"
    page = start(image, environment | account | {"WANDB_MODE": "online"}, "--artifact", name)
    try:
        with urllib.request.urlopen(f"{page.url}/health", timeout=60) as health:
            assert json.load(health)["digest"] == digest["sha256"]
    finally:
        page.stop()
