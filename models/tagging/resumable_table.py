"""Collect the rows of a table on disk, one by one, so that a kill loses none and a run resumes."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from models.tagging.table import COLUMNS, Row, TableError, printable, read_table, write_table


@dataclass(frozen=True)
class Counts:
    """How many photos there are, could be read, and got the verdicts sure and maybe.

    Also how many are sure in the album, and have an estimated place.
    """

    photos: int
    read: int
    sure: int
    maybe: int
    sure_in_album: int
    estimated: int


class ResumableTable:
    """The table so far, in an SQLite file beside OUT; a context that closes it.

    Memory does not depend on how many photos there are. A second run that makes the same table is
    refused while the first one is running.

    Attributes:
        out: Where the finished table goes.
        path: OUT.partial; deleted when the table is finished.
    """

    def __init__(self, out: Path, digest: str) -> None:
        """Continue from what exists: OUT.partial of an interrupted run, else OUT itself.

        Rows of OUT that have an error are left out, so that those photos are tried again.

        Args:
            out: The table to make.
            digest: sha256 of the model file; all rows of a table come from one model.

        Raises:
            TableError: The rows come from another model, the file is not from this version of this
                command, or another run is making the same table.
        """
        self.out, self.path = out, out.with_name(out.name + ".partial")
        try:
            self._file = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
        except sqlite3.Error as error:
            raise TableError(
                f"no table can be made at {out} ({error}); can its folder be written?"
            ) from error
        try:
            self._open(digest)
        except BaseException as error:
            self._file.close()
            if not isinstance(error, sqlite3.Error):
                raise
            busy = "locked" in str(error)
            fix = "another run is making it" if busy else "delete it to start over"
            raise TableError(f"{self.path} cannot be used ({error}): {fix}") from error

    def _open(self, digest: str) -> None:
        # Exclusive: one run at a time, and no shared memory, which network drives lack. The log
        # (WAL) makes each row durable without rewriting the file. Claims need not survive.
        for line in (
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "CREATE TEMP TABLE claimed (key BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE IF NOT EXISTS tagged "
            f"(key BLOB UNIQUE NOT NULL, path BLOB NOT NULL, {', '.join(COLUMNS)})",
        ):
            self._file.execute(line)
        columns = [name for _, name, *_ in self._file.execute("PRAGMA table_info(tagged)")]
        if columns != ["key", "path", *COLUMNS]:
            raise TableError(
                f"{self.path} was begun by another version of this command, with other columns; "
                "delete it to start over"
            )
        source = self.path
        if self.out.exists() and self.counts().photos == 0:
            source = self.out
            try:
                self.add((row["photo"], row) for row in read_table(source) if row["error"] is None)
            except TableError:
                self._delete()
                raise
        other = self._file.execute(
            "SELECT model, model_digest FROM tagged WHERE model_digest != ? LIMIT 1", (digest,)
        ).fetchone()
        if other is not None:
            if source == self.out:
                self._delete()
            raise TableError(
                f"{source} has rows of another model, {other[0]} {other[1][:12]}; tag with that "
                "one, delete the file, or name another with --out"
            )

    def claim(self, path: str) -> bool:
        """Tell whether a photo is still to be done and not claimed yet; if so, claim it.

        Claims end when the table is closed.

        Args:
            path: Of a file; links to one file count as the same photo.
        """
        key = _key(path)
        if self._file.execute("SELECT 1 FROM tagged WHERE key = ?", (key,)).fetchone():
            return False
        return self._file.execute("INSERT OR IGNORE INTO claimed VALUES (?)", (key,)).rowcount == 1

    def release(self) -> None:
        """Forget the claims: photos without a row can be claimed again."""
        self._file.execute("DELETE FROM claimed")

    def add(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Add rows, each with the path of its photo; all of them or, after a kill, none.

        Of two rows for one photo the first is kept.
        """
        marks = ", ".join("?" * (len(COLUMNS) + 2))
        with self._file:  # commits, or rolls back on an error
            self._file.execute("BEGIN")
            self._file.executemany(
                f"INSERT OR IGNORE INTO tagged VALUES ({marks})",
                (
                    (_key(path), os.fsencode(os.path.abspath(path)), *(row[n] for n in COLUMNS))
                    for path, row in rows
                ),
            )

    def rows(self) -> Iterator[Row]:
        """Yield all rows, in the order in which they were added."""
        for _, row in self.photos():
            yield row

    def photos(self) -> Iterator[tuple[Path, Row]]:
        """Yield all rows, each with the path of its photo."""
        found = self._file.execute(f"SELECT path, {', '.join(COLUMNS)} FROM tagged ORDER BY rowid")
        for path, *values in found:
            yield (
                Path(os.fsdecode(path)),
                {
                    name: None if value is None else kind(value)
                    for (name, kind), value in zip(COLUMNS.items(), values, strict=True)
                },
            )

    def set_columns(self, names: Sequence[str], rows: Iterable[Row]) -> None:
        """Set columns of all rows; all of them or, after a kill, none.

        Args:
            names: Of the columns.
            rows: Their values, one for each of rows(), in that order.
        """
        ids = self._file.execute("SELECT rowid FROM tagged ORDER BY rowid").fetchall()
        marks = ", ".join(f"{name} = ?" for name in names)
        with self._file:
            self._file.execute("BEGIN")
            self._file.executemany(
                f"UPDATE tagged SET {marks} WHERE rowid = ?",
                ((*(row[n] for n in names), *each) for each, row in zip(ids, rows, strict=True)),
            )

    def errors(self, limit: int) -> list[str]:
        """Return which photos could not be read and why, up to a limit."""
        found = self._file.execute(
            "SELECT photo, error FROM tagged WHERE error IS NOT NULL ORDER BY rowid LIMIT ?",
            (limit,),
        )
        return [f"{photo}: {error}" for photo, error in found]

    def counts(self) -> Counts:
        """Count the rows so far."""
        found = self._file.execute(
            "SELECT count(*), coalesce(sum(error IS NULL), 0), "
            "coalesce(sum(verdict = 'sure'), 0), coalesce(sum(verdict = 'maybe'), 0), "
            "coalesce(sum(verdict_in_album = 'sure'), 0), count(estimated_latitude) FROM tagged"
        )
        return Counts(*found.fetchone())

    def write_table(self) -> None:
        """Write OUT, in the order in which rows were added."""
        write_table(self.out, self.rows())

    def finish(self) -> None:
        """Delete OUT.partial: OUT holds all of it."""
        self._delete()

    def _delete(self) -> None:
        self._file.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def __enter__(self) -> "ResumableTable":
        """Return the table itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the table; what was added stays for the next run, an empty one leaves nothing."""
        if self.path.exists() and self.counts().photos == 0:
            self._delete()
        self._file.close()


def _key(path: str) -> bytes:
    """Return 16 bytes that identify a file, whatever name and links lead to it."""
    with_links = path if "\0" in path else os.path.realpath(path)
    return hashlib.blake2b(printable(with_links).encode(), digest_size=16).digest()
