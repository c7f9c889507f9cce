"""What reading and augmenting photos costs a training: real pipeline against ready-made tensors.

python benchmarks/loader_overhead.py; draws its own photos (256 x 341 pixels), fine-tunes the
default backbone at 192 px with the default augmentation, and prints images per second of the same
training step fed by the real pipeline and by tensors made before, in turns.
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.networks.pretrained import build_pretrained
from train.config import TransferConfig
from train.data.batches import EpochBatches, PhotoDataset
from train.data.loading import build_loader, build_transforms
from train.data.photo_cache import decode_photos
from train.engine.device import build_accelerator
from train.engine.recipe import build_phases, build_preprocess, build_task
from train.engine.trainer import Trainer


@dataclass(frozen=True)
class OverheadConfig:
    """Compare the training loop on real and on ready-made batches."""

    photos: int = 384
    """Drawn photos; each round trains on all of them once."""
    rounds: int = 3
    """Rounds of each kind, after one that is not counted."""
    seed: int = 0
    """Of photos, weights and augmentation."""


def main(config: OverheadConfig) -> None:
    """Draw, train in turns, print the ratio."""
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{photo}.jpg" for photo in range(config.photos)]
        for name in names:
            coarse = Image.fromarray(rng.integers(0, 256, (8, 11, 3), dtype=np.uint8))
            coarse.resize((341, 256), Image.Resampling.BICUBIC).save(Path(folder) / name)
        settings = TransferConfig(image_size=192, head_epochs=0, epochs=1, seed=config.seed)
        model = build_pretrained(settings.backbone, 50)
        preprocess = build_preprocess(settings, model)
        cache = decode_photos(Path(folder), names, preprocess.resize_px, Path(folder) / "cache")
        labels = np.arange(config.photos) % 50
        transform, _ = build_transforms(settings, preprocess)
        dataset = PhotoDataset(cache.subset(names), labels, transform, config.seed)
        accelerator = build_accelerator(settings)
        orders = [
            EpochBatches(config.photos, settings.batch_size, config.seed, shuffle)
            for shuffle in (True, False)
        ]
        loaders = [build_loader(dataset, order, settings, accelerator) for order in orders]
        task = build_task(settings, accelerator, 50)
        trainer = Trainer(
            settings,
            model,
            task,
            build_phases(settings),
            *loaders,
            accelerator,
            Path(folder),
            "",
            log=print,
            should_stop=lambda: False,
        )
        trainer.start_phase(build_phases(settings)[1], None)
        ready = list(trainer.train_loader)

        def images_per_second(batches: Iterable[dict[str, torch.Tensor]]) -> float:
            started = time.perf_counter()
            for batch in batches:
                trainer.step(batch, 1.0, mix=True)
            return len(ready) * settings.batch_size / (time.perf_counter() - started)

        speeds = [
            (images_per_second(trainer.train_loader), images_per_second(ready))
            for _ in range(config.rounds + 1)
        ][1:]
    real, tensors = np.array(speeds).T
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"workers {settings.workers}, precision {accelerator.mixed_precision}")
    print(
        f"images/s, mean of {config.rounds} rounds of {config.photos} photos: real pipeline "
        f"{real.mean():.1f}, ready-made tensors {tensors.mean():.1f}, "
        f"ratio {real.mean() / tensors.mean():.3f} (rounds: {np.round(real / tensors, 3)})"
    )


if __name__ == "__main__":
    main(tyro.cli(OverheadConfig))
