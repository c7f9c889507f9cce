"""Class folders, and how their photos are split."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from models.photos import PHOTO_EXTENSIONS
from train.data.batches import DataError, Split, clean_class_name, folder_class, some_of


def index_photos(data: Path, limit: int | None = None) -> dict[str, list[str]]:
    """The training photos by class, sorted, found by extension; test/ is never opened.

    Args:
        data: Folder with train/ of class folders, or class folders themselves.
        limit: At most so many photos per class.

    Returns:
        Label -> paths relative to data, classes in the order of their folders.

    Raises:
        DataError: No folder, no photos, fewer than two classes, or two folders of one label.
    """
    if not data.is_dir():
        raise DataError(
            f"no data folder at {data}; give one with --data or LANDMARKS_DATA: "
            "one folder of photos per class, train/ and test/ of such folders, what train.prepare "
            "made of them, or a .csv file with the columns path,label,split"
        )
    root = data / "train" if (data / "train").is_dir() else data
    classes: dict[str, list[str]] = {}
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        if folder.name.startswith("."):
            continue
        label = clean_class_name(folder.name)
        if label in classes:
            raise DataError(f"two folders in {root} mean the class {label!r}; merge them")
        classes[label] = sorted(
            path.relative_to(data).as_posix()
            for path in folder.iterdir()
            if path.suffix.lower() in PHOTO_EXTENSIONS and not path.name.startswith(".")
        )[:limit]
        if not classes[label]:
            raise DataError(f"no photo in {folder}; add photos or remove the folder")
    if len(classes) < 2:
        raise DataError(
            f"{len(classes)} class folders in {root}; expected at least two, one per landmark"
        )
    return classes


def draw_order(label: str, count: int, seed: int) -> np.ndarray:
    """(count,) positions of a class's photos in the order that a split takes them.

    One generator per class: photos added to one class leave the others' split alone.
    """
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
    return np.random.default_rng((seed, key)).permutation(count)


def split_by_class(
    classes: dict[str, list[str]], root: Path, val_fraction: float, seed: int
) -> Split:
    """Hold out a part of each class for validation, at least one photo of each.

    Raises:
        DataError: If a class has fewer than two photos.
    """
    train: list[str] = []
    val: list[str] = []
    for label, paths in classes.items():
        if len(paths) < 2:
            raise DataError(
                f"class {label!r} has {len(paths)} usable photo(s); it needs at least two, "
                "one to train on and one to validate"
            )
        order = draw_order(label, len(paths), seed)
        count = max(1, round(val_fraction * len(paths)))
        val += sorted(paths[i] for i in order[:count])
        train += sorted(paths[i] for i in order[count:])
    return build_split(classes, root, train, val)


def keep_labels(split: Split, fraction: float, seed: int) -> Split:
    """The split with a part of each class's training photos, at least one; validation stays whole.

    Args:
        split: Any.
        fraction: Part in (0, 1]; a smaller part lies within a larger one.
        seed: Decides which photos.
    """
    if fraction == 1:
        return split
    labels = split.labels(split.train).tolist()
    train: list[str] = []
    for label, name in enumerate(split.class_names):
        paths = [path for path, each in zip(split.train, labels, strict=True) if each == label]
        order = draw_order(name, len(paths), seed)
        train += sorted(paths[i] for i in order[: max(1, round(fraction * len(paths)))])
    fingerprint = hashlib.sha256(json.dumps([split.fingerprint, train]).encode()).hexdigest()
    return dataclasses.replace(split, fingerprint=fingerprint, train=train)


def build_split(
    classes: dict[str, list[str]], root: Path, train: list[str], val: list[str]
) -> Split:
    """The split of labelled photos, with its fingerprint: classes is label -> paths."""
    label_of = {
        path: label
        for label, (name, paths) in enumerate(classes.items())
        for path in paths
        if folder_class(path) != name
    }
    content = [list(classes), train, val, *([label_of] if label_of else [])]
    fingerprint = hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
    return Split(fingerprint, str(root), list(classes), train, val, [], label_of)


def check_split(split: Split, source: Path) -> None:
    """Make sure that a split that was given, not drawn, can be trained on.

    Raises:
        DataError: Under two classes, a class without training photos, no validation photos, a
            photo in both parts, or one in the folder of no class.
    """
    trained = set(split.labels(split.train).tolist())
    split.labels(split.val)
    untrained = [name for label, name in enumerate(split.class_names) if label not in trained]
    both = sorted(set(split.train) & set(split.val))
    problems = {
        "has fewer than two classes; add photos of another landmark": len(split.class_names) < 2,
        f"has classes without a training photo: {some_of(untrained)}; add some": untrained,
        "has no validation photos; hold some of the training photos out": not split.val,
        f"has photos in both train and val: {some_of(both)}; keep each in one": both,
    }
    for problem, holds in problems.items():
        if holds:
            raise DataError(f"{source} {problem}")
