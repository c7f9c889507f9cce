"""Replace a file whole or not at all, and clean up behind programs that were killed."""

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# The name says which program on which machine it belongs to, so that a later run can tell whether
# that program still runs.
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
PARTIAL = re.compile(r"\.landmarks-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")
LEFT_BEHIND_SECONDS = 600


class ChangeError(RuntimeError):
    """A change that was not made, or an unreadable journal; the message says why."""


def partial_name() -> str:
    """Return a new name for a file or folder that must not outlive this program."""
    return f".landmarks-{HOST}-{os.getpid()}-{secrets.token_hex(4)}"


def replace_file(
    target: Path,
    old: bytes | None,
    new: bytes | None,
    before: Callable[[], None] | None = None,
) -> None:
    """Replace a file's content; a kill at any moment leaves the old file or the new one.

    Unlike models.files.atomic this also keeps what the file system says of a photo, and refuses a
    file that another program has changed.

    Args:
        target: Not a symbolic link. Mode, owner and modification time stay.
        old: What it holds; None: there is no file.
        new: What it is to hold; None: the file is deleted.
        before: Called when the new content is on disk and the old file still in place.

    Raises:
        ChangeError: It cannot be written, or does not hold old.
        OSError: A full disk, ...
    """
    check_writable(target)
    partial = target.with_name(partial_name())
    try:
        if new is not None:
            with partial.open("xb") as file:
                file.write(new)
                file.flush()
                os.fsync(file.fileno())
            if old is not None:
                status = target.stat()
                with suppress(OSError, AttributeError):  # only root may; Windows has no owners
                    os.chown(partial, status.st_uid, status.st_gid)
                shutil.copystat(target, partial)
        if before is not None:
            before()
        # Another program may have written it since it was read.
        if (target.read_bytes() if os.path.lexists(target) else None) != old:
            raise ChangeError("was changed meanwhile; try again")
        if new is None:
            target.unlink()
        else:
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # or a power cut could bring the old name back
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(target: Path) -> None:
    """Raise ChangeError where a file must not or cannot be replaced."""
    if target.is_symlink():
        raise ChangeError("is a symbolic link; give the file itself")
    if target.exists() and not target.stat().st_mode & 0o222:
        raise ChangeError(f"{target.name!r} is read-only")  # root could write it all the same
    if not os.access(target.parent, os.W_OK):
        raise ChangeError("its folder cannot be written")


def reason(error: Exception) -> str:
    """Return what an error says, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]


def remove_left_behind(folder: Path) -> None:
    """Delete what killed runs of this project left in a folder, but not what live ones use."""
    for path in folder.glob(".landmarks-*"):
        match = PARTIAL.fullmatch(path.name)
        with suppress(OSError):
            if match and _is_left_behind(path, *match.groups()):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_left_behind(path: Path, host: str, process: str) -> bool:
    if host == HOST and os.name == "posix":  # on Windows, signal 0 would end the process
        try:
            os.kill(int(process), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False
    # ctime, as the time of modification is copied from the old file.
    return time.time() - path.stat().st_ctime > LEFT_BEHIND_SECONDS
