"""Tagging on a Ray cluster: lists of photos in, a model in every worker, Parquet files out.

Everything that machines share lies in one folder beside the table: the model, the lists, the rows,
and notes of what was begun. So it and the photos must be reachable under the same path everywhere.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.files import file_digest
from models.photos.memory import keep_memory
from models.predictor import Predictor
from models.tagging.ray_session import connected
from models.tagging.resumable_table import WorkFile
from models.tagging.table import TableError, parquet_schema, read_table
from models.tagging.tagger import Tagger
from models.tagging.workers import WorkerError, tag_photos

if TYPE_CHECKING:
    import pyarrow

PHOTOS_AT_ONCE = 64
PATHS_A_LIST = 1_000
ROWS_A_FILE = 5_000
# A batch that was begun this often and never ended holds a photo that kills its worker.
TRIES = 3


def tag_on_ray(
    paths: Iterable[str],
    tagger: Tagger,
    work: WorkFile,
    address: str,
    workers: int | None,
    report: Callable[[int], object],
) -> None:
    """Add the rows of photos to a work file, in any order.

    A worker that is killed is started again with the photos that it had. Photos that kill their
    worker again and again are tagged on this machine, and those that were in a batch with them.
    Rows that workers wrote before this command was cut are taken over first.

    Args:
        paths: Of photos that the work file calls missing; not held in memory.
        tagger: Whose model the workers load.
        work: What machines share lies beside it, in a folder that is deleted in the end.
        address: "local" for a cluster on this machine alone, or what ray.init takes.
        workers: Processes with a model; None: as many as the cluster has cores, less one.
        report: Gets how many rows were added, now and then.

    Raises:
        WorkerError: The cluster cannot be reached, is too small, or has failed.
    """
    folder = work.path.absolute().with_name(work.path.name + "-ray")
    rows, lists, begun = folder / "rows", folder / "lists", folder / "begun"
    _add_rows(rows, work, report)
    shutil.rmtree(folder, ignore_errors=True)
    for each in (rows, lists, begun):
        each.mkdir(parents=True)
    if _write_lists(paths, lists):
        model = shutil.copy(tagger.predictor.path, folder / "model.pt")
        if file_digest(Path(model)) != tagger.predictor.digest:
            raise WorkerError(f"{tagger.predictor.path} was changed meanwhile")
        with connected(address, workers) as found:
            _map(lists, rows, workers or found - 1, (model, tagger.version, str(begun)))
        _add_rows(rows, work, report)
        work.release()
        for path, row in tag_photos(filter(work.claim, _read_lists(lists)), tagger, 1):
            work.add([(path, row)])
            report(1)
    shutil.rmtree(folder, ignore_errors=True)


def _add_rows(folder: Path, work: WorkFile, report: Callable[[int], object]) -> None:
    """Take over what workers have written; files that a kill left half-written are passed over."""
    for file in sorted(folder.glob("*.parquet")):
        with contextlib.suppress(TableError):
            rows = [(row["photo"], row) for row in read_table(file)]
            work.add(rows)
            report(len(rows))


def _write_lists(paths: Iterable[str], folder: Path) -> int:
    """Parquet files of paths; how many paths."""
    import pyarrow
    import pyarrow.parquet

    paths, count = iter(paths), 0
    while group := list(islice(paths, PATHS_A_LIST)):
        table = pyarrow.table(
            {
                "path": [os.fsencode(os.path.abspath(path)) for path in group],
                "found_as": [os.fsencode(path) for path in group],
            }
        )
        pyarrow.parquet.write_table(table, folder / f"{count:012}.parquet")
        count += len(group)
    return count


def _read_lists(folder: Path) -> Iterator[str]:
    """The paths of the lists, as they were found."""
    import pyarrow.parquet

    for file in sorted(folder.glob("*.parquet")):
        for path in pyarrow.parquet.read_table(file, columns=["found_as"])["found_as"].to_pylist():
            yield os.fsdecode(path)


def _map(lists: Path, rows: Path, workers: int, arguments: tuple[Any, ...]) -> None:
    """Read the lists, map batches of photos to rows, write Parquet files."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    # The newer reader starts several processes more, to plan what is plain here: a third of the
    # CPU time of a short run.
    context.use_datasource_v2 = False
    warnings.filterwarnings("ignore", module=r"ray\.")  # of few photos for many workers
    # Restarts of workers and repetitions of what they had are without limit by default.
    (
        ray.data.read_parquet(str(lists))
        .map_batches(
            TagBatch, fn_constructor_args=arguments, batch_size=PHOTOS_AT_ONCE,
            batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=1,
        )
        .write_parquet(str(rows), min_rows_per_file=ROWS_A_FILE)
    )  # fmt: skip


class TagBatch:
    """A worker of the cluster: one model, batches of paths to batches of rows."""

    def __init__(self, model: str, version: str | None, begun: str) -> None:
        """Load the model, to compute with one thread.

        Args:
            model: Path of the model file.
            version: Of the model in W&B, if it came from there.
            begun: Folder for notes of batches that were begun.
        """
        import cv2
        import torch

        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        keep_memory()
        self.tagger = Tagger(Predictor.load(model), version)
        self.begun = Path(begun)

    def __call__(self, batch: "pyarrow.Table") -> "pyarrow.Table":
        """The rows of a batch of paths; none if it has killed several workers."""
        import pyarrow

        paths = [os.fsdecode(path) for path in batch["path"].to_pylist()]
        note = self.begun / hashlib.sha256("\0".join(paths).encode("utf-8", "replace")).hexdigest()
        tries = note.stat().st_size if note.exists() else 0
        rows = []
        if tries < TRIES:
            with note.open("ab") as file:
                file.write(b".")
            found_as = map(os.fsdecode, batch["found_as"].to_pylist())
            rows = [
                self.tagger.tag(path) | {"photo": self.tagger.empty_row(name)["photo"]}
                for path, name in zip(paths, found_as, strict=True)
            ]
            note.unlink()
        return pyarrow.Table.from_pylist(rows, parquet_schema())
