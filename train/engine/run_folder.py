"""The run folder: which settings a run has, whether its photos are there, and its first files.

Imports no torch: what a person mistypes is answered before a training loads it.
"""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from models.environment import resolve_mode
from models.files import check_folder, write_text
from models.networks.encoder_file import INIT_FILE, encoder_path
from models.places.landmarks import find_places
from train.config import AutoencoderConfig, RunConfig, config_from_dict
from train.data.folders import DataError
from train.data.outside import OutsidePhotos
from train.data.sources import Source, open_source
from train.data.split import Split

# Flags that a resumed run takes from the command line: where it runs, not what it computes.
OUTSIDE_FILE = "outside.json"
RESUME_OVERRIDES = ("device", "workers", "cache_dir", "wandb", "promote")


def open_run(config: RunConfig) -> tuple[RunConfig, Path]:
    """Return the settings and the folder of a run; a resumed run keeps its own settings.

    Args:
        config: What the command line asks for.

    Raises:
        ValueError: A flag contradicts the resumed run, or the folder already holds a run.
    """
    if config.resume is None:
        resolve_mode(config.wandb)  # a mistake in it must not leave a half-made run
        stamp = time.strftime("%Y%m%d-%H%M%S")
        run_dir = config.run_dir or Path("runs") / f"{stamp}-{config.network_name}-s{config.seed}"
        if (run_dir / "config.json").exists():
            raise ValueError(f"{run_dir} already holds a run; resume it with --resume {run_dir}")
        if os.environ.get("RANK", "0") == "0":  # the others leave the folder to the first process
            check_folder(run_dir, "--run-dir")
        return config, run_dir
    path = config.resume / "config.json"
    if not path.is_file():
        raise ValueError(f"no run to resume at {config.resume}: it has no config.json")
    saved = config_from_dict(json.loads(path.read_text(encoding="utf-8")))
    if saved.command != config.command:
        raise ValueError(
            f"{config.resume} is a run of another command; resume it with: "
            f"python -m {saved.command} --resume {config.resume}"
        )
    default = type(config)()
    for field in dataclasses.fields(config):
        asked, kept = getattr(config, field.name), getattr(saved, field.name)
        free = field.name in (*RESUME_OVERRIDES, "resume", "run_dir")
        # The command line cannot say "not given": a flag at its default is taken for that.
        if not free and asked not in (kept, getattr(default, field.name)):
            raise ValueError(
                f"--resume keeps the run's own settings, and its --{field.name.replace('_', '-')} "
                f"is {kept}, not {asked}; leave the flag out or start a new run"
            )
    moved = {name: getattr(config, name) for name in RESUME_OVERRIDES if hasattr(config, name)}
    if getattr(saved, "init_from", None):
        moved["init_from"] = config.resume / INIT_FILE
    return dataclasses.replace(saved, **moved), config.resume


def open_sources(config: RunConfig, run_dir: Path) -> list[Source]:
    """Open the photos that a new run names, and check the other files that it will need.

    Args:
        config: The settings.
        run_dir: The run folder; a run that has its split already opens nothing.

    Returns:
        What --data names, and with train.autoencoder each folder of --extra; [] for a run that has
        its split.

    Raises:
        ValueError: A folder or file is missing, or cannot be used.
    """
    weights, init_from = (getattr(config, name, None) for name in ("weights", "init_from"))
    if weights is not None and not weights.is_file():
        raise ValueError(f"no weights file at {weights}")
    open_outside(config, run_dir)
    for run in getattr(config, "teacher", ()):
        find_checkpoint(run)
    if (run_dir / "split.json").is_file():
        sources, class_names = [], Split.load(run_dir / "split.json").class_names
    elif isinstance(config, AutoencoderConfig):
        from train.data.unlabelled import open_photos

        folders = [config.data, *map(Path, config.extra)]
        sources, class_names = [open_photos(config, folder) for folder in folders], []
    else:
        sources = [open_source(config)]
        class_names = list(sources[0].classes)
    if class_names:
        find_places(class_names, config.data)  # a mistake in landmarks.csv is said now, too
    if init_from is not None:
        encoder_path(init_from)
    return sources


def open_outside(config: RunConfig, run_dir: Path) -> OutsidePhotos | None:
    """Return the photos of other things that a run has: those it was started with, or new ones.

    Args:
        config: The settings.
        run_dir: The run folder; its outside.json, where there is one, decides.

    Returns:
        None where there are none, or too few to learn from.

    Raises:
        DataError: A folder is missing or holds no photos.
    """
    if (run_dir / OUTSIDE_FILE).is_file():
        return OutsidePhotos.load(run_dir / OUTSIDE_FILE)
    folders = getattr(config, "outside", ())
    return OutsidePhotos.find(folders) if folders else None


def find_checkpoint(run_dir: Path) -> Path:
    """Return the checkpoint of a run's best weights.

    Raises:
        DataError: Not a run folder, or nothing trained yet.
    """
    best = run_dir / "checkpoints" / "best.pt"
    if not best.is_file():
        raise DataError(f"no checkpoints/best.pt in {run_dir}; train first, or name a run folder")
    return best


def count_classes(run_dir: Path, sources: Sequence[Source]) -> int:
    """Return the number of landmarks of a run, 0 without labels.

    Args:
        run_dir: The run folder.
        sources: What open_sources returned for it.
    """
    if not sources:
        return len(Split.load(run_dir / "split.json").class_names)
    return len(sources[0].classes)


def write_run(
    config: RunConfig,
    run_dir: Path,
    split: Split,
    left_out: dict[str, str],
    outside: OutsidePhotos | None = None,
) -> None:
    """Start the run folder: settings, split and the photos that could not be read.

    Args:
        config: The settings.
        run_dir: The folder; it is made.
        split: Which photos train and which validate.
        left_out: Path -> why the photo cannot be read.
        outside: The photos of other things, if there are any.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    split.save(run_dir / "split.json")
    write_text(run_dir / "left_out.json", json.dumps(left_out, indent=1, ensure_ascii=False))
    if outside is not None:
        outside.save(run_dir / OUTSIDE_FILE)
    if getattr(config, "init_from", None):
        from train.data.unlabelled import keep_encoder

        keep_encoder(config.init_from, run_dir, split)
    # config.json comes last: it is what makes the folder a run that can be resumed.
    saved = dataclasses.replace(config, run_dir=run_dir)
    write_text(run_dir / "config.json", json.dumps(saved.to_dict(), indent=2))
    if left_out:
        print(f"{len(left_out)} photo(s) left out, listed in {run_dir / 'left_out.json'}")
    classes = f" of {len(split.class_names)} classes" if split.class_names else ""
    count, held_out = len(split.train), len(split.val)
    print(f"{run_dir}: {count} training and {held_out} validation photos{classes}")
    if outside is not None:
        print(outside.describe())
