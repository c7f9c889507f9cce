"""Processes that tag photos side by side, and outlive photos that kill a process."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING

from models.tagging.table import Row

if TYPE_CHECKING:  # so that warm_up can begin before torch is imported here
    from models.tagging.tagger import Tagger

# Measured below 1 % of the time at 1-megapixel photos; what a kill does twice stays small.
PHOTOS_AT_ONCE = 4
CHUNKS_AHEAD = 4
# A fork of a clean process that has imported all: a second worker starts at once. Windows has none.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class WorkerError(RuntimeError):
    """Workers that cannot do their work; the message says why."""


def cores() -> int:
    """Cores that this process may use."""
    with contextlib.suppress(AttributeError):  # Linux alone says
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def warm_up() -> None:
    """Begin to import what the workers need, while this process does something else."""
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        _context()
        with _signals_held():
            forkserver.ensure_running()


def _context() -> BaseContext:
    """How processes are started."""
    context = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(["models.tagging.tagger"])
    return context


def tag_photos(paths: Iterable[str], tagger: "Tagger", workers: int) -> Iterator[tuple[str, Row]]:
    """Rows of photos, in their order, made by processes with the model and one thread each.

    A bounded number of photos is under way, so memory does not depend on how many there are. A
    photo that kills its process (out of memory, a fault in a decoder) gets a row that says so,
    after it has been tried once more, alone.

    Args:
        paths: Of photos.
        tagger: Whose model file the processes load.
        workers: How many processes.

    Raises:
        WorkerError: The processes cannot load the model.
    """
    paths = iter(paths)
    waiting: deque[tuple[list[str], Future]] = deque()
    while True:
        with _pool(tagger, workers) as pool:
            broken = False
            while not broken:
                while len(waiting) < workers * CHUNKS_AHEAD and not broken:
                    if not (chunk := list(islice(paths, PHOTOS_AT_ONCE))):
                        break
                    waiting.append((chunk, _submit(pool, chunk)))
                if not waiting:
                    return
                broken = isinstance(waiting[0][1].exception(), BrokenProcessPool)
                if not broken:
                    chunk, future = waiting.popleft()
                    yield from zip(chunk, future.result(), strict=True)
        for chunk, future in waiting:
            if future.exception() is None:
                yield from zip(chunk, future.result(), strict=True)
            else:
                yield from _tag_alone(chunk, tagger)
        waiting.clear()


def _tag_alone(paths: list[str], tagger: "Tagger") -> Iterator[tuple[str, Row]]:
    """One photo at a time, so that one that kills the process is known."""
    left = deque(paths)
    while left:
        with _pool(tagger, 1) as pool:
            if isinstance(_submit(pool, []).exception(), BrokenProcessPool):
                raise WorkerError(
                    f"workers die while they load {tagger.predictor.path}; is there too little "
                    "memory for so many --workers?"
                )
            while left:
                future = _submit(pool, [left[0]])
                broken = isinstance(future.exception(), BrokenProcessPool)
                path = left.popleft()
                if broken:
                    row = tagger.empty_row(path)
                    killed = "killed the process that read it; is there too little memory?"
                    row["error"] = f"{Path(row['photo']).name} {killed}"
                    yield path, row
                    break
                yield path, future.result()[0]


@contextlib.contextmanager
def _pool(tagger: "Tagger", workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are gone when the block ends, with what they had not begun."""
    predictor = tagger.predictor
    pool = ProcessPoolExecutor(
        workers, _context(), _load,
        (predictor.path, predictor.digest, tagger.version),
    )  # fmt: skip
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, chunk: list[str]) -> Future:
    """The rows to come; of a pool that is broken already, a future that says so."""
    try:
        with _signals_held():  # a process may be started here
            return pool.submit(_tag_chunk, chunk)
    except BrokenProcessPool as error:
        future: Future = Future()
        future.set_exception(error)
        return future


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started in the block never see Ctrl-C, which is for the command alone."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- inside a worker ----------------------------------------------------------------------------
_loaded: "Tagger | Exception | None" = None


def _load(path: Path, digest: str, version: str | None) -> None:
    """Load the model, once a process. Errors are kept for the first photos: here they are lost."""
    global _loaded
    import cv2
    import torch

    from models.photos.memory import keep_memory
    from models.predictor import Predictor
    from models.tagging.tagger import Tagger

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # the other cores have workers of their own
    cv2.setNumThreads(1)
    keep_memory()
    try:
        predictor = Predictor.load(path)
        if predictor.digest != digest:
            raise WorkerError(f"{path} was changed meanwhile")
        _loaded = Tagger(predictor, version)
    except Exception as error:
        _loaded = error


def _end_with_parent() -> None:
    """Go when the command was killed: nobody reads the rows any more."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _tag_chunk(paths: list[str]) -> list[Row]:
    if isinstance(_loaded, Exception):
        raise WorkerError(f"a worker has no model: {_loaded}")
    return [_loaded.tag(path) for path in paths]
