"""Photos and labels -> batches."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from train.data.photo_cache import PhotoCache
from train.data.transforms import GrowingTransform, PhotoTransform


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
