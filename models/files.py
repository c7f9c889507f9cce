"""Write files whole or not at all, link them, tell them apart, and name the code's commit."""

import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

# Not allowed in XML 1.0, or of no use in a line: control characters, lone halves of pairs.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file beside its target, then move it there in one step.

    Whoever reads the target sees the old file or the new one, never a part of it. An error inside
    the block leaves the old one.

    Args:
        path: The target; its folder must exist.

    Yields:
        Where to write: a hidden file in the same folder, with the same extension.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut can leave the new name with no content
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_folder(path: Path, flag: str) -> None:
    """Refuse a folder that cannot be made or written; nothing of this check stays.

    Args:
        path: The folder, which need not be there.
        flag: What named it, such as --out.

    Raises:
        ValueError: Names the flag and the reason.
    """
    missing = [each for each in (path, *path.parents) if not os.path.lexists(each)]
    for last in (False, False, True):
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
            return
        except OSError as error:
            # A check beside this one may have just removed a folder that both of them made.
            if last or not isinstance(error, FileNotFoundError):
                raise ValueError(f"{flag} {path} cannot be written: {error.strerror}") from error
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):  # something else is in it by now
                    folder.rmdir()


def relative_url(path: Path, folder: Path) -> str:
    """Return the address of a file as seen from a folder; any name can be written."""
    try:
        relative = Path(os.path.relpath(path, folder))
    except ValueError:  # another drive of Windows
        return path.as_uri()
    return quote(os.fsencode(relative.as_posix()))


def clean_text(text: str) -> str:
    """Return one line with single spaces, of characters that XML can hold."""
    return UNWRITABLE.sub("", " ".join(text.split())).strip()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_commit() -> str | None:
    """Return the commit of this project's code, marked when changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
