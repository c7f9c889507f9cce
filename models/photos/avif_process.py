"""AVIF photos, decoded in a process of their own with limits on memory and time.

Pillow lets nobody set libavif's limits: a file of 3 kB whose header says 64 x 64 pixels can hold
268 megapixels, or frames without end that are never shown. Costs a quarter of a second a photo.
"""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np

MAX_MEMORY_BYTES = 800 * 1000**2
MAX_CPU_SECONDS = 5
MAX_WAIT_SECONDS = 30
COMMAND = ("-m", "models.photos.avif_process")
TOO_COSTLY = "takes too much memory or time to decode; save it as JPEG and try again"


def decode_apart(data: bytes, side_px: int | None) -> np.ndarray | str:
    """(H, W, 3) uint8 as models.photos.read_photo gives it, or why not: a phrase without subject.

    Args:
        data: The bytes of a file.
        side_px: As for read_photo.
    """
    try:
        run = subprocess.run(
            [sys.executable, *COMMAND, str(side_px or 0)],
            input=data, capture_output=True, cwd=Path(__file__).parents[2],
            timeout=MAX_WAIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return TOO_COSTLY
    if run.returncode == 0:
        return np.load(io.BytesIO(run.stdout), allow_pickle=False)
    return run.stdout.decode() or TOO_COSTLY  # nothing said: killed at a limit


def main() -> int:
    """Decode what comes on standard input; write an array, or a message and return 1."""
    from models.photos.reader import NAMELESS, PhotoError, read_here

    with contextlib.suppress(ImportError):  # not on Windows, where only the wait is limited
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    side_px = int(sys.argv[1]) or None
    try:
        image = read_here(sys.stdin.buffer.read(), NAMELESS, side_px, ("AVIF",))
    except PhotoError as error:
        cause = error.__cause__
        if isinstance(cause, MemoryError) or "memory" in str(cause).lower():
            return 1
        sys.stdout.buffer.write(str(error).removeprefix(f"{NAMELESS} ").encode())
        return 1
    np.save(sys.stdout.buffer, image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
