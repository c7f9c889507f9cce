"""Decode AVIF photos in a process of its own, with limits on memory and time.

Pillow has no way to set libavif's limits: a file of 3 kB whose header says 64 x 64 pixels can hold
268 megapixels, or endless frames that are never shown. Costs a quarter of a second per photo.
"""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np

from models.photos.decoding import NAMELESS, PhotoError, decode_bytes

MAX_MEMORY_BYTES = 800 * 1000**2
MAX_CPU_SECONDS = 5
MAX_WAIT_SECONDS = 30
# Not -m: this module would be loaded twice, which Python warns about.
COMMAND = ("-c", "import sys; from models.photos.avif_process import main; sys.exit(main())")
TOO_COSTLY = "takes too much memory or time to decode; save it as JPEG and try again"


def decode_avif(data: bytes, name: str, side_px: int | None) -> np.ndarray:
    """Decode an AVIF photo.

    Args:
        data: The bytes of a file.
        name: What messages call the photo.
        side_px: As for models.photos.read_photo.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        PhotoError: As read_photo, and where decoding takes too much memory or time.
    """
    command = [sys.executable, *COMMAND, str(side_px or 0)]
    root = Path(__file__).parents[2]  # where the process finds the package models
    try:
        run = subprocess.run(
            command, input=data, capture_output=True, cwd=root, timeout=MAX_WAIT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise PhotoError(f"{name} {TOO_COSTLY}") from error
    if run.returncode == 0:
        return np.load(io.BytesIO(run.stdout), allow_pickle=False)
    # A process that is killed at a limit says nothing.
    raise PhotoError(f"{name} {run.stdout.decode() or TOO_COSTLY}")


def main() -> int:
    """Decode what comes on the standard input.

    Writes an array to the standard output; or a phrase that continues "the photo ...", and
    returns 1. Where a limit was met the phrase is blank.
    """
    with contextlib.suppress(ImportError):  # Windows has no resource: only the wait is limited
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    side_px = int(sys.argv[1]) or None
    try:
        image = decode_bytes(sys.stdin.buffer.read(), NAMELESS, side_px, ("AVIF",))
    except PhotoError as error:
        # libavif reports that it got no memory as it reports damage; only the cause tells.
        cause = error.__cause__
        if isinstance(cause, MemoryError) or "memory" in str(cause).lower():
            return 1
        sys.stdout.buffer.write(str(error).removeprefix(f"{NAMELESS} ").encode())
        return 1
    np.save(sys.stdout.buffer, image)
    return 0
