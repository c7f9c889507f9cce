"""Change files on disk so that each change can be undone: the journal.

The journal is text, one JSON record a line. Before a change, its record is on disk: sha256 of the
file before and after, and how to make the old file from the new one. So the file itself tells, at
any moment, whether the change was made, and a killed program leaves nothing to guess.
"""

import base64
import hashlib
import json
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.metadata.safe_replace import ChangeError, reason, remove_left_behind, replace_file

# Metadata is small and pixels do not change; more than this would be a copy of the photo.
MAX_UNDO_BYTES = 4 * 1000**2
# A part of an old file: a copy from the new one (first byte, length), or the bytes that are gone,
# as text (base64 of zlib).
Part = list[int] | str
ANCHOR_BYTES = 32
MAX_SEARCHES = 64


@dataclass(frozen=True)
class Outcome:
    """What became of one photo, or would become of it.

    Attributes:
        photo: As it was given; for undo, the changed file.
        action: embed or sidecar; undo; skip: nothing to do; fail: not possible, nothing changed.
        target: The file that is written; None if there is none.
        note: What is written, or why not, in one line.
    """

    photo: Path
    action: str
    target: Path | None = None
    note: str = ""


class Journal:
    """An append-only journal; several processes may write to the same one."""

    def __init__(self, path: Path) -> None:
        """Prepare a journal; nothing is written before the first change."""
        self.path = path
        self._swept: set[Path] = set()

    def replace(self, target: Path, old: bytes | None, new: bytes) -> None:
        """Replace a file's content, in a way that can be undone.

        Mode, owner and modification time stay: the dates of photos are worth more than this
        change. Other hard links to the file keep the old content.

        Args:
            target: Not a symbolic link: it would be replaced by a file.
            old: What the file holds; None: there is no file.
            new: What it is to hold.

        Raises:
            ChangeError: It is read-only, was changed meanwhile, or is too different to be undone.
            OSError: A full disk, a folder that cannot be written, ...
        """
        parts = plan_undo(old, new)
        if target.parent not in self._swept:
            remove_left_behind(target.parent)
            self._swept.add(target.parent)
        change = secrets.token_hex(8)
        record = {
            "change": change,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "path": str(target.absolute()),
            "before": None if old is None else hashlib.sha256(old).hexdigest(),
            "after": hashlib.sha256(new).hexdigest(),
            "old": parts,
        }
        replace_file(target, old, new, lambda: self._append(record))
        with suppress(OSError):  # the change stands, and the record above is enough to undo it
            self._append({"done": change})

    def _append(self, record: dict[str, Any]) -> None:
        """Add one line, which is on disk when this returns.

        One write per line, so that lines of several processes do not mix.
        """
        text = json.dumps(record).encode() + b"\n"
        with self.path.open("a+b", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the line of a program that was killed
                    text = b"\n" + text
            if file.write(text) != len(text):
                raise OSError(f"the disk of {self.path} is full")
            os.fsync(file.fileno())


def plan_undo(old: bytes | None, new: bytes) -> list[Part] | None:
    """Return what the journal holds of an old file; None: there is none.

    Raises:
        ChangeError: It is too much: old and new are too different.
    """
    parts = None if old is None else describe_old(old, new)
    if parts is not None and sum(len(part) for part in parts) > MAX_UNDO_BYTES:
        limit = f"{MAX_UNDO_BYTES // 1000**2} MB"
        raise ChangeError(f"undoing it would need over {limit} in the journal")
    return parts


def undo(path: Path) -> Iterator[Outcome]:
    """Undo the changes of a journal: each file becomes what it was, bit for bit.

    Only files that are as the last change left them are undone; others are reported and stay. It
    is safe to stop and to repeat this.

    Args:
        path: The journal; it stays as it is.

    Yields:
        One outcome per file.

    Raises:
        ChangeError: There is no journal.
    """
    # Only digests and offsets are held: a journal of 100,000 photos is gigabytes.
    changes: dict[str, list[tuple[str | None, str, int]]] = {}
    done, where = set(), {}
    try:
        with path.open("rb") as file:
            for offset, record in _records(file):
                if "done" in record:
                    done.add(record["done"])
                    continue
                entry = (record["before"], record["after"], offset)
                changes.setdefault(str(record["path"]), []).append(entry)
                where[offset] = record["change"]
    except (OSError, KeyError, TypeError) as error:
        raise ChangeError(f"no journal at {path}; give the one that the run named") from error
    if not changes and path.stat().st_size:
        raise ChangeError(f"{path} holds no changes; give the journal of a run that wrote some")
    with path.open("rb") as file:
        for name, entries in changes.items():
            made = any(where[offset] in done for _, _, offset in entries)
            try:
                yield _undo_file(Path(name), entries, made, file)
            except (OSError, ChangeError, ValueError) as error:
                yield Outcome(Path(name), "fail", None, f"left alone: {reason(error)}")


def _undo_file(
    target: Path, entries: list[tuple[str | None, str, int]], made: bool, file: BinaryIO
) -> Outcome:
    """Walk a file's changes backwards, from the state that it is in."""
    found = target.read_bytes() if target.is_file() else None
    content, digest, undone = found, _digest(found), 0
    for before, after, offset in reversed(entries):
        if digest != after:
            continue  # never made, or undone already
        file.seek(offset)
        parts = json.loads(file.readline())["old"]
        with suppress(ValueError, TypeError, IndexError, zlib.error):
            content = None if before is None else rebuild_old(content, parts)
        # Whatever the parts were: only what has the recorded digest is ever written.
        digest = _digest(content)
        if digest != before:
            raise ChangeError("the journal's record of it is damaged")
        undone += 1
    if undone:
        replace_file(target, found, content)
        return Outcome(target, "undo", target, "as it was" if content is not None else "removed")
    if digest in [before for before, _, _ in entries]:
        return Outcome(target, "skip", None, "is as it was")
    if found is None:
        return Outcome(target, "fail", None, "is no longer there")
    why = "was changed by another program since" if made else "was never changed by this journal"
    return Outcome(target, "fail" if made else "skip", None, f"{why}; left alone")


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _records(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield offset and content of complete lines; a torn one is a change that was never made."""
    offset = 0
    for line in file:
        with suppress(ValueError, RecursionError):
            if isinstance(record := json.loads(line), dict):
                yield offset, record
        offset += len(line)


def describe_old(old: bytes, new: bytes) -> list[Part]:
    """Describe how to make the old bytes from the new ones: what stayed, and what is gone.

    What stayed is found greedily: some bytes of a gap are looked up in the new file, and the match
    is extended to both sides. Metadata moves the pixels of a photo as one block, so a few searches
    find nearly all of it.

    Returns:
        Parts in the order of the old file; rebuild_old(new, parts) is old.
    """
    old_array, new_array = (np.frombuffer(each, np.uint8) for each in (old, new))
    copies: list[tuple[int, int, int]] = []
    gaps, searches = [(0, len(old))], 0
    while gaps:
        low, high = gaps.pop()
        last = high - ANCHOR_BYTES
        for start in (low, last, (low + last) // 2, (3 * low + last) // 4, (low + 3 * last) // 4):
            if last < low or searches >= MAX_SEARCHES:
                break
            searches += 1
            # The last bytes are searched for from the end: flat photos repeat themselves.
            find = new.rfind if start == last else new.find
            found = find(old[start : start + ANCHOR_BYTES])
            if found < 0:
                continue
            back = _common(old_array[low:start][::-1], new_array[:found][::-1])
            length = back + _common(old_array[start:high], new_array[found:])
            first = start - back
            copies.append((first, found - back, length))
            gaps += [(low, first), (first + length, high)]
            break
    parts: list[Part] = []
    position = 0
    for first, source, length in [*sorted(copies), (len(old), 0, 0)]:
        if position < first:
            parts.append(base64.b64encode(zlib.compress(old[position:first], 9)).decode())
        if length:
            parts.append([source, length])
        position = first + length
    return parts


def rebuild_old(new: bytes, parts: list[Part]) -> bytes:
    """Make the old bytes from the new ones and describe_old's parts."""
    pieces = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(zlib.decompress(base64.b64decode(part)))
        else:
            pieces.append(new[part[0] : part[0] + part[1]])
    return b"".join(pieces)


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Return how many first values two arrays share."""
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    return int(different.argmax()) if different.any() else length
