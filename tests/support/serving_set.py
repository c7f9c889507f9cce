"""Run Python as if only requirements-serve.txt were installed."""

import functools
import json
import os
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Python imports a sitecustomize before anything else, also in processes that its children start.
SITECUSTOMIZE = """
import importlib.machinery, json, os, sys

BLOCKED = set(json.loads(os.environ["BLOCKED_PACKAGES"]))


class WithoutThem(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else super().find_spec(name, path, target)


finders = importlib.machinery.PathFinder, WithoutThem
sys.meta_path[:] = [finders[1] if each is finders[0] else each for each in sys.meta_path]
"""


def pins(name: str) -> dict[str, str]:
    """Package -> line, of a file of requirements; those that it includes are left out."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line[:1] not in ("", " ", "#", "-")]
    return {re.split(r"[=\[<>~ ]", line)[0]: line for line in pinned}


@functools.cache
def blocked_packages() -> tuple[str, ...]:
    """What can be imported here, and could not be if pip had installed the serving set only."""
    left = [Requirement(line.partition("#")[0]) for line in pins("requirements-serve.txt").values()]
    found: set[tuple[str, frozenset[str]]] = set()
    while left:
        each = left.pop()
        key = canonicalize_name(each.name), frozenset(each.extras)
        if key in found:
            continue
        found.add(key)
        for needed in map(Requirement, metadata.requires(each.name) or ()):
            extras = ({"extra": extra} for extra in ("", *each.extras))
            if needed.marker is None or any(map(needed.marker.evaluate, extras)):
                left.append(needed)
    serving = {name for name, _ in found}
    return tuple(
        module
        for module, owners in metadata.packages_distributions().items()
        if serving.isdisjoint(map(canonicalize_name, owners))
    )


def serving_environment(folder: Path) -> dict[str, str]:
    """Environment variables of a Python that finds only the packages of the serving set.

    Args:
        folder: Empty, for what makes it so.
    """
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    # A test that used wandb in this process leaves the address of its service, which is gone.
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return {
        **inherited,
        "PYTHONPATH": str(folder),
        "BLOCKED_PACKAGES": json.dumps(blocked_packages()),
    }
