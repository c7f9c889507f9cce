"""List the class folders of a data set: the one walk that every command shares.

A data folder holds train/ (and val/, test/) of class folders, or class folders themselves. A
class folder's photos may lie in subfolders of any depth. Hidden and system entries are left out,
and so is none_of_them, whose photos show no landmark.
"""

import functools
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.photos.folder_walk import (
    OUTSIDE_FOLDER,
    is_left_out,
    is_photo,
    walk_files,
    walk_photos,
)

PARTS = ("train", "val", "test")
NUMBER = re.compile(r"^\d+\.\s*")


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


def check_data_folder(data: Path) -> None:
    """Refuse a data folder that is not there.

    Raises:
        DataError: Says where photos come from.
    """
    if not data.is_dir():
        raise DataError(
            f"no data folder at {data}; get photos with python -m train.download, or name a folder "
            "with --data or LANDMARKS_DATA: one folder of photos per class, train/ and test/ of "
            "such folders, what train.prepare made of them, or a .csv file with the columns "
            "path,label,split"
        )


def check_layout(root: Path) -> None:
    """Refuse photos that lie loose where class folders are expected, with no such folder.

    Raises:
        DataError: Says how to lay them out.
    """
    loose = [path for path in list_loose_files(root) if is_photo(path.name)]
    if loose and not any(path.is_dir() for path in _list_entries(root)):
        example = root / "Red_Tower" / loose[0].name
        raise DataError(
            f"0 class folders in {root}, but {len(loose)} photos: move the photos of each landmark "
            f"into a folder of its own, named after it, such as {example}"
        )


def list_class_folders(root: Path, numbered: bool | None = None) -> list[ClassFolder]:
    """List the class folders directly in a folder, in the order of their names.

    Args:
        root: The parent of the class folders, such as DATA/train; see part_folder.
        numbered: Whether the numbers before their names are dropped; None: see are_numbered. Of
            val/ and test/, say what train/ does.

    Returns:
        One entry per folder, also where it has no photos, and where two have the same label.

    Raises:
        DataError: A class folder holds photos in train/, val/ or test/.
        OSError: A folder cannot be listed.
    """
    numbered = has_numbers(root) if numbered is None else numbered
    folders = [path for path in _list_entries(root) if path.is_dir()]
    return [_list_class_folder(root, path, numbered) for path in folders]


def has_numbers(root: Path) -> bool:
    """Tell whether are_numbered holds for the class folders in a folder that have photos."""
    folders = [path for path in _list_entries(root) if path.is_dir()]
    return are_numbered([path.name for path in folders if any(True for _ in walk_photos(path))])


def list_loose_files(root: Path) -> list[Path]:
    """List the files that lie beside class folders, sorted."""
    return [path for path in _list_entries(root) if not path.is_dir()]


def list_photos(folder: Path) -> list[Path]:
    """List the photos in a folder at any depth, whatever their classes, sorted by path."""
    return list(walk_photos(folder))


def are_numbered(folders: Iterable[str]) -> bool:
    """Tell whether the names of a data set's class folders all begin with a number and a dot.

    Else a number belongs to its name: "3.14_Monument", "9.11_Memorial". True of no names.
    """
    ends = [NUMBER.sub("", folder) if NUMBER.match(folder) else None for folder in folders]
    # Where a digit follows in all of them, the numbers are decimals.
    return None not in ends and not (ends and all(end[:1].isdigit() for end in ends))


def clean_class_name(folder: str, numbered: bool = True) -> str:
    """Return the label of a class folder: "09.Golden_Gate_Bridge" -> "Golden Gate Bridge".

    In Unicode's composed form (NFC): macOS and NAS boxes write "é" as two characters, others as
    one, and both mean the same class.

    Args:
        folder: Its name.
        numbered: Whether to drop a number before it; see are_numbered.
    """
    name = NUMBER.sub("", folder) if numbered else folder
    return unicodedata.normalize("NFC", name.replace("_", " ").strip() or folder)


class ClassFinder:
    """Find which of the known classes a folder's name means, also by the rules of earlier versions.

    Args:
        class_names: K names, in the order of the labels.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        """Index the names as they are, and composed."""
        self.class_names = class_names
        self.labels = {name: label for label, name in enumerate(class_names)}
        for label, name in enumerate(class_names):
            self.labels.setdefault(unicodedata.normalize("NFC", name), label)
        self.found: dict[str, int | None] = {}

    def __call__(self, folder: str) -> int | None:
        """Return the label in [0, K), None if the folder is no class."""
        if folder not in self.found:
            bare = NUMBER.sub("", folder)
            # Earlier versions dropped every number, and composed nothing.
            earlier = [name.replace("_", " ").strip() or folder for name in (folder, bare)]
            names = [*earlier, clean_class_name(folder, False), clean_class_name(folder)]
            self.found[folder] = next((self.labels[n] for n in names if n in self.labels), None)
        return self.found[folder]

    def label_of(self, folder: ClassFolder) -> int | None:
        """Return the label of a listed folder: by the rule of its data set, else by its name."""
        # "01.A" is A beside "02.B", even where another class is called "01.A".
        label = self.labels.get(folder.label)
        return self(folder.path.name) if label is None else label


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
    entries = (path for path in folder.iterdir() if not is_left_out(path.name))
    return sorted(path for path in entries if path.name != OUTSIDE_FOLDER)


def _list_class_folder(root: Path, path: Path, numbered: bool) -> ClassFolder:
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
    return ClassFolder(path, clean_class_name(path.name, numbered), photos, others)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))
