"""Changes to files: made completely or not at all, and undone bit for bit."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.metadata import safe_replace
from models.metadata.safe_replace import (
    HOST,
    ChangeError,
    check_writable,
    partial_name,
    remove_left_behind,
)
from models.metadata.undo_journal import Journal, describe_old, rebuild_old, undo

ROOT = Path(__file__).parents[3]
OLD, NEW = b"old " * 50, b"new " * 60
NOISE = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()


def outcomes(journal: Path) -> list[tuple[str, str]]:
    return [(each.action, each.note) for each in undo(journal)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (NOISE, b"head" * 500 + NOISE[100:]),
        (NOISE, NOISE[:50_000] + b"more" + NOISE[50_000:] + b"end"),
        (NOISE[:9000], NOISE[5000:9000] + b"x" + NOISE[:5000]),
        (NOISE, NOISE[:1000] + NOISE[3000:]),
        (bytes(70_000), bytes(60_000) + b"x" + bytes(9_999)),
        (NOISE[:500], NOISE[500:]),
        (NOISE, NOISE),
        (b"", NOISE),
        (NOISE[:100], b""),
        (b"short", b"shorter"),
    ],
)
def test_the_old_bytes_come_out_of_the_new_ones(old: bytes, new: bytes) -> None:
    assert rebuild_old(new, json.loads(json.dumps(describe_old(old, new)))) == old


def test_only_what_is_gone_is_kept() -> None:
    new = NOISE[:1000] + b"metadata" * 100 + NOISE[3000:] + b"more"
    assert len(json.dumps(describe_old(NOISE, new))) < 4000  # 2000 bytes of noise as base64


def test_random_edits_come_back() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        pieces = np.array_split(np.frombuffer(NOISE[: rng.integers(1, 5000)], np.uint8), 7)
        kept = [pieces[index].tobytes() for index in rng.integers(0, 7, rng.integers(0, 12))]
        old, new = b"".join(piece.tobytes() for piece in pieces), b"-".join(kept)
        assert rebuild_old(new, describe_old(old, new)) == old


def test_a_change_and_its_undo(tmp_path: Path) -> None:
    photo, fresh, journal = tmp_path / "photo\n.jpg", tmp_path / "new", tmp_path / "journal"
    photo.write_bytes(OLD)
    photo.chmod(0o640)
    os.utime(photo, (1_000_000_000, 1_100_000_000))
    Journal(journal).replace(photo, OLD, NEW)
    Journal(journal).replace(fresh, None, NEW)
    assert photo.read_bytes() == fresh.read_bytes() == NEW
    assert photo.stat().st_mode & 0o777 == 0o640
    assert photo.stat().st_mtime == 1_100_000_000
    assert names(tmp_path) == ["journal", "new", "photo\n.jpg"]
    assert outcomes(journal) == [("undo", "as it was"), ("undo", "removed")]
    assert photo.read_bytes() == OLD
    assert photo.stat().st_mtime == 1_100_000_000
    assert names(tmp_path) == ["journal", "photo\n.jpg"]
    assert outcomes(journal) == [("skip", "is as it was")] * 2


def test_undo_goes_back_to_the_first_state(tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo", Journal(tmp_path / "journal")
    photo.write_bytes(OLD)
    for old, new in ((OLD, NEW), (NEW, NOISE)):
        journal.replace(photo, old, new)
    assert outcomes(journal.path) == [("undo", "as it was")]
    assert photo.read_bytes() == OLD
    journal.replace(photo, OLD, NEW)  # once more after the undo
    assert outcomes(journal.path) == [("undo", "as it was")]
    assert photo.read_bytes() == OLD


def test_undo_leaves_what_others_changed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for name in "abc":
        (tmp_path / name).write_bytes(OLD)
        journal.replace(tmp_path / name, OLD, NEW)
    (tmp_path / "a").write_bytes(b"edited")
    (tmp_path / "b").unlink()
    found = outcomes(journal.path)
    assert [action for action, _ in found] == ["fail", "fail", "undo"]
    assert "another program" in found[0][1]
    assert "no longer there" in found[1][1]
    assert (tmp_path / "a").read_bytes() == b"edited"
    assert (tmp_path / "c").read_bytes() == OLD


# Of one change, fsync is called for the new file, the journal, the folder and the journal again.
KILLED = """
import os, signal, sys
from pathlib import Path
from models.metadata.undo_journal import Journal
real, calls = os.fsync, []
def fsync(descriptor):
    calls.append(descriptor)
    if len(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
photo = Path(sys.argv[2])
Journal(photo.parent / "journal").replace(photo, photo.read_bytes(), b"new " * 60)
"""


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_killed_at_any_moment(call: int, tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo", tmp_path / "journal"
    photo.write_bytes(OLD)
    command = [sys.executable, "-c", KILLED, str(call), str(photo)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert photo.read_bytes() == (OLD if call < 3 else NEW)
    assert len(list(tmp_path.glob(".landmarks-*"))) == (call < 3)
    if journal.exists():
        assert outcomes(journal)[0][0] == ("skip" if call < 3 else "undo")
    assert photo.read_bytes() == OLD
    Journal(journal).replace(photo, OLD, NEW)  # the next run
    assert names(tmp_path) == ["journal", "photo"]
    assert outcomes(journal) == [("undo", "as it was")]


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo", Journal(tmp_path / "journal")
    photo.write_bytes(OLD)
    journal.path.write_bytes(b'{"change": "1", "path": "/x", "before": nul')
    journal.replace(photo, OLD, NEW)
    with journal.path.open("ab") as file:
        file.write(b'{"change": "2", "pa')
    assert outcomes(journal.path) == [("undo", "as it was")]


def test_two_processes_share_a_journal(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from models.metadata.undo_journal import Journal
journal, folder = Journal(Path(sys.argv[1])), Path(sys.argv[2])
for index in range(15):
    journal.replace(folder / str(index), None, b"new" * 9000)
"""
    journal = tmp_path / "journal"
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(journal), str(folder)], cwd=ROOT)
        for folder in folders
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    assert outcomes(journal) == [("undo", "removed")] * 30
    assert [names(folder) for folder in folders] == [[], []]


