"""Ctrl-C and SIGTERM as a wish that the training grants at its next step."""

import contextlib
import signal
from collections.abc import Iterator


class StopRequest:
    """Remembers SIGINT or SIGTERM, for the loop to stop at the next step; a second one forces."""

    def __init__(self) -> None:
        """Nothing asked for yet."""
        self.signal: int | None = None
        self.deferred = False

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
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
