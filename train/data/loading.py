"""From a data folder to batches: decoded photos, their transforms, and a training's loaders."""

import dataclasses
import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import DataLoader

from models.model_file.preprocess import Preprocess
from train.config import AutoencoderConfig, RunConfig
from train.data.batches import (
    OUTSIDE,
    OUTSIDE_SHARE,
    EpochBatches,
    JoinedPhotos,
    PhotoDataset,
)
from train.data.outside import OutsidePhotos
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.sources import AGAIN, Source, open_source
from train.data.split import Split, check_photos, keep_labels
from train.data.transforms import (
    GrowingTransform,
    PhotoTransform,
    build_eval_transform,
    build_train_transform,
)
from train.data.unlabelled import find_photos

if TYPE_CHECKING:
    from accelerate import Accelerator

SHARED_MEMORY = Path("/dev/shm")


def read_photos(
    config: RunConfig, run_dir: Path, side_px: int, sources: Sequence[Source] = ()
) -> tuple[Split, PhotoCache]:
    """Return the split, a resumed run's own or a new one, and its decoded photos.

    Args:
        config: What to split and where to keep decoded photos.
        run_dir: The run folder; its split.json, where there is one, decides.
        side_px: Short side that photos are reduced to.
        sources: What --data names (and --extra of train.autoencoder), where it is open already.

    Raises:
        DataError: Photos are missing, or differ from those that the run was started with.
    """
    if (run_dir / "split.json").is_file():
        split = Split.load(run_dir / "split.json")
        fix = f"Put them back, or {AGAIN} and start a new run" if split.sizes else "Put them back"
        check_photos(Path(split.root), split.train + split.val, split.sizes, fix)
        # What could not be read is asked for again: the same list finds the same cache.
        left_out = json.loads((run_dir / "left_out.json").read_text(encoding="utf-8"))
        paths = [*split.train, *split.val, *left_out]
        return split, decode_photos(Path(split.root), paths, side_px, config.cache_dir)
    if isinstance(config, AutoencoderConfig):
        return find_photos(config, sources)
    (source,) = sources or [open_source(config)]
    cache = decode_photos(source.root, source.paths(), side_px, config.cache_dir)
    split = source.split(cache.left_out, config.val_fraction, config.split_seed)
    return keep_labels(split, config.label_fraction, config.split_seed), cache


def build_transforms(
    config: RunConfig, preprocess: Preprocess
) -> tuple[GrowingTransform, PhotoTransform]:
    """Build the pipelines of training and validation.

    Args:
        config: Sides of the training crops, augment and flip.
        preprocess: What validation does; training takes over its mean and std.
    """
    sides = [config.crop_px(epoch) for epoch in range(config.epochs)]
    crops = {
        side: build_train_transform(
            Preprocess(side, side, mean=preprocess.mean, std=preprocess.std),
            config.augment,
            flip=config.flip,
        )
        for side in sorted(set(sides))
    }
    return GrowingTransform(sides, crops), build_eval_transform(preprocess)


def build_loaders(
    config: RunConfig,
    split: Split,
    cache: PhotoCache,
    preprocess: Preprocess,
    accelerator: "Accelerator",
    outside: OutsidePhotos | None = None,
) -> tuple[DataLoader, DataLoader]:
    """Build the loaders of the training photos (shuffled) and of the validation photos.

    Args:
        config: The settings.
        split: Which photos train and which validate.
        cache: They, decoded.
        preprocess: What validation does to a photo.
        accelerator: Devices and processes.
        outside: Photos of other things, which join the training photos; None: there are none.
    """
    config = dataclasses.replace(config, workers=count_workers(config, accelerator))
    train_transform, eval_transform = build_transforms(config, preprocess)
    labels = _labels(split, split.train)
    photos = PhotoDataset(cache.subset(split.train), labels, train_transform, config.seed)
    # A batch has the same photos for any number of processes, so its size must be a multiple.
    processes = accelerator.num_processes
    size = min(config.batch_size, len(photos) // processes * processes)
    balance = labels if config.balanced else None
    kinds, others, joined = None, 0, photos
    if outside is not None:
        strangers, kinds = read_outside(config, outside)
        none = np.full(len(strangers), OUTSIDE, np.int64)
        joined = JoinedPhotos(photos, PhotoDataset(strangers, none, train_transform, config.seed))
        others = max(1, round(OUTSIDE_SHARE * size / processes)) * processes
    batches = EpochBatches(len(photos), size, config.seed, True, balance, kinds, others)

    val_labels = _labels(split, split.val)
    held_out = PhotoDataset(cache.subset(split.val), val_labels, eval_transform, config.seed)
    ordered = EpochBatches(len(held_out), config.batch_size, config.seed, shuffle=False)
    return (
        build_loader(joined, batches, config, accelerator),
        build_loader(held_out, ordered, config, accelerator),
    )


def read_outside(config: RunConfig, outside: OutsidePhotos) -> tuple[PhotoCache, np.ndarray]:
    """Return the decoded outside photos to learn from, and the number of each one's kind."""
    kinds = outside.for_network()
    cache = decode_photos(Path(outside.root), list(kinds), config.eval_side_px, config.cache_dir)
    _, numbers = np.unique([kinds[path] for path in cache.paths], return_inverse=True)
    return cache, numbers


def count_workers(config: RunConfig, accelerator: "Accelerator") -> int:
    """Return how many worker processes have room for their batches, and say so if not all do.

    They hand batches over in shared memory, of which a Docker container has 64 MB by default: a
    worker that finds none left is killed. Who prepares a photo changes nothing about it.
    """
    if not SHARED_MEMORY.is_dir():  # macOS, Windows: no limit of its own
        return config.workers
    free = shutil.disk_usage(SHARED_MEMORY).free
    # float32; all processes of a training together hold a full batch at a time.
    side_px = max(config.image_size, config.eval_side_px)
    photos = config.batch_size * (1 + OUTSIDE_SHARE if getattr(config, "outside", ()) else 1)
    batch_bytes = int(photos) * 3 * side_px**2 * 4
    # Two are on their way per worker (torch's prefetch_factor), one is used, one is handed over.
    workers = max(0, min(config.workers, (free // batch_bytes - 2) // 2))
    if workers < config.workers and accelerator.is_main_process:
        print(
            f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, which is enough for --workers "
            f"{workers}: continuing with that; docker run --shm-size=2g gives more"
        )
    return workers


def build_loader(
    dataset: PhotoDataset | JoinedPhotos,
    batches: EpochBatches,
    config: RunConfig,
    accelerator: "Accelerator",
) -> DataLoader:
    """Build a loader whose worker processes live as long as the run."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        pin_memory=accelerator.device.type == "cuda",
        worker_init_fn=_ignore_interrupts,
    )


def _labels(split: Split, paths: list[str]) -> np.ndarray:
    """Return (N,) int64 labels; zeros where the split has no classes."""
    return split.labels(paths) if split.class_names else np.zeros(len(paths), np.int64)


def _ignore_interrupts(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; only the training itself decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
