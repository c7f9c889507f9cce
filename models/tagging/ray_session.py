"""A Ray cluster to work on: the one at an address, or one on this machine for the time being."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.command_line import first_line
from models.tagging.workers import WorkerError, cores


@contextlib.contextmanager
def connected(address: str, workers: int | None) -> Iterator[int]:
    """A cluster that knows this project's code; how many cores it has.

    Nothing is sent to Ray's makers. A cluster on this machine has no dashboard, lets in nobody
    else, and leaves no files.

    Args:
        address: "local", or what ray.init takes.
        workers: As many cores, and one more, must be there.

    Raises:
        WorkerError: It cannot be reached, is too small, or fails inside the block.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of its future
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "90")  # seconds for a busy machine to start
    if address == "local" and os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        # Else Ray would put one into the home folder, for good. Read when ray is imported.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    code = {"py_modules": [str(Path(__file__).parents[1])], "excludes": ["bundled", "__pycache__"]}
    settings: dict[str, Any] = {"address": address, "runtime_env": code}
    on_terminate = signal.getsignal(signal.SIGTERM)
    short = "/tmp" if os.name == "posix" else None  # paths of sockets must not be long
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True) as logs,
        _native_messages_to(Path(logs) / "driver.log"),
    ):
        _check_answers(address)
        if address == "local":
            settings["num_cpus"] = (workers or cores()) + 1
            settings |= {"include_dashboard": False, "_temp_dir": logs}
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
            signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own in place
            found = int(ray.cluster_resources().get("CPU", 0))
            if (workers or 1) >= found:
                raise WorkerError(
                    f"the cluster has {found} cores, and one is kept for lists and files; start "
                    f"more machines or ask for at most --workers {found - 1}"
                )
            yield found
        except ConnectionError as error:
            raise WorkerError(
                f"Ray at {address}: {first_line(error)}; clusters with a token need "
                "RAY_AUTH_MODE=token and that token here"
            ) from error
        except (ray.exceptions.RayError, ValueError, RuntimeError) as error:
            if isinstance(error, WorkerError):
                raise
            raise WorkerError(f"Ray at {address}: {first_line(error)}") from error
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Say at once what Ray would say after minutes: that nothing is at HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise WorkerError(f"no Ray cluster answers at {address}") from error


@contextlib.contextmanager
def _native_messages_to(path: Path) -> Iterator[None]:
    """Keep what Ray's native part prints: an error at each start that is none (ray #53727)."""
    sys.stderr.flush()
    kept = os.dup(2)
    with (
        path.open("wb") as log,
        os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding) as shown,
        contextlib.redirect_stderr(shown),
    ):
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
