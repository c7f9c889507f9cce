"""Class folders -> photos and labels -> a split -> batches."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from models.photos import PHOTO_EXTENSIONS
from train.cache import PhotoCache
from train.checkpoint import write_text
from train.transforms import PhotoTransform


class DataError(ValueError):
    """A data set that cannot be trained on; the message names the fix."""


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
    """

    fingerprint: str
    root: str
    class_names: list[str]
    train: list[str]
    val: list[str]
    test: list[str]

    def labels(self, paths: Sequence[str]) -> np.ndarray:
        """(N,) int64 labels of paths, from their folders."""
        position = {name: label for label, name in enumerate(self.class_names)}
        return np.array([position[clean_class_name(Path(path).parent.name)] for path in paths])

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


def clean_class_name(folder: str) -> str:
    """The label of a class folder: "09.Golden_Gate_Bridge" -> "Golden Gate Bridge"."""
    return re.sub(r"^\d+\.\s*", "", folder).replace("_", " ").strip() or folder


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
            "one folder of photos per class, or train/ and test/ of such folders"
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
        # One generator per class: photos added to one class leave the others' split alone.
        key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
        order = np.random.default_rng((seed, key)).permutation(len(paths))
        count = max(1, round(val_fraction * len(paths)))
        val += sorted(paths[i] for i in order[:count])
        train += sorted(paths[i] for i in order[count:])
    content = json.dumps([list(classes), train, val], ensure_ascii=False)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    return Split(fingerprint, str(root), list(classes), train, val, [])


def hash_photos(root: Path, paths: Sequence[str], listing: Path) -> None:
    """Write the sha256 of each photo, one line a photo, as sha256sum does; kept if it is there."""
    if listing.is_file():
        return

    def digest(path: str) -> str:
        with (root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest, paths)
        shown = tqdm(digests, "hashing photos", len(paths), unit="photo", leave=False)
        write_text(listing, "".join(f"{d}  {p}\n" for d, p in zip(shown, paths, strict=True)))


class PhotoDataset(Dataset):
    """Decoded photos, transformed. Indexed by (epoch, photo), so that a draw needs no state.

    Items are {"images": (3, S, S) float32, "labels": int, "photos": int}.
    """

    def __init__(
        self, cache: PhotoCache, labels: np.ndarray, transform: PhotoTransform, seed: int
    ) -> None:
        """Hold the parts; labels is (N,) int64 in the order of the cache."""
        self.cache, self.labels, self.transform, self.seed = cache, labels, transform, seed

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | int]:
        """Photo key[1] under the augmentation draw of epoch key[0]."""
        epoch, photo = key
        image = self.transform(self.cache[photo], seed=(self.seed, epoch, photo))
        return {"images": image, "labels": int(self.labels[photo]), "photos": photo}


class EpochBatches:
    """Batch sampler of (epoch, photo) keys; the order depends on (seed, epoch) alone.

    Attributes:
        epoch: Set before each pass.
        first_batch: Batches to leave out at the start, to go on inside an epoch.
    """

    def __init__(self, count: int, batch_size: int, seed: int, shuffle: bool) -> None:
        """Shuffled batches leave out the last incomplete one; ordered ones keep all photos."""
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.drop_last = shuffle
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self.count // self.batch_size if self.shuffle else -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """The remaining batches of this epoch."""
        order = np.arange(self.count)
        if self.shuffle:
            # The last word keeps this stream apart from the photos' (seed, epoch, photo).
            np.random.default_rng((self.seed, self.epoch, 0, 1)).shuffle(order)
        for batch in range(self.first_batch, len(self)):
            photos = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, int(photo)) for photo in photos]
