"""Tag photos on a Ray cluster: lists of photos in, a model in every worker, Parquet files out.

All that machines share is in one folder beside the table: the model, the lists, the rows, and notes
of batches that were begun. So this folder and the photos must be reachable under the same path
everywhere.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.command_line import first_line
from models.environment import cores
from models.files import file_digest
from models.photos.memory import keep_memory
from models.predictor import Predictor
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import TableError, parquet_schema, read_table
from models.tagging.tagger import Tagger
from models.tagging.workers import WorkerError, tag_photos

if TYPE_CHECKING:
    import pyarrow

# The folder models/, the code that every machine gets.
PACKAGE = Path(__file__).parents[1]
PHOTOS_AT_ONCE = 64
PATHS_A_LIST = 1_000
ROWS_A_FILE = 5_000
# A batch that was begun this often and never finished holds a photo that kills its worker.
TRIES = 3


def tag_on_ray(
    paths: Iterable[str],
    tagger: Tagger,
    table: ResumableTable,
    address: str,
    workers: int | None,
    report: Callable[[int], object],
) -> None:
    """Add the rows of photos to a table, in any order.

    A killed worker is started again with the photos that it had. Photos that keep killing their
    worker are tagged on this machine, together with the rest of their batch. Rows that workers
    wrote before an earlier run was interrupted are taken over first.

    Args:
        paths: Of photos that the table calls missing; not held in memory.
        tagger: Whose model the workers load.
        table: What machines share lies beside it, in a folder that is deleted at the end.
        address: "local" for a temporary cluster on this machine, or what ray.init takes.
        workers: Processes with a model; None: as many as the cluster has cores, less one.
        report: Is called now and then with how many rows were added.

    Raises:
        WorkerError: The cluster cannot be reached, is too small, or has failed.
    """
    folder = table.path.absolute().with_name(table.path.name + "-ray")
    rows, lists, begun = folder / "rows", folder / "lists", folder / "begun"
    _add_rows(rows, table, report)
    shutil.rmtree(folder, ignore_errors=True)
    for each in (rows, lists, begun):
        each.mkdir(parents=True)
    if _write_lists(paths, lists):
        model = shutil.copy(tagger.predictor.path, folder / "model.pt")
        if file_digest(Path(model)) != tagger.predictor.digest:
            raise WorkerError(f"{tagger.predictor.path} was changed meanwhile")
        with connected(address, workers) as found:
            _map(lists, rows, workers or found - 1, (model, tagger.version, str(begun)))
        _add_rows(rows, table, report)
        # What the cluster gave up on is still claimed, and has no row.
        table.release()
        for path, row in tag_photos(filter(table.claim, _read_lists(lists)), tagger, 1):
            table.add([(path, row)])
            report(1)
    shutil.rmtree(folder, ignore_errors=True)


def _add_rows(folder: Path, table: ResumableTable, report: Callable[[int], object]) -> None:
    """Take over the rows that workers have written; skip files that a kill left incomplete."""
    for file in sorted(folder.glob("*.parquet")):
        with contextlib.suppress(TableError):
            rows = [(row["photo"], row) for row in read_table(file)]
            table.add(rows)
            report(len(rows))


def _write_lists(paths: Iterable[str], folder: Path) -> int:
    """Write Parquet files of paths, and return how many paths there are."""
    import pyarrow
    import pyarrow.parquet

    paths, count = iter(paths), 0
    while group := list(islice(paths, PATHS_A_LIST)):
        # Bytes, since names on a disk need not be text.
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
    """Read the paths of the lists back, as they were found."""
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
    # The newer reader starts several more processes to plan what is simple here: a third of the
    # CPU time of a short run.
    context.use_datasource_v2 = False
    warnings.filterwarnings("ignore", module=r"ray\.")  # about few photos for many workers
    # By default Ray restarts workers, and repeats what they had, without limit.
    photos = ray.data.read_parquet(str(lists))
    tagged = photos.map_batches(
        TagBatch,
        fn_constructor_args=arguments,
        batch_size=PHOTOS_AT_ONCE,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    tagged.write_parquet(str(rows), min_rows_per_file=ROWS_A_FILE)


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

        cv2.setNumThreads(1)
        keep_memory()
        self.tagger = Tagger(Predictor.load(model, threads=1), version)
        self.begun = Path(begun)

    def __call__(self, batch: "pyarrow.Table") -> "pyarrow.Table":
        """Return the rows of a batch of paths; none if it has killed several workers."""
        import pyarrow

        paths = [os.fsdecode(path) for path in batch["path"].to_pylist()]
        # A note per batch, one byte longer each time it is begun; a kill leaves it behind.
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


# --- the cluster ---------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(address: str, workers: int | None) -> Iterator[int]:
    """Connect to a cluster, give it this project's code, and yield how many cores it has.

    Nothing is reported to Ray's makers. A local cluster has no dashboard, admits nobody else, and
    leaves no files.

    Args:
        address: "local", or what ray.init takes.
        workers: The cluster must have one core more than this.

    Raises:
        WorkerError: It cannot be reached, is too small, or fails inside the block.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Else Ray warns that this default will change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "90")  # seconds for a busy machine to start
    if address == "local" and os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        # Else Ray would keep one in the home folder for good. It is read when ray is imported.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    code = {"py_modules": [str(PACKAGE)], "excludes": ["bundled", "__pycache__"]}
    settings: dict[str, Any] = {"address": address, "runtime_env": code}
    on_terminate = signal.getsignal(signal.SIGTERM)
    short = "/tmp" if os.name == "posix" else None  # paths of sockets must not be long
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True) as logs,
        _native_messages_to(Path(logs) / "driver.log"),
    ):
        _check_answers(address)
        if address == "local":
            settings["num_cpus"] = (workers or cores()) + 1
            settings |= {"include_dashboard": False, "_temp_dir": logs}
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
            signal.signal(signal.SIGTERM, on_terminate)  # Ray has replaced it by its own
            found = int(ray.cluster_resources().get("CPU", 0))
            if (workers or 1) >= found:
                raise WorkerError(
                    f"the cluster has {found} cores, and one is kept for lists and files; start "
                    f"more machines or ask for at most --workers {found - 1}"
                )
            yield found
        except ConnectionError as error:
            raise WorkerError(
                f"Ray at {address}: {first_line(error)}; clusters with a token need "
                "RAY_AUTH_MODE=token and that token here"
            ) from error
        except (ray.exceptions.RayError, ValueError, RuntimeError) as error:
            if isinstance(error, WorkerError):
                raise
            raise WorkerError(f"Ray at {address}: {first_line(error)}") from error
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Say at once what Ray would say after minutes: that nothing answers at HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise WorkerError(f"no Ray cluster answers at {address}") from error


@contextlib.contextmanager
def _native_messages_to(path: Path) -> Iterator[None]:
    """Send what Ray's native part prints to a file; what Python prints is still shown.

    At each start it prints an error that is none (ray issue 53727).
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with (
        path.open("wb") as log,
        os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding) as shown,
        contextlib.redirect_stderr(shown),
    ):
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
