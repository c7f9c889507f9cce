"""Which photos train and which validate, and how that is drawn."""

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
from models.photos import PHOTO_EXTENSIONS
from train.data.folders import DataError, clean_class_name


@dataclass(frozen=True)
class Split:
    """Which photos train and which validate. Written into the run folder, reused on resume.

    Attributes:
        fingerprint: sha256 of the lists below, hex.
        root: The data folder; all paths are relative to it.
        class_names: K labels; a photo's label is its class folder's position here.
        train: Paths of the training photos.
        val: Paths of the validation photos.
        test: Empty here: training never opens test photos.
        label_of: Path -> label in [0, K) of photos whose folder is not their class (from a table).
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
        """(N,) int64 labels of paths: from label_of, else from their folders.

        Raises:
            DataError: If a photo's folder is none of the classes.
        """
        position = {name: label for label, name in enumerate(self.class_names)}
        labels = [self.label_of.get(path, position.get(folder_class(path))) for path in paths]
        if None in labels:
            path = paths[labels.index(None)]
            raise DataError(
                f"{path} lies in the folder of a class {folder_class(path)!r}, which is not among "
                f"the {len(position)} class names; add it there or leave the photo out"
            )
        return np.array(labels, np.int64)

    def summary(self) -> dict[str, int]:
        """How many of what."""
        return {
            "classes": len(self.class_names),
            "train_photos": len(self.train),
            "val_photos": len(self.val),
        }

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Split":
        """Read what save wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def folder_class(path: str) -> str:
    """The label that a photo's folder says."""
    return clean_class_name(PurePosixPath(path).parent.name)


def some_of(names: Sequence[str]) -> str:
    """How many, and up to three of them."""
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def check_photos(root: Path, paths: Sequence[str], sizes: dict[str, int], fix: str) -> None:
    """Make sure that photos are there, and as large as they were.

    Args:
        root: Their folder.
        paths: Relative to root.
        sizes: Path -> bytes, where they were recorded.
        fix: What to do about it; ends the message.

    Raises:
        DataError: Photos are missing or have another size.
    """
    missing, changed = [], []
    for path in paths:
        try:
            size = (root / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        else:
            if size != sizes.get(path, size):
                changed.append(path)
    found = {"missing": missing, "of another size than before": changed}
    told = [f"{what}: {some_of(names)}" for what, names in found.items() if names]
    if told:
        what = "; ".join(told)
        raise DataError(f"the {len(paths)} photos in {root} are not as listed; {what}. {fix}")


def hash_photos(root: Path, paths: Sequence[str], listing: Path) -> None:
    """Write the sha256 of each photo, one line a photo, as sha256sum does; kept if it is there."""
    if listing.is_file():
        return

    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, [root / path for path in paths])
        shown = tqdm(digests, "hashing photos", len(paths), unit="photo", leave=False)
        write_text(listing, "".join(f"{d}  {p}\n" for d, p in zip(shown, paths, strict=True)))


def classes_hash(class_names: Sequence[str]) -> str:
    """Short hash of an ordered class list: models that share it give comparable answers."""
    return hashlib.sha256(json.dumps(list(class_names)).encode()).hexdigest()[:16]


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
