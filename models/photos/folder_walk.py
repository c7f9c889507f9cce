"""Walk folders for photos, leaving out what systems put beside them: the rule for all commands."""

import os
from collections.abc import Iterator
from pathlib import Path

from models.photos.reader import PHOTO_EXTENSIONS

# Written by macOS, Windows, NAS boxes (Synology, QNAP) and Linux: deleted photos, thumbnails and
# archive leftovers. Names that begin with a dot are left out besides.
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
# A class folder's place, but no class: photos of none of the landmarks, as python demo.py --collect
# keeps them; train on them with --outside.
OUTSIDE_FOLDER = "none_of_them"


def is_left_out(name: str) -> bool:
    """Tell whether an entry is hidden (``._1.jpg``, ``.ipynb_checkpoints``) or a system's own."""
    return name.startswith(".") or name.casefold() in SYSTEM_ENTRIES


def is_photo(name: str) -> bool:
    """Tell whether a name or path has a photo's extension."""
    return os.path.splitext(name)[1].lower() in PHOTO_EXTENSIONS


def walk_paths(
    folder: str, searched: set[str] | None = None, keep_unlistable: bool = False
) -> Iterator[str]:
    """Find the files in a folder at any depth, in the order of their names.

    Hidden and system entries are left out, at any depth, but not the folder itself. Links to
    folders are followed, each folder once. Memory holds only the entries of the folders on the way
    down.

    Args:
        folder: Where to begin; the paths found begin with it, as it is written.
        searched: Real paths of folders that are done; the walk skips these and adds its own.
        keep_unlistable: Yield a folder that cannot be listed as if it were a file, for whoever
            reads it to say so.

    Raises:
        OSError: A folder cannot be listed, without keep_unlistable.
    """
    searched = set() if searched is None else searched
    waiting = [(folder, True)]  # a stack, not recursion: no depth of folders is too deep
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        # Links can lead back up: without this a walk would never end.
        real = os.path.realpath(path)
        if real in searched:
            continue
        searched.add(real)
        try:
            with os.scandir(path) as entries:
                inside = [(each.path, _is_folder(each)) for each in entries if _is_taken(each)]
        except OSError:
            if not keep_unlistable:
                raise
            yield path
            continue
        waiting += sorted(inside, reverse=True)


def walk_files(folder: Path) -> Iterator[Path]:
    """Find the files in a folder at any depth, in the order of their names; see walk_paths."""
    return map(Path, walk_paths(os.fspath(folder)))


def walk_photos(folder: Path) -> Iterator[Path]:
    """Find the photos in a folder, by extension; see walk_paths."""
    return (path for path in walk_files(folder) if is_photo(path.name))


def _is_taken(entry: os.DirEntry) -> bool:
    return not is_left_out(entry.name)


def _is_folder(entry: os.DirEntry) -> bool:
    """Tell what an entry is without asking the disk again, but for links."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
