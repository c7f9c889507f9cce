"""Run this project's commands and page, each in a process of its own."""

import contextlib
import copy
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.fake_wandb import FakeWandb

ROOT = Path(__file__).parents[2]
STARTED: list[subprocess.Popen] = []
UNVERIFIED = ssl._create_unverified_context()  # a test's certificate is its own
AGENT = """
from wandb.cli.cli import cli
from wandb.wandb_agent import Agent

Agent.POLL_INTERVAL = 0.1
cli()
"""


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

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Make this process that client: no import of torch or wandb for each command of a test."""
        import wandb

        with pytest.MonkeyPatch.context() as patch:
            for name in list(os.environ):
                if "WANDB" in name:
                    patch.delenv(name)
            for name, value in self.environment.items():
                if not name.startswith("PYTEST"):
                    patch.setenv(name, value)
            wandb.teardown()  # else it talks to the server of an earlier test
            try:
                yield
            finally:
                wandb.teardown()

    def start_agent(self, *arguments: object) -> subprocess.Popen:
        """Start wandb agent, which here looks for work ten times a second, not every 5 s."""
        return self.start("-c", AGENT, "agent", *arguments)

    def start(self, *arguments: object) -> subprocess.Popen:
        """Start python with these arguments; killed with all its children when collected late."""
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        STARTED.append(process)
        return process

    def run(
        self, *arguments: object, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess:
        """Run to the end, within a limit."""
        return self.finish(self.start(*arguments), check, timeout)

    def finish(
        self, process: subprocess.Popen, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess:
        """Wait for the end of what was started, within a limit."""
        arguments = process.args
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if check:
            assert process.returncode == 0, f"{arguments}\n{output[-3000:]}\n{errors[-3000:]}"
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def kill_started() -> None:
    """Kill what clients left behind: an orphaned wandb-core survives its parent."""
    while STARTED:
        process = STARTED.pop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class Page:
    """A running demo.py, in a process of its own.

    Attributes:
        url: Where it is open; it has answered there.
        lines: What it has printed so far, errors included.
    """

    def __init__(
        self,
        *arguments: object,
        command: Sequence[str] = (sys.executable, str(ROOT / "demo.py")),
        folder: Path = ROOT,
        **environment: str,
    ) -> None:
        # A test that used wandb in this process leaves the address of its service, which is gone.
        inherited = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=inherited | environment,
        )
        self.lines: list[str] = []
        self._printed = threading.Condition()
        # In a thread, because a full pipe would stop the page.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for("is open at").split()[-1]
        with urllib.request.urlopen(f"{self.url}/health", context=UNVERIFIED, timeout=60) as health:
            assert health.status == 200

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._printed:
                self.lines.append(line)
                self._printed.notify_all()
        with self._printed:
            self._printed.notify_all()

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """Wait until the page prints a line with this text; the line."""

        def find() -> str | None:
            found = next((line for line in self.lines if text in line), None)
            assert found or self.process.poll() is None, "".join(self.lines)
            return found

        with self._printed:
            line = self._printed.wait_for(find, seconds)
        assert line, f"no {text!r} within {seconds} s: {''.join(self.lines)}"
        return line

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Ask it to end; all that it printed."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> str:
        """Wait for its end; all that it printed."""
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join()
        self.process.stdout.close()
        return "".join(self.lines)
