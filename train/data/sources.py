"""Open what --data names: class folders, a CSV table, or the splits.json of train.prepare.

Imports no torch: commands check --data before they load it.
"""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from train.config import TrainConfig
from train.data.folders import (
    PARTS,
    ClassFinder,
    DataError,
    are_numbered,
    class_folder_name,
    clean_class_name,
)
from train.data.split import (
    Split,
    build_split,
    check_photos,
    check_split,
    direct_folder,
    index_photos,
    index_validation,
    some_of,
    split_by_class,
)

MANIFEST = "splits.json"
COLUMNS = ("path", "label", "split")
AGAIN = "run python -m train.prepare again"


@dataclass(frozen=True)
class Source:
    """Hold the labelled photos that --data names, and as much of their split as it fixes.

    Attributes:
        name: The value of --data, for messages.
        root: The folder that all paths are relative to.
        classes: Class name -> paths, in the order of the labels 0, 1, ...
        val: The validation photos, where a table or a val/ beside train/ names them.
        prepared: The complete split, where train.prepare made it.
    """

    name: Path
    root: Path
    classes: dict[str, list[str]]
    val: frozenset[str] = frozenset()
    prepared: Split | None = None

    def paths(self) -> list[str]:
        """Return all photos, class by class."""
        return [path for paths in self.classes.values() for path in paths]

    def split(self, left_out: Iterable[str], val_fraction: float, seed: int) -> Split:
        """Return the split that the source fixes, else draw one per class.

        Args:
            left_out: Photos that cannot be read.
            val_fraction: Part of each class to hold out, if a split is drawn.
            seed: Seed of that draw.

        Raises:
            DataError: A class has too few photos, or a photo of a prepared split cannot be read.
        """
        left_out = set(left_out)
        if self.prepared is not None:
            if left_out:
                raise DataError(
                    f"photos of {self.name} have changed and cannot be read: "
                    f"{some_of(sorted(left_out))}. Put them back, or {AGAIN}"
                )
            return self.prepared
        classes = {
            label: [path for path in paths if path not in left_out]
            for label, paths in self.classes.items()
        }
        if not self.val:
            return split_by_class(classes, self.root, val_fraction, seed)
        train, val = (
            [path for paths in classes.values() for path in paths if (path in self.val) == held]
            for held in (False, True)
        )
        split = build_split(classes, self.root, train, val)
        check_split(split, self.name)
        return split


def open_source(config: TrainConfig) -> Source:
    """Find the photos that --data names.

    Args:
        config: data, limit, and the flags that a split made elsewhere forbids to change.

    Raises:
        DataError: There are no photos, they differ from the listed ones, or a flag contradicts a
            given split.
    """
    data = config.data
    if (data / MANIFEST).is_file():
        source = read_manifest(data / MANIFEST)
    elif data.is_file():
        source = read_table(data, config.limit)
    else:
        source = read_folders(data, config.limit)
    if source.prepared or source.val:
        fixed = ["val_fraction", "split_seed"]
        if source.name != data or data.is_file():  # of folders, it counts for either part
            fixed.append("limit")
        for field in fixed:
            if getattr(config, field) != getattr(TrainConfig, field):
                flag = "--" + field.replace("_", "-")
                raise DataError(
                    f"{source.name} says which photos train and which validate, and {flag} would "
                    f"change that; leave {flag} out, or give --data the folder of the photos"
                )
    return source


def read_folders(data: Path, limit: int | None = None) -> Source:
    """Read the photos of class folders; val/ beside train/ says which ones validate.

    Args:
        data: Folder with train/ (and val/, test/) of class folders, or of class folders.
        limit: Use at most this many photos per class, in each part.

    Raises:
        DataError: See index_photos and index_validation.
    """
    classes = index_photos(data, limit)
    held = index_validation(data, list(classes), limit)
    classes = {label: paths + held.get(label, []) for label, paths in classes.items()}
    val = frozenset(path for paths in held.values() for path in paths)
    return Source(data, data.resolve(), classes, val)


