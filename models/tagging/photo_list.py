"""Photos by name, one after the other: folders, files, patterns, and lists of them."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from models.photos import PHOTO_EXTENSIONS


class NamedNothing(ValueError):
    """A name on the command line that stands for nothing; the message says which."""


def find_photos(names: Iterable[str]) -> Iterator[str]:
    """Paths of photos, in the order of the names; folders in the order of their entries.

    Folders are searched to any depth for files with a photo's extension; what is hidden is left
    out, and a folder that links lead to again is searched once. A file that is named is given
    whatever its extension, and a line of a list whether it exists or not. A folder that cannot be
    listed is given itself, for its reader to say so. Nothing but the entries of the folders on
    the way down is held in memory.

    Args:
        names: Folders, files, patterns (``*``, ``?``, ``[a-z]``, ``**`` for any depth), ``@FILE``
            for a list of folders and files, one a line, ``-`` for a list on the standard input.
    """
    searched: set[str] = set()
    for name in names:
        if os.path.lexists(name):
            yield from _search(name, searched)
        elif name == "-":
            yield from _search_list(sys.stdin.buffer, searched)
        elif name.startswith("@"):
            with open(name[1:], "rb") as file:
                yield from _search_list(file, searched)
        else:
            for match in sorted(_matches(name)):
                if os.path.isdir(match) or is_photo(match):
                    yield from _search(match, searched)


def check_names(names: Iterable[str]) -> None:
    """Fail early where a name was mistyped.

    Raises:
        NamedNothing: No such file, folder or list, or a pattern that nothing matches.
    """
    for name in names:
        if os.path.lexists(name) or name == "-":
            continue
        if name.startswith("@"):
            if not os.path.isfile(name[1:]):
                raise NamedNothing(f"no list at {name[1:]}")
        elif next(_matches(name), None) is None:
            raise NamedNothing(f"no photo or folder at {name}")


def is_photo(path: str) -> bool:
    """Whether its extension is a photo's."""
    return os.path.splitext(path)[1].lower() in PHOTO_EXTENSIONS


def _search_list(file: BinaryIO, searched: set[str]) -> Iterator[str]:
    """The photos of a list; names that are not UTF-8 are kept as they are."""
    for line in file:
        name = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"))
        if name:
            yield from _search(name, searched)


def _search(name: str, searched: set[str]) -> Iterator[str]:
    """One file, or the photos in a folder."""
    waiting = [(name, os.path.isdir(name))]  # a stack: no depth of folders is too deep
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        real = os.path.realpath(path)
        if real in searched:
            continue
        searched.add(real)
        try:
            with os.scandir(path) as entries:
                inside = [
                    (
                        entry.path,
                        os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(),
                    )
                    for entry in entries
                    if not entry.name.startswith(".")
                ]
        except OSError:
            yield path
            continue
        waiting += sorted((each for each in inside if each[1] or is_photo(each[0])), reverse=True)


def _matches(pattern: str) -> Iterator[str]:
    """What a pattern stands for, hidden things left out; links to folders are not followed."""
    path = Path(pattern)
    root = Path(path.anchor) if path.anchor else Path()
    try:
        for match in root.glob(str(path.relative_to(path.anchor))):
            if not any(part.startswith(".") and part != ".." for part in match.parts):
                yield str(match)
    except (ValueError, NotImplementedError, OSError) as error:
        raise NamedNothing(f"{pattern} is no pattern: {error}") from error
