"""List photos by name, one after the other: folders, files, patterns, and lists of them."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from models.photos.folder_walk import is_left_out, is_photo, walk_paths
from models.photos.raw import is_raw


class PhotosNotFound(ValueError):
    """A name on the command line that matches nothing; the message says which."""


def find_photos(names: Iterable[str]) -> Iterator[str]:
    """Find the paths of photos, in the order of the names; folders in the order of their entries.

    Folders are searched to any depth for files with the extension of a photo, RAW too, without
    hidden and system entries (models.photos.folder_walk); a folder that links lead to again is
    searched once. What is named is taken: a file whatever its extension, a hidden folder, a line
    of a list even if nothing is there. A folder that cannot be listed is yielded itself, for its
    reader to say so. Memory holds only the entries of the folders on the way down.

    Args:
        names: Folders, files, patterns (``*``, ``?``, ``[a-z]``, ``**`` for any depth), ``@FILE``
            for a list of folders and files, one a line, ``-`` for a list on the standard input.
    """
    searched: set[str] = set()
    for name in names:
        # First, since a file may be called [1].jpg, -.jpg or @x.jpg.
        if os.path.lexists(name):
            yield from _search(name, searched)
        elif name == "-":
            yield from _search_list(sys.stdin.buffer, searched)
        elif name.startswith("@"):
            with open(name[1:], "rb") as file:
                yield from _search_list(file, searched)
        else:
            for match in sorted(_matches(name)):
                if os.path.isdir(match) or _is_taken(match):
                    yield from _search(match, searched)


def check_names(names: Iterable[str]) -> None:
    """Fail early where a name was mistyped.

    Raises:
        PhotosNotFound: No such file, folder or list, or a pattern that matches nothing.
    """
    for name in names:
        if os.path.lexists(name) or name == "-":
            continue
        if name.startswith("@"):
            if not os.path.isfile(name[1:]):
                raise PhotosNotFound(f"no list at {name[1:]}")
        elif next(_matches(name), None) is None:
            raise PhotosNotFound(f"no photo or folder at {name}")


def _search_list(file: BinaryIO, searched: set[str]) -> Iterator[str]:
    """Find the photos of a list; names that are not UTF-8 are kept as they are."""
    for line in file:
        # Windows editors put a mark before the first line and \r before each \n.
        name = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"))
        if name:
            yield from _search(name, searched)


def _search(name: str, searched: set[str]) -> Iterator[str]:
    """Yield one file, or the photos in a folder."""
    if not os.path.isdir(name):
        yield name
        return
    for path in walk_paths(name, searched, keep_unlistable=True):
        if _is_taken(path) or os.path.isdir(path):  # a folder here is one that cannot be listed
            yield path


def _is_taken(path: str) -> bool:
    return is_photo(path) or is_raw(path)


def _matches(pattern: str) -> Iterator[str]:
    """Find what a pattern matches; links to folders are not followed.

    Hidden and system entries are left out, unless the pattern spells them out.
    """
    path = Path(pattern)
    root = Path(path.anchor) if path.anchor else Path()
    try:
        for match in root.glob(str(path.relative_to(path.anchor))):
            if not any(is_left_out(part) and part not in path.parts for part in match.parts):
                yield str(match)
    except (ValueError, NotImplementedError, OSError) as error:
        raise PhotosNotFound(f"{pattern} is not a valid pattern: {error}") from error
