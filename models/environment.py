"""What the environment decides: folders, cores, packages, exiftool; W&B's project, key and mode."""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

DEFAULT_PROJECT = "landmarks"
REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
# The first that writes WebP; versions before 12.24 ran code from hostile photos (CVE-2021-22204).
MIN_EXIFTOOL = 12.46
# No configuration file of the user's; must come first.
EXIFTOOL_PLAIN = ("-config", "")
TRAINING = ("torch", "timm", "albumentations", "matplotlib")
"""Packages that every training and evaluation imports and requirements-serve.txt leaves out."""


class CacheError(OSError):
    """No cache folder, or one that cannot be written; the message names the fix."""


class MissingPackage(ImportError):
    """A package that serving does without is not installed; the message says what installs it."""


class ExiftoolError(RuntimeError):
    """exiftool is missing, too old, or gave up; the message says what to do."""


def require(what: str, packages: Sequence[str]) -> None:
    """Check that packages beyond requirements-serve.txt are installed, without importing them.

    Args:
        what: What needs them, as the message begins.
        packages: Names as imported.

    Raises:
        MissingPackage: In one line, with the command that installs all of requirements.txt.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackage(f"{what} needs {', '.join(missing)}; install: {install_command()}")


@cache
def check_exiftool(what: str = "writing into photos, unlike sidecars,") -> str:
    """Find exiftool, and return its path.

    Args:
        what: What needs it, as the message begins.

    Raises:
        ExiftoolError: It is missing or too old.
    """
    install = (
        f"{what} needs exiftool {MIN_EXIFTOOL} or newer: "
        "apt-get install libimage-exiftool-perl, or see https://exiftool.org"
    )
    path = shutil.which("exiftool")
    if path is None:
        raise ExiftoolError(install)
    answer = subprocess.run([path, *EXIFTOOL_PLAIN, "-ver"], capture_output=True, text=True)
    version = answer.stdout.strip()
    if not re.fullmatch(r"\d+\.\d+", version) or float(version) < MIN_EXIFTOOL:
        raise ExiftoolError(f"{path} is version {version or 'unknown'}; {install}")
    return path


def install_command() -> str:
    """Return the command that installs all packages into the Python that runs this."""
    # A person may have called .venv/bin/python without activating it: plain "python -m pip" would
    # then fill another environment.
    here = Path.cwd()
    python, file = (
        path.relative_to(here) if path.is_relative_to(here) else path
        for path in (Path(sys.executable), REQUIREMENTS)
    )
    return f"{python} -m pip install -r {file}"


def default_cache() -> Path:
    """Return LANDMARKS_CACHE, else ~/.cache/landmarks.

    Raises:
        CacheError: The first is not set, and there is no home folder.
    """
    if named := os.environ.get("LANDMARKS_CACHE"):
        return Path(named)
    home = home_folder()
    if home is None:
        raise CacheError(
            "there is no home folder to keep decoded photos in; name a folder with --cache-dir or "
            "LANDMARKS_CACHE"
        )
    return home / ".cache" / "landmarks"


def home_folder() -> Path | None:
    """Return the user's home folder; None in a container whose user has none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def cores() -> int:
    """Return how many cores this process may use."""
    with contextlib.suppress(AttributeError):  # only Linux says
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def project_name() -> str:
    """Return WANDB_PROJECT, else landmarks."""
    return os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT


def has_wandb_key() -> bool:
    """Tell whether W&B would find credentials, without asking for any."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    home = home_folder()
    files = [Path(named)] if (named := os.environ.get("NETRC")) else []
    files += [home / name for name in (".netrc", "_netrc")] if home else []
    if not any(os.path.isfile(file) for file in files):  # Path's raises where it may not look
        return False  # most machines: without the second that importing wandb takes
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        return wbauth.read_netrc_auth(host=wandb.setup().settings.base_url) is not None
    except Exception:  # also of settings that it refuses: a training says which
        return False


def resolve_mode(asked: str | None) -> str:
    """Return W&B's mode: the flag, else WANDB_MODE, else online if there is a key, else offline.

    Raises:
        ValueError: The mode is unknown, or online without a key (W&B would prompt for one).
    """
    mode = asked or os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
    if mode not in ("online", "offline", "disabled"):
        raise ValueError(f"WANDB_MODE is {mode!r}; it must be online, offline or disabled")
    if mode == "online" and not has_wandb_key():
        raise ValueError("W&B is to be online but has no key: run wandb login, or --wandb offline")
    return mode


def default_data() -> Path:
    """Return the channel of a SageMaker job, else LANDMARKS_DATA, else data/landmark_images."""
    named = os.environ.get("SM_CHANNEL_TRAINING") or os.environ.get("LANDMARKS_DATA")
    return Path(named or "data/landmark_images")