def test_a_full_disk_leaves_the_file_whole(tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo", Journal(tmp_path / "journal")
    photo.write_bytes(OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.replace(photo, OLD, NOISE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OSError, match="No space"):
        Journal(Path("/dev/full")).replace(photo, OLD, NEW)
    assert photo.read_bytes() == OLD
    assert names(tmp_path) == ["photo"]


def cannot(change: Callable[[], None], photo: Path, match: str) -> None:
    content = photo.read_bytes()
    with pytest.raises(ChangeError, match=match):
        change()
    assert photo.read_bytes() == content
    assert not list(photo.parent.glob(".landmarks-*"))


def test_what_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, link = tmp_path / "photo", tmp_path / "link"
    journal = Journal(tmp_path / "journal")
    photo.write_bytes(OLD)
    link.symlink_to(photo)
    cannot(lambda: journal.replace(photo, b"something else", NEW), photo, "changed meanwhile")
    cannot(lambda: journal.replace(photo, None, NEW), photo, "changed meanwhile")
    cannot(lambda: journal.replace(link, OLD, NEW), photo, "symbolic link")
    assert [action for action, _ in outcomes(journal.path)] == ["skip"]  # noted, never made
    photo.chmod(0o444)
    cannot(lambda: journal.replace(photo, OLD, NEW), photo, "read-only")
    photo.chmod(0o644)
    photo.write_bytes(NOISE)
    monkeypatch.setattr("models.metadata.undo_journal.MAX_UNDO_BYTES", 1000)
    cannot(lambda: journal.replace(photo, NOISE, NEW), photo, "over 0 MB in the journal")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo").write_bytes(OLD)
    real = os.access  # root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and real(path, mode))
    with pytest.raises(ChangeError, match="folder cannot be written"):
        check_writable(tmp_path / "photo")


def test_other_hard_links_keep_the_old_content(tmp_path: Path) -> None:
    photo, other = tmp_path / "photo", tmp_path / "other"
    photo.write_bytes(OLD)
    os.link(photo, other)
    Journal(tmp_path / "journal").replace(photo, OLD, NEW)
    assert (photo.read_bytes(), other.read_bytes()) == (NEW, OLD)


def test_what_is_no_journal(tmp_path: Path) -> None:
    for content in (None, b"\xff\xd8\xff\xe0", b'{"a": 1}\n', b"[" * 99_999, b'{"change": 1}'):
        path = tmp_path / "journal"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ChangeError, match="journal"):
            list(undo(path))
    path.write_bytes(b"")
    assert outcomes(path) == []


def test_a_damaged_record_changes_nothing(tmp_path: Path) -> None:
    photo, journal = tmp_path / "photo", Journal(tmp_path / "journal")
    photo.write_bytes(NOISE)
    journal.replace(photo, NOISE, NEW)
    record, done = journal.path.read_text().splitlines()
    for parts in ([[0, 5]], ["AAAA"], "x", None, [[0]], 3):
        changed = json.dumps(json.loads(record) | {"old": parts})
        journal.path.write_text(f"{changed}\n{done}\n")
        assert outcomes(journal.path)[0][0] == "fail", parts
        assert photo.read_bytes() == NEW


def test_leftovers_of_the_dead_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = f".landmarks-{HOST}-{ended.pid}-00000000"
    elsewhere = f".landmarks-00000000-{ended.pid}-00000000"
    alive, foreign = partial_name(), ".landmarks-notes"
    for name in (alive, dead, elsewhere, foreign):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / dead).with_name(dead[:-1] + "1").mkdir()
    remove_left_behind(tmp_path)
    assert names(tmp_path) == sorted([alive, elsewhere, foreign])
    monkeypatch.setattr(safe_replace, "LEFT_BEHIND_SECONDS", -1)
    remove_left_behind(tmp_path)
    assert names(tmp_path) == [foreign]
