"""Tag photos in several processes, and survive photos that kill a process."""

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

from models.model_file.archive import has_twin
from models.tagging.table import Row

if TYPE_CHECKING:  # warm_up must begin before these imports, which take time
    from models.tagging.tagger import Tagger

# Handing chunks over takes under 1 % of the time (1-megapixel photos), and a kill repeats little.
PHOTOS_AT_ONCE = 4
CHUNKS_AHEAD = 4
# Workers are forks of a clean process that has imported everything, so that the second one starts
# at once. Windows cannot fork.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class WorkerError(RuntimeError):
    """Workers that cannot work; the message says why."""


def warm_up(model: Path | None = None) -> None:
    """Start importing what the workers need, in another process, and return at once.

    Args:
        model: The file that they will load, where it is known.
    """
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        _context(model)
        with _signals_held():
            forkserver.ensure_running()


def _context(model: Path | None) -> BaseContext:
    """Return how processes are started; the first of them imports what the others need."""
    context = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        # Only a file without an ONNX twin needs torch, which takes seconds to import.
        needs_torch = model is not None and not has_twin(model)
        torch = ["models.model_file.torchscript"] if needs_torch else []
        context.set_forkserver_preload(["models.tagging.tagger", *torch])
    return context


def tag_photos(paths: Iterable[str], tagger: "Tagger", workers: int) -> Iterator[tuple[str, Row]]:
    """Tag photos in processes that have the model and one thread each; rows come in order.

    A bounded number of photos is in progress, so memory does not depend on how many there are. A
    photo that kills its process (out of memory, a fault in a decoder) is tried once more by
    itself, and then gets a row that says so.

    Args:
        paths: Of photos.
        tagger: Whose model file the processes load.
        workers: How many processes.

    Yields:
        Path and row of each photo.

    Raises:
        WorkerError: The processes cannot load the model.
    """
    paths = iter(paths)
    waiting: deque[tuple[list[str], Future]] = deque()
    while True:  # once per pool: a killed process breaks its whole pool
        with _pool(tagger, workers) as pool:
            broken = False
            while not broken:
                while len(waiting) < workers * CHUNKS_AHEAD and not broken:
                    if not (chunk := list(islice(paths, PHOTOS_AT_ONCE))):
                        break
                    waiting.append((chunk, _submit(pool, chunk)))
                if not waiting:
                    return
                # Waits for the oldest chunk, so that rows come in the order of the photos.
                broken = isinstance(waiting[0][1].exception(), BrokenProcessPool)
                if not broken:
                    chunk, future = waiting.popleft()
                    yield from zip(chunk, future.result(), strict=True)
        # Finished chunks count; any photo of the others may be the one that kills.
        left: deque[tuple[str, Row | None]] = deque()
        for chunk, future in waiting:
            unfinished = future.exception() is not None
            rows = [None] * len(chunk) if unfinished else future.result()
            left.extend(zip(chunk, rows, strict=True))
        waiting.clear()
        yield from _tag_alone(left, tagger)


def _tag_alone(left: deque[tuple[str, Row | None]], tagger: "Tagger") -> Iterator[tuple[str, Row]]:
    """Tag the photos that have no row yet, one at a time, to know which one kills its process."""
    while left:  # once per killed process
        with _pool(tagger, 1) as pool:
            # Without a photo first: if that fails too, no photo is to blame.
            if isinstance(_submit(pool, []).exception(), BrokenProcessPool):
                raise WorkerError(
                    f"workers die while they load {tagger.predictor.path}; perhaps there is too "
                    "little memory: use fewer --workers"
                )
            while left:
                path, row = left.popleft()
                if row is None:
                    future = _submit(pool, [path])
                    if isinstance(future.exception(), BrokenProcessPool):
                        yield path, _killed_row(path, tagger)
                        break
                    row = future.result()[0]
                yield path, row


def _killed_row(path: str, tagger: "Tagger") -> Row:
    row = tagger.empty_row(path)
    killed = "killed the process that read it; perhaps there is too little memory"
    return row | {"error": f"{Path(row['photo']).name} {killed}"}


@contextlib.contextmanager
def _pool(tagger: "Tagger", workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that load the model; they end with the block, and drop what is not begun."""
    predictor = tagger.predictor
    model = (predictor.path, predictor.digest, tagger.version)
    pool = ProcessPoolExecutor(workers, _context(predictor.path), initializer=_load, initargs=model)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, chunk: list[str]) -> Future:
    """Ask for the rows of a chunk; a pool that is broken already gives a future that says so."""
    try:
        with _signals_held():  # a process may be started here
            return pool.submit(_tag_chunk, chunk)
    except BrokenProcessPool as error:
        future: Future = Future()
        future.set_exception(error)
        return future


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hide Ctrl-C from processes started in the block: it is meant for the command only."""
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
    """Load the model, once per process.

    An error is kept for the first photos to raise: raised here, its message would be lost.
    """
    global _loaded
    import cv2

    from models.photos.memory import keep_memory
    from models.predictor import Predictor
    from models.tagging.tagger import Tagger

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # the other cores have workers of their own
    keep_memory()
    try:
        predictor = Predictor.load(path, threads=1)
        if predictor.digest != digest:
            raise WorkerError(f"{path} was changed meanwhile")
        _loaded = Tagger(predictor, version)
    except Exception as error:
        _loaded = error


def _end_with_parent() -> None:
    """End with the command, also when it is killed: nobody reads the rows any more."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _tag_chunk(paths: list[str]) -> list[Row]:
    if isinstance(_loaded, Exception):
        raise WorkerError(f"a worker has no model: {_loaded}")
    return [_loaded.tag(path) for path in paths]
