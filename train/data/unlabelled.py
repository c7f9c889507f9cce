"""Photos to pretrain on, whose labels nobody reads, and the way of an encoder into a training."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from models.networks.encoder_file import INIT_FILE, encoder_path, read_encoder
from models.photos import PHOTO_EXTENSIONS
from train.config import RunConfig
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.sources import MANIFEST, Source, open_source
from train.data.split import DataError, Split


def find_photos(settings: RunConfig, sources: Sequence[Source]) -> tuple[Split, PhotoCache]:
    """The photos of several folders, decoded; what a later training validates on is held out.

    Of what train.scratch takes as --data, the held-out photos are those that it validates on with
    the same settings; of any other folder they are drawn in the same way. A photo that lies in
    two folders and is held out in one is held out.

    Args:
        settings: Those of the later training: val_fraction, split_seed, limit, eval_side_px.
        sources: What open_photos found, of one or more folders.

    Returns:
        A split without classes, and its photos.

    Raises:
        DataError: A folder without photos, or one that is named test.
    """
    root = Path(os.path.commonpath([source.root.resolve() for source in sources]))
    prefixes = [source.root.resolve().relative_to(root) for source in sources]
    found = {
        (prefix / path).as_posix(): None
        for prefix, source in zip(prefixes, sources, strict=True)
        for path in source.paths()
    }
    cache = decode_photos(root, list(found), settings.eval_side_px, settings.cache_dir)
    train: set[str] = set()
    val: set[str] = set()
    for prefix, source in zip(prefixes, sources, strict=True):
        left_out = [path for path in source.paths() if (prefix / path).as_posix() in cache.left_out]
        split = source.split(left_out, settings.val_fraction, settings.split_seed)
        train |= {(prefix / path).as_posix() for path in split.train}
        val |= {(prefix / path).as_posix() for path in split.val}
    parts = sorted(train - val), sorted(val)
    fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return Split(fingerprint, str(root), [], *parts, []), cache


def open_photos(settings: RunConfig, folder: Path) -> Source:
    """What train.scratch would find in a folder, else its photos at any depth as one class.

    Raises:
        DataError: There are none.
    """
    if folder.resolve().name == "test":
        raise DataError(f"{folder} is for the final score; pretrain on other photos")
    given = folder.is_file() or (folder / MANIFEST).is_file() or (folder / "train").is_dir()
    try:
        source = open_source(replace(settings, data=folder))
    except DataError:
        if given or not folder.is_dir():
            raise
    else:
        if given or min(map(len, source.classes.values())) > 1:
            return source
    paths = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in PHOTO_EXTENSIONS and is_open(path.relative_to(folder))
    )
    if len(paths) < 2:
        raise DataError(f"{len(paths)} photos in {folder}; expected two or more to pretrain on")
    names = [path.as_posix() for path in paths[: settings.limit]]
    return Source(folder, folder.resolve(), {folder.name: names})


def is_open(path: PurePath) -> bool:
    """Whether a path is neither hidden nor in a folder named test."""
    return "test" not in path.parts and not any(part.startswith(".") for part in path.parts)


def keep_encoder(path: Path, run_dir: Path, split: Split) -> None:
    """Copy the encoder that a training starts from into its run folder, for resume and record.

    Says so if the pretraining has seen photos that now validate.
    """
    file, copy = encoder_path(path), run_dir / INIT_FILE
    if copy.is_file() and copy.samefile(file):
        return  # a run that goes on
    shutil.copyfile(file, copy)
    seen = set(read_encoder(copy)["pretraining"]["photo_keys"])
    count = len(seen & photo_keys(Path(split.root), split.val))
    if count:
        print(
            f"{count} of {len(split.val)} validation photos were in the pretraining, which may "
            "flatter the figures; give both the same --val-fraction, --split-seed and --limit"
        )


def photo_keys(root: Path, paths: Iterable[str]) -> set[str]:
    """By which photos are known again elsewhere, without their names: of folder, name and size."""
    keys = set()
    for path in paths:
        photo = root / path
        text = f"{photo.parent.name}/{photo.name}\0{photo.stat().st_size}"
        keys.add(hashlib.sha256(text.encode()).hexdigest()[:16])
    return keys
