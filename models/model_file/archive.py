"""Look into a model file, a zip archive, without torch: check it, read and add its extra files.

A model file may come from anybody, so `check_archive` looks at it before any of it runs.
TorchScript's loader executes no pickled code: it only knows its own types. But it compares no
checksums, so a flipped bit of a weight would load; and TorchScript code can read and write files
from the moment it is loaded. models.model_file.onnx_check says what an ONNX twin may hold.
"""

import re
import shutil
import zipfile
import zlib
from pathlib import Path

from models.files import atomic

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
TWIN = "model.onnx"

MAX_UNPACKED_BYTES = 4 * 1000**3
# Operators of torch 2.15 that touch files, and everything outside aten and prim; TorchScript has no
# other way to write a name.
FORBIDDEN = re.compile(
    rb"\b(?:from_file|save|load_tensor)\b|\bclasses\s*[.#]|(?<![.\w])ops\b(?!\.(?:aten|prim)\.)",
    re.ASCII,
)


def check_archive(path: Path) -> None:
    """Refuse a file that is damaged, or whose code uses what no network needs.

    Takes 20 ms for 14 MB. A file that was changed with care, checksums included, only shows in
    its digest.

    Raises:
        ValueError: With the reason in one line.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            # Before anything is unpacked: a few kilobytes can unpack to terabytes.
            if sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
                raise ValueError(f"it unpacks to over {MAX_UNPACKED_BYTES // 10**9} GB")
            # Python reads the last part of a name, torch may read another.
            if len({part.filename for part in parts}) < len(parts):
                raise ValueError("it has two parts of one name")
            if (broken := archive.testzip()) is not None:
                raise ValueError(f"{broken} inside is damaged")
            for part in parts:
                if not part.filename.endswith(".py"):
                    continue
                if found := FORBIDDEN.search(archive.read(part)):
                    raise ValueError(f"its code uses {found[0].decode()}, as no network does")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise ValueError("it is not a complete archive") from error
    except RuntimeError as error:  # zipfile's, for encrypted parts
        raise ValueError("it is encrypted") from error


def read_extra(path: Path, name: str) -> bytes | None:
    """Return an extra file of a model file, what torch calls _extra_files; None if it has none.

    Call check_archive first where the file may come from elsewhere.
    """
    with zipfile.ZipFile(path) as archive:
        record = _record(archive, name)
        return archive.read(record) if record in archive.NameToInfo else None


def has_twin(path: Path) -> bool:
    """Return whether a file has an ONNX twin; not if it is no model file at all."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _record(archive, TWIN) in archive.NameToInfo
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def add_extra(path: Path, name: str, content: bytes) -> None:
    """Add an extra file to a model file, atomically; all other parts stay bit for bit.

    Raises:
        ValueError: It has one of this name.
    """
    with atomic(path) as partial:
        shutil.copyfile(path, partial)
        with zipfile.ZipFile(partial, "a") as archive:
            record = _record(archive, name)
            if record in archive.NameToInfo:
                raise ValueError(f"{path} has {name} already; export it again instead")
            # With a date of its own, equal exports would differ.
            archive.writestr(zipfile.ZipInfo(record), content)


def _record(archive: zipfile.ZipFile, name: str) -> str:
    """Return where torch keeps an extra file: in the folder of the archive's first part."""
    names = archive.namelist()
    if not names:
        raise ValueError("it is an empty archive")
    return f"{names[0].split('/')[0]}/extra/{name}"
