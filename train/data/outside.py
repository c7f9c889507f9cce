"""Find photos of none of the landmarks, by kind: half A to learn from, half B to measure on."""

import os
from collections.abc import Sequence
from pathlib import Path

from models.photos.folder_walk import is_left_out, is_photo
from train.data.folders import DataError, list_photos


def find_outside(folders: Sequence[Path], half: str) -> dict[str, list[Path]]:
    """Find one half of the photos of other things, by kind.

    Each folder is a kind of other photos; a single folder that holds folders and no loose photos is
    a folder of kinds. A kind that consists of folders is dealt folder by folder: whole places lie
    in one half, so what learned a place is not measured on it. Other kinds are dealt photo by
    photo.

    Hidden and system entries are left out before anything is dealt, since one of them more or less
    would move later photos to the other half, and figures would come from photos that taught the
    score.

    Args:
        folders: What --outside names, at least one.
        half: "A" is every other photo or folder in the order of their paths, from the first; "B"
            the rest.

    Returns:
        Kind -> its photos, sorted by path; kinds without a photo in this half are left out.

    Raises:
        DataError: There is no such folder, or no photo in it.
    """
    kinds = {}
    for folder in list_kinds(folders):
        # Kinds of the same name in different folders are told apart by their paths.
        name = folder.name if folder.name not in kinds else folder.as_posix()
        kinds[name] = _deal(folder)["AB".index(half)]
    return {name: photos for name, photos in kinds.items() if photos}


def list_kinds(folders: Sequence[Path]) -> list[Path]:
    """List the folders that are a kind of other photos each; see find_outside.

    Raises:
        DataError: There is no such folder, or no photo in it.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder of outside photos at {folder}")
        if not list_photos(folder):
            raise DataError(f"no photos in {folder}; expected photos of none of the landmarks")
    if len(folders) > 1:
        return list(folders)
    return _subfolders(folders[0]) or list(folders)


def outside_root(folders: Sequence[Path]) -> Path:
    """Return the folder that all outside photos lie in."""
    return Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))


def _deal(kind: Path) -> tuple[list[Path], list[Path]]:
    """Deal the photos of a kind to the halves A and B."""
    parts = _subfolders(kind)
    if len(parts) < 2:
        photos = list_photos(kind)
        return photos[0::2], photos[1::2]
    halves = (parts[0::2], parts[1::2])
    first, second = ([photo for part in half for photo in list_photos(part)] for half in halves)
    return first, second


def _subfolders(folder: Path) -> list[Path]:
    """List the folders with photos in a folder, sorted; none if photos lie loose beside them."""
    entries = sorted(path for path in folder.iterdir() if not is_left_out(path.name))
    if any(is_photo(path.name) and path.is_file() for path in entries):
        return []
    return [path for path in entries if path.is_dir() and list_photos(path)]
