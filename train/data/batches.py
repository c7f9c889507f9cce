"""A split -> photos and labels -> batches."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from models.files import file_digest, write_text
from train.data.photo_cache import PhotoCache
from train.data.transforms import GrowingTransform, PhotoTransform


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


def clean_class_name(folder: str) -> str:
    """The label of a class folder: "09.Golden_Gate_Bridge" -> "Golden Gate Bridge"."""
    return re.sub(r"^\d+\.\s*", "", folder).replace("_", " ").strip() or folder


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


class PhotoDataset(Dataset):
    """Decoded photos, transformed. Indexed by the key of a draw, so that it needs no state.

    A key is (epoch, photo), or (epoch, photo, 2) for the second draw of a photo in an epoch, and
    so on. Items are {"images": (3, S, S) float32, "labels": int, "photos": int}.
    """

    def __init__(
        self,
        cache: PhotoCache,
        labels: np.ndarray,
        transform: GrowingTransform | PhotoTransform,
        seed: int,
    ) -> None:
        """Hold the parts; labels is (N,) int64 in the order of the cache."""
        self.cache, self.labels, self.transform, self.seed = cache, labels, transform, seed

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, ...]) -> dict[str, Tensor | int]:
        """Photo key[1] under the augmentation draw of key."""
        photo = key[1]
        image = self.transform(self.cache[photo], seed=(self.seed, *key))
        return {"images": image, "labels": int(self.labels[photo]), "photos": photo}


class EpochBatches:
    """Batch sampler of a PhotoDataset's keys; the order depends on (seed, epoch) alone.

    Attributes:
        epoch: Set before each pass.
        first_batch: Batches to leave out at the start, to go on inside an epoch.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        balance: np.ndarray | None = None,
    ) -> None:
        """Shuffled batches leave out the last incomplete one; ordered ones keep all photos.

        Args:
            count: Photos.
            batch_size: Photos per batch.
            seed: Of the order.
            shuffle: Whether each epoch has an order of its own.
            balance: (count,) int64 labels, to draw each class equally often, with shuffle.
        """
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.balance = balance
        self.drop_last = shuffle
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self.count // self.batch_size if self.shuffle else -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """The remaining batches of this epoch."""
        order = np.arange(self.count)
        if self.shuffle:
            # The last word keeps this stream apart from the photos' (seed, epoch, photo, draw).
            rng = np.random.default_rng((self.seed, self.epoch, 0, 1))
            if self.balance is not None:
                order = draw_balanced(self.balance, len(self) * self.batch_size, rng)
            rng.shuffle(order)
        keys: list[tuple[int, ...]] = []
        draws: Counter[int] = Counter()
        for photo in order.tolist():
            draws[photo] += 1
            again = (draws[photo],) if draws[photo] > 1 else ()  # else both draws look the same
            keys.append((self.epoch, photo, *again))
        for batch in range(self.first_batch, len(self)):
            yield keys[batch * self.batch_size : (batch + 1) * self.batch_size]


def draw_balanced(labels: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Photos of each class equally often (one more or less where total does not divide).

    Within a class no photo is drawn once more before all of them were.

    Args:
        labels: (N,) int64.
        total: Photos to draw.
        rng: Decides which.

    Returns:
        (total,) int64 positions in labels, class after class.
    """
    classes = rng.permutation(np.unique(labels))
    draws = []
    for place, label in enumerate(classes):
        photos = np.flatnonzero(labels == label)
        count = total // len(classes) + (place < total % len(classes))
        rounds = [rng.permutation(photos) for _ in range(-(-count // len(photos)))]
        draws += np.concatenate([photos[:0], *rounds])[:count].tolist()
    return np.array(draws, np.int64)
