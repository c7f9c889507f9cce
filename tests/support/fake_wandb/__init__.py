"""A stand-in for the Weights & Biases server, for tests; see README.md beside this file."""

from collections.abc import Iterator

import pytest

from .server import FakeWandb

__all__ = ["FakeWandb", "fake_wandb"]


@pytest.fixture
def fake_wandb() -> Iterator[FakeWandb]:
    """A running server; the test fails if a client asked it for something it does not have."""
    with FakeWandb() as server:
        yield server
    assert not server.unknown, f"unknown to the stand-in: {server.unknown}"
    assert not server.crashes, "".join(server.crashes)
