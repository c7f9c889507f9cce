"""Turn Ctrl-C and SIGTERM into a stop request that training honours after the current step."""

import contextlib
import re
import signal
from collections.abc import Iterator


class TrainingError(RuntimeError):
    """A training that cannot continue; the message names where it was and what to change."""


class Interrupted(Exception):
    """A stop on request, after the checkpoint was saved."""


@contextlib.contextmanager
def lost_workers_told() -> Iterator[None]:
    """Turn the death of a process that prepares photos into one line.

    torch raises a RuntimeError for it, wherever the training is at that time.

    Raises:
        TrainingError: A worker was killed, or found no shared memory.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not re.search(r"DataLoader worker \(pid.*(killed|exited)|shared memory|\(shm\)", text):
            raise
        raise TrainingError(
            "a process that prepares photos was killed, most likely since memory ran out: use "
            "fewer --workers (0: the training prepares photos itself) or a smaller --batch-size, "
            "or give docker run more --memory and --shm-size; --resume continues a run"
        ) from error


class StopRequest:
    """Remember SIGINT or SIGTERM until the loop asks for it; a second signal stops at once.

    Attributes:
        signal: The signal that came, if any.
        deferred: Whether the first signal waits for the end of a step. It is set only around the
            loop: outside there is no checkpoint to save, and a signal stops at once.
    """

    def __init__(self) -> None:
        """Start without a request."""
        self.signal: int | None = None
        self.deferred = False

    def __call__(self) -> bool:
        """Tell whether a stop was asked for."""
        return self.signal is not None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Catch both signals inside the block."""
        previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        again = self.signal is not None
        self.signal = number
        if again or not self.deferred:
            raise KeyboardInterrupt
