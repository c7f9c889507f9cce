"""A container often has neither a home folder nor a folder to write to."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from models.environment import CacheError, default_cache, has_wandb_key, home_folder
from models.sources.served_model import ModelSource
from models.sources.wandb_artifacts import cached_artifact
from tests.support.commands import ROOT
from tests.test_commands import MISTAKES
from train.config import TransferConfig
from train.data.photo_cache import decode_photos

HOMELESS = """
import os, pwd, runpy, sys
def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = unknown
for module in sys.argv[1:]:
    sys.argv = [module, "--help"]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        print(module, end.code, file=sys.stderr)
"""


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine does not know, as docker run --user 12345 makes one."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "LANDMARKS_CACHE"):
        monkeypatch.delenv(name, raising=False)


def test_a_home_is_needed_only_for_a_cache(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_folder() is None
    assert not has_wandb_key()
    TransferConfig()
    with pytest.raises(CacheError, match="--cache-dir or LANDMARKS_CACHE"):
        default_cache()
    with pytest.raises(CacheError, match="--cache-dir or LANDMARKS_CACHE"):
        decode_photos(Path("photos"), [], 60, None)
    monkeypatch.setenv("LANDMARKS_CACHE", "somewhere")
    assert default_cache() == Path("somewhere")


def test_serving_needs_no_cache(homeless: None) -> None:
    assert cached_artifact("team/landmarks/landmarks:best") is None
    assert ModelSource.open().served.predictor.manifest["name"]


def test_every_help_needs_no_home() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "LANDMARKS_CACHE")}
    run = subprocess.run(
        [sys.executable, "-c", HOMELESS, *MISTAKES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.stderr.split() == [word for name in MISTAKES for word in (name, "0")], run.stderr
