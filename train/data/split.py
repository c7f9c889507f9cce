"""Decide which photos train and which validate, and record that.

Imports no torch: commands check --data before they load it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from models.files import file_digest, write_text
from train.data.folders import (
    PARTS,
    ClassFinder,
    DataError,
    check_data_folder,
    check_layout,
    clean_class_name,
    has_numbers,
    list_class_folders,
    part_folder,
)


@dataclass(frozen=True)
class Split:
    """Hold which photos train and which validate. Saved in the run folder, reused on resume.

    Attributes:
        fingerprint: sha256 of classes, lists and label_of, hex: equal splits, equal fingerprints.
        root: The data folder; all paths are relative to it.
        class_names: K names; their positions are the labels.
        train: Paths of the training photos.
        val: Paths of the validation photos.
        test: Empty: training never opens test photos.
        label_of: Path -> label in [0, K) of photos that do not lie directly in a folder of their
            class: those in subfolders, and those that a table labels otherwise.
        sizes: Path -> bytes, where train.prepare recorded them.
    """

    fingerprint: str
    root: str
    class_names: list[str]
    train: list[str]
    val: list[str]
    test: list[str]
    label_of: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def labels(self, paths: Sequence[str]) -> np.ndarray:
        """Return (N,) int64 labels of paths: from label_of, else from their folders.

        Raises:
            DataError: A photo's folder is none of the classes.
        """
        find = ClassFinder(self.class_names)
        labels = [
            self.label_of[path] if path in self.label_of else find(direct_folder(path))
            for path in paths
        ]
        if None in labels:
            path = paths[labels.index(None)]
            raise DataError(
                f"{path} lies in the folder of a class {clean_class_name(direct_folder(path))!r}, "
                f"which is not among the {len(self.class_names)} class names; add it there or "
                "leave the photo out"
            )
        return np.array(labels, np.int64)

    def summary(self) -> dict[str, int]:
        """Return the numbers of classes and photos, for the W&B config."""
        return {
            "classes": len(self.class_names),
            "train_photos": len(self.train),
            "val_photos": len(self.val),
        }

    def save(self, path: Path) -> None:
        """Write the split as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Split":
        """Read what save wrote, in this or an earlier version."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def direct_folder(path: str) -> str:
    """Return the name of the folder directly around a photo.

    That does not tell the class of a photo in a subfolder; build_split records those in label_of.
    """
    return PurePosixPath(path).parent.name


def some_of(names: Sequence[str]) -> str:
    """Return how many names there are, and up to three of them: "4 (a, b, c, ...)"."""
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def check_photos(root: Path, paths: Sequence[str], sizes: dict[str, int], fix: str) -> None:
    """Check that photos exist and have the sizes recorded earlier.

    Args:
        root: The data folder.
        paths: Relative to root.
        sizes: Path -> bytes; photos without an entry may have any size.
        fix: What the user can do, to end the message with.

    Raises:
        DataError: Photos are missing or have another size.
    """
    missing, changed = [], []
    for path in paths:
        try:
            size = (root / path).stat().st_size  # hashing instead would read the complete data set
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        else:
            if size != sizes.get(path, size):
                changed.append(path)
    found = {"missing": missing, "of another size than before": changed}
    problems = [f"{what}: {some_of(names)}" for what, names in found.items() if names]
    if problems:
        what = "; ".join(problems)
        raise DataError(f"the {len(paths)} photos in {root} are not as listed; {what}. {fix}")


def hash_photos(root: Path, paths: Sequence[str], listing: Path) -> None:
    """Write the sha256 of each photo in the format of sha256sum.

    Args:
        root: The data folder.
        paths: Relative to root.
        listing: The file to write. An existing one is kept: a resumed run has the same photos.
    """
    if listing.is_file():
        return
    with ThreadPoolExecutor() as pool:  # threads do: hashing and reading release the GIL
        digests = pool.map(file_digest, [root / path for path in paths])
        shown = tqdm(digests, "hashing photos", len(paths), unit="photo", leave=False)
        write_text(listing, "".join(f"{d}  {p}\n" for d, p in zip(shown, paths, strict=True)))


def classes_hash(class_names: Sequence[str]) -> str:
    """Return a short hash of an ordered class list; models that share it are comparable."""
    return hashlib.sha256(json.dumps(list(class_names)).encode()).hexdigest()[:16]


def index_photos(data: Path, limit: int | None = None) -> dict[str, list[str]]:
    """Find the training photos of each class, by extension and at any depth; never opens test/.

    Args:
        data: Folder with train/ of class folders, or class folders themselves.
        limit: Use at most this many photos per class.

    Returns:
        Label -> paths relative to data, sorted; classes in the order of their folders.

    Raises:
        DataError: No folder, no photos, fewer than two classes, or two folders of one label.
    """
    check_data_folder(data)
    root = part_folder(data, "train")
    check_layout(root)
    classes: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for folder in list_class_folders(root):
        if folder.label in classes:
            # Escaped: in two forms of Unicode they look the same.
            two = f"{names[folder.label]!a} and {folder.path.name!a}"
            raise DataError(
                f"two folders in {root} mean the class {folder.label!r}: {two}; merge them"
            )
        names[folder.label] = folder.path.name
        # Without train/, a test/ beside class folders would be trained on, as a class "test".
        if root == data and folder.path.name in PARTS:
            raise DataError(
                f"{folder.path} lies beside class folders; move those into {data / 'train'}, or "
                f"rename {folder.path.name} if it is a class"
            )
        if not folder.photos:
            raise DataError(f"no photo in {folder.path}; add photos or remove the folder")
        paths = [photo.relative_to(data).as_posix() for photo in folder.photos]
        classes[folder.label] = paths[:limit]
    if len(classes) < 2:
        raise DataError(
            f"{len(classes)} class folders in {root}; expected at least two, one per landmark"
        )
    return classes


def index_validation(
    data: Path, class_names: Sequence[str], limit: int | None = None
) -> dict[str, list[str]]:
    """Find the validation photos in val/ beside train/, if there are any.

    Args:
        data: Folder with train/ and perhaps val/ of class folders.
        class_names: The classes of train/.
        limit: Use at most this many photos per class.

    Returns:
        Label -> paths relative to data, sorted; empty without photos in val/.

    Raises:
        DataError: A folder in val/ is no class of train/, or photos lie loose in val/.
    """
    root = data / "val"
    if not ((data / "train").is_dir() and root.is_dir()):
        return {}
    check_layout(root)
    find = ClassFinder(class_names)
    found: dict[str, list[str]] = {}
    for folder in list_class_folders(root, has_numbers(data / "train")):
        if not folder.photos:
            continue
        label = find.label_of(folder)
        if label is None:
            raise DataError(
                f"{folder.path} is no class of {data / 'train'}; add photos of it there, or take "
                "the folder out"
            )
        paths = [photo.relative_to(data).as_posix() for photo in folder.photos]
        found[class_names[label]] = (found.get(class_names[label], []) + paths)[:limit]
    return found


def draw_order(label: str, count: int, seed: int) -> np.ndarray:
    """Return (count,) int64 positions of a class's photos in random order.

    Each class has its own generator, so photos added to one class do not change the split of the
    others.
    """
    # Not hash(): Python salts it per process.
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
    return np.random.default_rng((seed, key)).permutation(count)


def split_by_class(
    classes: dict[str, list[str]], root: Path, val_fraction: float, seed: int
) -> Split:
    """Hold out a part of each class for validation, at least one photo of each.

    Args:
        classes: Label -> paths relative to root.
        root: The data folder.
        val_fraction: Part of each class to hold out, in (0, 1).
        seed: Seed of the draw.

    Raises:
        DataError: A class has fewer than two photos.
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
        # A class without validation photos would be missing from the measured accuracy.
        count = max(1, round(val_fraction * len(paths)))
        val += sorted(paths[i] for i in order[:count])
        train += sorted(paths[i] for i in order[count:])
    return build_split(classes, root, train, val)


