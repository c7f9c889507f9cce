"""List the class folders of a data set: the one walk that every command shares.

A data folder holds train/ (and val/, test/) of class folders, or class folders themselves. A
class folder's photos may lie in subfolders of any depth. Hidden and system entries are left out.
"""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.photos.folder_walk import is_left_out, is_photo, walk_files, walk_photos

PARTS = ("train", "val", "test")


class DataError(ValueError):
    """A data set that cannot be used; the message names the fix."""


@dataclass(frozen=True)
class ClassFolder:
    """A class folder and what lies in it, at any depth.

    Attributes:
        path: The folder.
        label: Its cleaned name.
        photos: Files with a photo's extension, sorted.
        others: All other files, sorted.
    """

    path: Path
    label: str
    photos: list[Path]
    others: list[Path]


def part_folder(data: Path, part: str) -> Path:
    """Return DATA/part (train, val or test) where it exists, else DATA itself."""
    return data / part if (data / part).is_dir() else data


def list_class_folders(root: Path) -> list[ClassFolder]:
    """List the class folders directly in a folder, in the order of their names.

    Args:
        root: The parent of the class folders, such as DATA/train; see part_folder.

    Returns:
        One entry per folder, also where it has no photos, and where two have the same label.

    Raises:
        DataError: A class folder holds photos in train/, val/ or test/.
        OSError: A folder cannot be listed.
    """
    return [_list_class_folder(root, path) for path in _list_entries(root) if path.is_dir()]


def list_loose_files(root: Path) -> list[Path]:
    """List the files that lie beside class folders, sorted."""
    return [path for path in _list_entries(root) if not path.is_dir()]


def list_photos(folder: Path) -> list[Path]:
    """List the photos in a folder at any depth, whatever their classes, sorted by path."""
    return list(walk_photos(folder))


def clean_class_name(folder: str) -> str:
    """Return the label of a class folder: "09.Golden_Gate_Bridge" -> "Golden Gate Bridge"."""
    return re.sub(r"^\d+\.\s*", "", folder).replace("_", " ").strip() or folder


def path_from_class(path: str) -> PurePosixPath:
    """Return a photo's path from its class folder on: train/A/2019/1.jpg -> A/2019/1.jpg.

    Args:
        path: Relative to a data folder, as training and train.prepare record it.
    """
    parts = PurePosixPath(path).parts
    return PurePosixPath(*parts[1:] if len(parts) > 2 and parts[0] in PARTS else parts)


def class_folder_name(path: str) -> str:
    """Return the name of the class folder in a path relative to a data folder; "" if none."""
    parts = path_from_class(path).parts
    return parts[0] if len(parts) > 1 else ""


def _list_entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_left_out(path.name))


def _list_class_folder(root: Path, path: Path) -> ClassFolder:
    photos: list[Path] = []
    others: list[Path] = []
    real_root, real_path = os.path.realpath(root), os.path.realpath(path)

    # A link to another class folder, or back to the root, must not give photos a second label.
    @functools.cache
    def is_own(folder: Path) -> bool:
        real = os.path.realpath(folder)
        if _is_within(real, real_path):
            return True
        return not _is_within(real, real_root) and is_own(folder.parent)

    for file in walk_files(path):
        if not is_own(file.parent):
            continue
        if not is_photo(file.name):
            others.append(file)
            continue
        # Photos of a test/ at this depth would silently become training photos.
        if parts := [name for name in file.relative_to(path).parts[:-1] if name in PARTS]:
            raise DataError(
                f"{path} should be one class, but has a folder named {parts[0]}; expected train/, "
                "val/ and test/ at the top of --data and class folders in them: give another "
                "folder, or rename that one"
            )
        photos.append(file)
    return ClassFolder(path, clean_class_name(path.name), photos, others)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))
