"""Walk folders for photos, and leave out what systems put beside them."""

import os
from collections.abc import Iterator
from pathlib import Path

from models.photos.reader import PHOTO_EXTENSIONS

# Of macOS, Windows, NAS boxes (Synology, QNAP) and Linux; names that begin with a dot besides.
SYSTEM_ENTRIES = frozenset(
    name.casefold()
    for name in (
        "__MACOSX",
        "@eaDir",
        "#recycle",
        "@Recycle",
        "$RECYCLE.BIN",
        "lost+found",
        "System Volume Information",
        "Thumbs.db",
        "desktop.ini",
    )
)


def is_left_out(name: str) -> bool:
    """Tell whether an entry is hidden (``._1.jpg``, ``.ipynb_checkpoints``) or a system's own."""
    return name.startswith(".") or name.casefold() in SYSTEM_ENTRIES


def is_photo(name: str) -> bool:
    """Tell whether a name has a photo's extension."""
    return os.path.splitext(name)[1].lower() in PHOTO_EXTENSIONS


def walk_files(folder: Path) -> Iterator[Path]:
    """Find the files in a folder at any depth, in the order of their names.

    Hidden and system entries are left out. Links to folders are followed, each folder once.
    """
    searched: set[str] = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path != folder and not path.is_dir():
            yield path
            continue
        real = os.path.realpath(path)
        if real in searched:
            continue
        searched.add(real)
        names = [name for name in os.listdir(path) if not is_left_out(name)]
        waiting += [path / name for name in sorted(names, reverse=True)]


def walk_photos(folder: Path) -> Iterator[Path]:
    """Find the photos in a folder, by extension; see walk_files."""
    return (path for path in walk_files(folder) if is_photo(path.name))
