"""Find photos to pretrain on without labels, and take an encoder over into a training."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from models.networks.encoder_file import INIT_FILE, encoder_path, read_encoder
from train.config import RunConfig
from train.data.folders import DataError, list_photos
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.sources import MANIFEST, Source, open_source
from train.data.split import Split


def find_photos(settings: RunConfig, sources: Sequence[Source]) -> tuple[Split, PhotoCache]:
    """Find and decode the photos of several folders, and hold out those that validate later.

    Of a folder that train.scratch takes as --data, the held-out photos are those that it
    validates on with the same settings: pretraining must not see them. Of any other folder they
    are drawn in the same way. A photo that lies in two folders and is held out in one of them is
    held out.

    Args:
        settings: Those of the later training: val_fraction, split_seed, limit, eval_side_px.
        sources: What open_photos found, of one or more folders.

    Returns:
        A split without classes, and its decoded photos.

    Raises:
        DataError: A folder has no photos, or is named test.
    """
    root = Path(os.path.commonpath([source.root.resolve() for source in sources]))
    # One split needs one root: each source's paths get the way from that root in front.
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
    """Open what train.scratch would find in a folder, else its photos at any depth as one class.

    Args:
        settings: See find_photos.
        folder: A data folder, a folder of any photos, a table, or one of train.prepare.

    Raises:
        DataError: There are fewer than two photos, or the folder is named test.
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
    paths = [
        path
        for path in (photo.relative_to(folder) for photo in list_photos(folder))
        if "test" not in path.parts
    ]
    if len(paths) < 2:
        raise DataError(f"{len(paths)} photos in {folder}; expected two or more to pretrain on")
    names = [path.as_posix() for path in paths[: settings.limit]]
    return Source(folder, folder.resolve(), {folder.name: names})


def keep_encoder(path: Path, run_dir: Path, split: Split) -> None:
    """Copy the encoder that a training starts from into its run folder, so that resume finds it.

    Prints a warning if the pretraining has seen photos that now validate.

    Args:
        path: The run folder of train.autoencoder, or its encoder.pt.
        run_dir: The training's run folder.
        split: The training's split.
    """
    file, copy = encoder_path(path), run_dir / INIT_FILE
    if copy.is_file() and copy.samefile(file):
        return  # this run is being resumed
    shutil.copyfile(file, copy)
    seen = set(read_encoder(copy)["pretraining"]["photo_keys"])
    count = len(seen & photo_keys(Path(split.root), split.val))
    if count:
        print(
            f"{count} of {len(split.val)} validation photos were in the pretraining, which may "
            "flatter the figures; give both the same --val-fraction, --split-seed and --limit"
        )


def photo_keys(root: Path, paths: Iterable[str]) -> set[str]:
    """Return keys that recognise photos in another data folder, without storing their names.

    A key hashes the direct folder's name, the file's name and its size: these stay the same
    wherever the root is, also in what train.prepare lays out. (The class folder would not do: an
    unlabelled folder has none.)

    Args:
        root: The data folder.
        paths: Relative to root.

    Returns:
        Keys of 16 hex digits.
    """
    keys = set()
    for path in paths:
        photo = root / path
        text = f"{photo.parent.name}/{photo.name}\0{photo.stat().st_size}"
        keys.add(hashlib.sha256(text.encode()).hexdigest()[:16])
    return keys
