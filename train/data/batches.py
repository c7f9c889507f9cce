"""Turn photos and labels into batches."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from train.data.photo_cache import PhotoCache
from train.data.transforms import GrowingTransform, PhotoTransform

OUTSIDE = -1
"""The label of a photo that shows none of the landmarks."""
OUTSIDE_SHARE = 0.5
"""Outside photos in a training batch, per landmark photo."""


class PhotoDataset(Dataset):
    """Serve decoded, transformed photos by the key of a draw, without any state.

    A key is (epoch, photo), or (epoch, photo, 2) for the second draw of a photo in an epoch, and
    so on. The augmentation depends only on the seed and the key, so the number of workers and a
    resume change nothing. Items are {"images": (3, S, S) float32, "labels": int, "photos": int}.
    """

    def __init__(
        self,
        cache: PhotoCache,
        labels: np.ndarray,
        transform: GrowingTransform | PhotoTransform,
        seed: int,
    ) -> None:
        """Hold the parts.

        Args:
            cache: N decoded photos.
            labels: (N,) int64, in the order of the cache.
            transform: From a decoded photo to the network's input.
            seed: Seed of the augmentation.
        """
        self.cache, self.labels, self.transform, self.seed = cache, labels, transform, seed

    @property
    def names(self) -> list[str]:
        """The photos' paths."""
        return self.cache.paths

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, ...]) -> dict[str, Tensor | int]:
        """Return photo key[1] as the augmentation draws it for key."""
        photo = key[1]
        image = self.transform(self.cache[photo], seed=(self.seed, *key))
        return {"images": image, "labels": int(self.labels[photo]), "photos": photo}


class JoinedPhotos(Dataset):
    """Serve the photos of one data set and, numbered on from its last, the outside photos.

    Items are those of PhotoDataset.
    """

    def __init__(self, landmarks: PhotoDataset, outside: PhotoDataset) -> None:
        """Hold both; the labels of the outside photos are OUTSIDE."""
        self.landmarks, self.outside = landmarks, outside

    @property
    def names(self) -> list[str]:
        """The photos' paths, each relative to its own root."""
        return self.landmarks.names + self.outside.names

    def __len__(self) -> int:
        """Return the number of photos of both."""
        return len(self.landmarks) + len(self.outside)

    def __getitem__(self, key: tuple[int, ...]) -> dict[str, Tensor | int]:
        """Return photo key[1] as the augmentation draws it for key."""
        first = len(self.landmarks)
        if key[1] < first:
            return self.landmarks[key]
        item = self.outside[(key[0], key[1] - first, *key[2:])]
        return item | {"photos": key[1]}


class EpochBatches:
    """Draw batches of a PhotoDataset's keys; the order depends only on (seed, epoch).

    Attributes:
        epoch: The epoch to draw; set it before each pass.
        first_batch: Number of batches to skip, to resume inside an epoch.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        balance: np.ndarray | None = None,
        outside: np.ndarray | None = None,
        outside_size: int = 0,
    ) -> None:
        """Set up the draw. Shuffled epochs drop the last, incomplete batch; ordered ones keep it.

        Args:
            count: Number of landmark photos.
            batch_size: Landmark photos per batch.
            seed: Seed of the order.
            shuffle: Whether to draw another order for each epoch.
            balance: (count,) int64 labels, to draw each class equally often; needs shuffle.
            outside: (M,) int64, the kind of each outside photo; they are numbered from count on.
            outside_size: Outside photos per batch, each kind equally often; needs shuffle.
        """
        self.count, self.seed, self.shuffle = count, seed, shuffle
        self.balance, self.outside = balance, outside
        self.landmark_size, self.outside_size = batch_size, outside_size
        self.batch_size = batch_size + outside_size  # accelerate reads it, and drop_last
        self.drop_last = shuffle
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Return the number of batches in a complete epoch."""
        size = self.landmark_size
        return self.count // size if self.shuffle else -(-self.count // size)

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """Yield the remaining batches of this epoch."""
        order, size = np.arange(self.count), self.landmark_size
        if self.shuffle:
            # The trailing 1 keeps this stream apart from the photos' (seed, epoch, photo, draw).
            rng = np.random.default_rng((self.seed, self.epoch, 0, 1))
            if self.balance is not None:
                order = draw_balanced(self.balance, len(self) * size, rng)
            rng.shuffle(order)
        keys = self._number(order)
        others: list[tuple[int, ...]] = []
        if self.outside is not None:
            rng = np.random.default_rng((self.seed, self.epoch, 0, 2))
            drawn = draw_balanced(self.outside, len(self) * self.outside_size, rng)
            rng.shuffle(drawn)
            others = self._number(drawn + self.count)
        for batch in range(self.first_batch, len(self)):
            own = keys[batch * size : (batch + 1) * size]
            yield spread_among(own, others[batch * self.outside_size :][: self.outside_size])

    def _number(self, order: np.ndarray) -> list[tuple[int, ...]]:
        """Return the keys of drawn photos."""
        keys: list[tuple[int, ...]] = []
        draws: Counter[int] = Counter()
        for photo in order.tolist():
            draws[photo] += 1
            # Without its number, a photo's second draw would look like the first.
            again = (draws[photo],) if draws[photo] > 1 else ()
            keys.append((self.epoch, photo, *again))
        return keys


def spread_among(keys: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> list:
    """Merge two lists evenly, each in its order: every process gets an equal part of a batch."""
    placed = [
        ((position + 0.5) / len(each), key)
        for each in (keys, others)
        for position, key in enumerate(each)
    ]
    return [key for _, key in sorted(placed, key=lambda pair: pair[0])]


def draw_balanced(labels: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Draw photos of each class equally often (give or take one, if total does not divide).

    Within a class, each photo is drawn once before any is drawn again.

    Args:
        labels: (N,) int64.
        total: Number of photos to draw.
        rng: Its generator.

    Returns:
        (total,) int64 positions in labels, class after class.
    """
    classes = rng.permutation(np.unique(labels))
    draws = []
    for place, label in enumerate(classes):
        photos = np.flatnonzero(labels == label)
        count = total // len(classes) + (place < total % len(classes))
        rounds = [rng.permutation(photos) for _ in range(-(-count // len(photos)))]
        # photos[:0]: concatenate refuses an empty list, which count 0 gives.
        draws += np.concatenate([photos[:0], *rounds])[:count].tolist()
    return np.array(draws, np.int64)
