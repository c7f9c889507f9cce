"""Turn photos and labels into batches."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from train.data.photo_cache import PhotoCache
from train.data.transforms import GrowingTransform, PhotoTransform


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

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, ...]) -> dict[str, Tensor | int]:
        """Return photo key[1] as the augmentation draws it for key."""
        photo = key[1]
        image = self.transform(self.cache[photo], seed=(self.seed, *key))
        return {"images": image, "labels": int(self.labels[photo]), "photos": photo}


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
    ) -> None:
        """Set up the draw. Shuffled epochs drop the last, incomplete batch; ordered ones keep it.

        Args:
            count: Number of photos.
            batch_size: Photos per batch.
            seed: Seed of the order.
            shuffle: Whether to draw another order for each epoch.
            balance: (count,) int64 labels, to draw each class equally often; needs shuffle.
        """
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.balance = balance
        self.drop_last = shuffle  # accelerate reads batch_size and drop_last
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Return the number of batches in a complete epoch."""
        return self.count // self.batch_size if self.shuffle else -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """Yield the remaining batches of this epoch."""
        order = np.arange(self.count)
        if self.shuffle:
            # The trailing 1 keeps this stream apart from the photos' (seed, epoch, photo, draw).
            rng = np.random.default_rng((self.seed, self.epoch, 0, 1))
            if self.balance is not None:
                order = draw_balanced(self.balance, len(self) * self.batch_size, rng)
            rng.shuffle(order)
        keys: list[tuple[int, ...]] = []
        draws: Counter[int] = Counter()
        for photo in order.tolist():
            draws[photo] += 1
            # Without its number, a photo's second draw would look like the first.
            again = (draws[photo],) if draws[photo] > 1 else ()
            keys.append((self.epoch, photo, *again))
        for batch in range(self.first_batch, len(self)):
            yield keys[batch * self.batch_size : (batch + 1) * self.batch_size]


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