def read_manifest(path: Path) -> Source:
    """Read the split of a splits.json; its test photos are never opened.

    Args:
        path: The splits.json, which may also come from an earlier version.

    Raises:
        DataError: The file is not as train.prepare writes it, or the photos have changed since.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fingerprint, root = str(content["fingerprint"]), Path(content["root"])
        train, val, test = (list(content[part]) for part in PARTS)
        folders = {class_folder_name(photo) for photo in train + val + test}
        names = list(content.get("class_names") or map(clean_class_name, sorted(folders)))
        labels = dict(content.get("labels", {}))  # of several data folders, see write_split
        recorded = {photo: each["bytes"] for photo, each in content.get("hashes", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not as train.prepare writes it ({error!r}); {AGAIN}") from error
    names = list(dict.fromkeys(names))
    sizes = {photo: recorded[photo] for photo in train + val if photo in recorded}
    check_photos(root, train + val, sizes, f"Put them back, or {AGAIN}")
    find = ClassFinder(names)
    label_of = {
        photo: label
        for photo in train + val
        if (label := find(labels.get(photo) or class_folder_name(photo))) is not None
        and label != find(direct_folder(photo))  # it lies in a subfolder of its class
    }
    split = Split(fingerprint, str(root), names, train, val, [], label_of, sizes)
    check_split(split, path)
    classes: dict[str, list[str]] = {name: [] for name in names}
    for photo, label in zip(train + val, split.labels(train + val).tolist(), strict=True):
        classes[names[label]].append(photo)
    return Source(path, root, classes, prepared=split)


def read_table(table: Path, limit: int | None = None) -> Source:
    """Read the photos of a CSV file with the columns path, label and split (train, val or test).

    Paths are absolute or relative to the file's folder. Test photos are never opened. Without
    validation photos the split is drawn as for folders.

    Args:
        table: UTF-8, separated by commas.
        limit: Use at most this many photos per class; ignored if the table names validation
            photos.

    Raises:
        DataError: The file is no such table, it names a photo twice, or photos are missing.
    """
    photos = {
        photo: (label, part)
        for photo, (label, part) in sorted(_read_rows(table).items())
        if part != "test"
    }
    root = table.resolve().parent
    if not all(photo.is_relative_to(root) for photo in photos):
        root = Path(os.path.commonpath([photo.parent for photo in photos]))
    # In the order of the labels as written ("00.Red_Tower"), as with class folders.
    labels = sorted({label for label, _ in photos.values()})
    numbered = are_numbered(labels)
    name_of = {label: clean_class_name(label, numbered) for label in labels}
    classes: dict[str, list[str]] = {name_of[label]: [] for label in labels}
    val = set()
    for photo, (label, part) in photos.items():
        path = photo.relative_to(root).as_posix()
        classes[name_of[label]].append(path)
        if part == "val":
            val.add(path)
    if len(classes) < 2:
        raise DataError(f"{len(classes)} classes in {table}; expected two or more to train on")
    if not val:
        classes = {label: paths[:limit] for label, paths in classes.items()}
    source = Source(table, root, classes, frozenset(val))
    check_photos(root, source.paths(), {}, f"Put them there, or correct {table}")
    return source


def _read_rows(table: Path) -> dict[Path, tuple[str, str]]:
    """Return absolute path -> (label as written, split) of every line."""
    columns = ",".join(COLUMNS)
    if table.suffix.lower() != ".csv":
        raise DataError(
            f"{table} is neither a folder nor a .csv file; give --data a folder of photos, one of "
            f"train.prepare, or a .csv file with the columns {columns}"
        )
    rows: dict[Path, tuple[str, str]] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # Excel writes a BOM
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or []):
                raise DataError(
                    f"the first line of {table} must be {columns}; it is "
                    f"{','.join(reader.fieldnames or [])!r}"
                )
            for row in reader:
                path, label, part = ((row[column] or "").strip() for column in COLUMNS)
                where = f"line {reader.line_num} of {table}"
                if not path or not label or part not in PARTS:
                    raise DataError(
                        f"{where} must have a path, a label, and train, val or test as split; it "
                        f"has {path!r}, {label!r}, {part!r}"
                    )
                # Not resolve(): a photo may be a link, whose own name is what is recorded.
                photo = Path(os.path.abspath(table.resolve().parent / path))
                if photo in rows:
                    raise DataError(f"{where} names {path} again; keep one line per photo")
                rows[photo] = label, part
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error}); save it as CSV in UTF-8") from error
    return rows
