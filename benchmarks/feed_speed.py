"""How fast photos reach a training: this project's loader, torchvision and albumentations.

python benchmarks/feed_speed.py; draws its own photos (800 x 600 pixels, JPEG of quality 90, with
the noise of a camera) and prints images per second of three loaders with two worker processes each,
in turns, from their second epoch on: this project's, which reads its cache of decoded photos;
torchvision's ImageFolder with transforms v2; and albumentations on the photos as they are, decoded
again each time. All do what python -m train.transfer does to a photo by default, at 224 px, v2 with
its nearest transforms. --data DIR measures photos in class folders too.
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.model_file.preprocess import Preprocess
from train.config import TransferConfig
from train.data.batches import EpochBatches, PhotoDataset
from train.data.loading import build_loader, build_transforms
from train.data.photo_cache import decode_photos
from train.data.transforms import PhotoTransform
from train.engine.device import build_accelerator

WORKERS = 2
OURS = "this project"


@dataclass(frozen=True)
class SpeedConfig:
    """Compare loaders on the same photos."""

    photos: int = 384
    """How many are drawn, and at most taken of data; a multiple of 128 keeps both workers busy."""
    rounds: int = 5
    """Epochs of each loader, after one that is not counted."""
    seed: int = 0
    """Of photos, order and augmentation."""
    data: Path | None = None
    """Folder of class folders, or with train/ of such, to measure too."""


def draw_photos(root: Path, config: SpeedConfig) -> None:
    """Two class folders of soft shapes under noise, as large as files of cameras are."""
    rng = np.random.default_rng(config.seed)
    for photo in range(config.photos):
        picture = 6 * rng.standard_normal((600, 800, 3), np.float32) + 128
        for cells, contrast in ((4, 60), (16, 30), (64, 15)):
            coarse = rng.normal(128, contrast, (cells * 3 // 4, cells, 3)).clip(0, 255)
            layer = Image.fromarray(coarse.astype(np.uint8)).resize((800, 600))
            picture += np.asarray(layer, np.float32) - 128
        folder = root / f"{photo % 2}.Drawn"
        folder.mkdir(exist_ok=True)
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{photo:04}.jpg", quality=90)


def build_v2(side: int, preprocess: Preprocess) -> v2.Compose:
    """What is nearest to train.data.transforms.build_train_transform in torchvision.

    On Pillow's images; on tensors it is no faster (4.9 against 5.0 ms a photo of 800 x 600).
    """
    soft = [v2.GaussianBlur(5, (0.5, 3.0)), v2.JPEG((30, 90))]
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.35, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomApply(
                [
                    v2.RandomChoice(
                        [v2.RandomAffine(12, shear=(-6, 6)), v2.RandomPerspective(0.2, p=1.0)]
                    )
                ],
                p=0.3,
            ),
            v2.RandomApply([v2.ColorJitter(0.3, 0.3, 0.3, 0.03)], p=0.7),
            v2.RandomGrayscale(0.05),
            v2.RandomApply([v2.RandomChoice(soft)], p=0.25),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(preprocess.mean, preprocess.std),
            v2.RandomErasing(p=0.25, scale=(0.01, 0.06), ratio=(0.4, 2.5)),
        ]
    )


class UndecodedPhotos(Dataset):
    """Photos decoded by Pillow at every draw, then albumentations."""

    def __init__(self, paths: list[str], transform: PhotoTransform) -> None:
        """Hold the parts."""
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.paths)

    def __getitem__(self, photo: int) -> tuple[Tensor, int]:
        """(3, S, S) float32 and a label."""
        with Image.open(self.paths[photo]) as image:
            pixels = np.asarray(image.convert("RGB"))
        return self.transform(pixels, seed=(int(torch.randint(2**31, ())), photo)), 0


def build_epochs(
    root: Path, cache_dir: Path, config: SpeedConfig
) -> tuple[dict[str, Callable[[int], Iterable]], int]:
    """Loader by name, each as epoch -> batches, and how many photos they read."""
    settings = TransferConfig(workers=WORKERS, seed=config.seed, device="cpu")
    preprocess = Preprocess(settings.eval_side_px, settings.eval_side_px)
    transform, _ = build_transforms(settings, preprocess)
    folders = ImageFolder(str(root), build_v2(settings.image_size, preprocess))
    count = min(config.photos, len(folders))
    chosen = np.linspace(0, len(folders) - 1, count).astype(int).tolist()
    paths = [folders.samples[photo][0] for photo in chosen]
    for path in paths:
        Path(path).read_bytes()  # into the file cache

    names = [Path(path).relative_to(root).as_posix() for path in paths]
    cache = decode_photos(root, names, preprocess.resize_px, cache_dir)
    dataset = PhotoDataset(cache, np.zeros(len(cache), np.int64), transform, config.seed)
    batches = EpochBatches(len(cache), settings.batch_size, config.seed, shuffle=True)
    ours = build_loader(dataset, batches, settings, build_accelerator(settings))

    def our_epoch(epoch: int) -> Iterable:
        batches.epoch = epoch
        return ours

    def plain(data: Dataset) -> Callable[[int], Iterable]:
        loader = DataLoader(
            data,
            settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            persistent_workers=True,
        )
        return lambda epoch: loader

    return {
        OURS: our_epoch,
        "torchvision": plain(Subset(folders, chosen)),
        "albumentations": plain(UndecodedPhotos(paths, transform)),
    }, count // settings.batch_size * settings.batch_size


def measure(root: Path, config: SpeedConfig) -> None:
    """Epochs in turns; print the speeds and their ratio."""
    with tempfile.TemporaryDirectory() as cache_dir:
        epochs, count = build_epochs(root, Path(cache_dir), config)
        seconds: dict[str, list[float]] = {name: [] for name in epochs}
        for epoch in range(config.rounds + 1):
            for name, batches in epochs.items():
                started = time.perf_counter()
                seen = sum(1 for _ in batches(epoch))
                assert seen, "no whole batch; give more --photos"
                seconds[name].append(time.perf_counter() - started)
    speeds = {name: count / np.array(spent[1:]) for name, spent in seconds.items()}
    for name, each in speeds.items():
        print(f"  {name:<15} {np.median(each):6.0f} images/s (rounds: {np.round(each)})")
    other = max((name for name in speeds if name != OURS), key=lambda name: np.median(speeds[name]))
    ratios = speeds[OURS] / speeds[other]
    ratio = np.median(speeds[OURS]) / np.median(speeds[other])
    print(f"  {OURS} against {other}: {ratio:.2f} (rounds: {np.round(ratios, 2)})")


def main(config: SpeedConfig) -> None:
    """Draw and measure."""
    loads = [os.getloadavg()[0]]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"{WORKERS} workers each, seed {config.seed}, median of {config.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        draw_photos(Path(folder), config)
        sizes = [path.stat().st_size for path in Path(folder).rglob("*.jpg")]
        print(f"{len(sizes)} drawn photos, 800 x 600, {np.mean(sizes) / 1e3:.0f} kB:")
        measure(Path(folder), config)
    if config.data is not None:
        root = config.data / "train" if (config.data / "train").is_dir() else config.data
        print(f"at most {config.photos} photos of {config.data.name}:")
        measure(root, config)
    loads.append(os.getloadavg()[0])
    print(f"load of the machine before and after: {loads[0]:.1f}, {loads[1]:.1f}")


if __name__ == "__main__":
    main(tyro.cli(SpeedConfig))
