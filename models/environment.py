"""What the environment decides: cache folder, W&B key and project."""

import os
from pathlib import Path

DEFAULT_PROJECT = "landmarks"


def default_cache() -> Path:
    """Return LANDMARKS_CACHE, else ~/.cache/landmarks."""
    return Path(os.environ.get("LANDMARKS_CACHE", Path.home() / ".cache" / "landmarks"))


def project_name() -> str:
    """Return WANDB_PROJECT, else landmarks."""
    return os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT


def has_wandb_key() -> bool:
    """Tell whether W&B would find credentials, without asking for any."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc"]
    if not any(file and Path(file).is_file() for file in files):
        return False  # most machines: without the second that importing wandb takes
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        return wbauth.read_netrc_auth(host=wandb.setup().settings.base_url) is not None
    except wandb.errors.Error:
        return False
