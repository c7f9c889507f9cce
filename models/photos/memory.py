"""Tell glibc what to do with freed memory; where there is no glibc, nothing changes."""

import contextlib
import ctypes

# Parameters of mallopt(), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MAX_MMAP_THRESHOLD = 32 * 2**20
KEPT_BYTES = 128 * 2**20


def release_memory() -> None:
    """Give freed memory back to the system.

    Pillow allocates blocks of 16 MB. Once one has been freed, glibc keeps later ones in the
    thread's heap: eight threads that had read 16 megapixels held 470 MB afterwards, 20 with this.
    """
    _call("malloc_trim", 0)


def keep_memory() -> None:
    """Keep freed memory in this process, for its next photo.

    Otherwise the memory of a network's larger features goes back after each pass, and the system
    clears it again for the next: 7 of 38 ms per photo of one megapixel. For processes that read
    photos one by one; release_memory() still gives back what large ones needed.
    """
    _call("mallopt", M_MMAP_THRESHOLD, MAX_MMAP_THRESHOLD)
    _call("mallopt", M_TRIM_THRESHOLD, KEPT_BYTES)


def share_memory() -> None:
    """Let all threads reuse what any of them has freed.

    Otherwise each of a server's threads, about 40, keeps some: 1.24 GB after two minutes of 64
    clients, 1.02 GB with this, at the same rate. Call it before threads are started.
    """
    _call("mallopt", M_ARENA_MAX, 2)


def _call(function: str, *arguments: int) -> None:
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows, macOS, musl
        getattr(ctypes.CDLL(None), function)(*arguments)