def keep_labels(split: Split, fraction: float, seed: int) -> Split:
    """Keep a part of each class's training photos, at least one, and all validation photos.

    Args:
        split: The full split.
        fraction: Part in (0, 1]. With one seed, a smaller part is a subset of a larger one.
        seed: Seed of the draw.
    """
    if fraction == 1:
        return split
    labels = split.labels(split.train).tolist()
    train: list[str] = []
    for label, name in enumerate(split.class_names):
        paths = [path for path, each in zip(split.train, labels, strict=True) if each == label]
        order = draw_order(name, len(paths), seed)
        train += sorted(paths[i] for i in order[: max(1, round(fraction * len(paths)))])
    # Another fingerprint though validation is the same: such runs must not compete for "best".
    fingerprint = hashlib.sha256(json.dumps([split.fingerprint, train]).encode()).hexdigest()
    return dataclasses.replace(split, fingerprint=fingerprint, train=train)


def build_split(
    classes: dict[str, list[str]], root: Path, train: list[str], val: list[str]
) -> Split:
    """Build a split from labelled photos, with its fingerprint.

    Args:
        classes: Label -> paths, of train and val together.
        root: The data folder.
        train: Paths of the training photos.
        val: Paths of the validation photos.
    """
    find = ClassFinder(list(classes))
    label_of = {
        path: label
        for label, paths in enumerate(classes.values())
        for path in paths
        if find(direct_folder(path)) != label
    }
    # An empty label_of is left out, so that flat folders keep the fingerprints of earlier versions.
    content = [list(classes), train, val, *([label_of] if label_of else [])]
    fingerprint = hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
    return Split(fingerprint, str(root), list(classes), train, val, [], label_of)


def check_split(split: Split, source: Path) -> None:
    """Check that a split given by the user (not drawn here) can be trained on.

    Args:
        split: What a table or a splits.json says.
        source: That file, to begin the message with.

    Raises:
        DataError: Fewer than two classes, a class without training photos, no validation photos,
            a photo in both parts, or a photo whose folder is none of the classes.
    """
    trained = set(split.labels(split.train).tolist())
    split.labels(split.val)  # raises where a photo has no class
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
