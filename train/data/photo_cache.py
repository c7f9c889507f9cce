"""Decode photos once, reduce them, and keep them in one memory-mapped file between runs."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from models.environment import CacheError, default_cache
from models.photos import PhotoError, read_photo

try:
    import fcntl
except ImportError:  # Windows, which moves no folder while a file in it is open
    fcntl = None

# Raise it when pixels.bin, index.json or what the reader makes of a photo change: old caches then
# count as absent.
FORMAT = 2
LIMIT_GB = 20.0
STALE_SECONDS = 3600
TRIES = 3


class InUse:
    """Keep a cache from being deleted, by any process, as long as this object lives."""

    def __init__(self, folder: Path) -> None:
        """Open and lock pixels.bin.

        Args:
            folder: The cache's folder.

        Raises:
            FileNotFoundError: There is no such cache, or it was deleted meanwhile.
        """
        pixels = folder / "pixels.bin"
        descriptor = os.open(pixels, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        # _delete moves caches away under an exclusive lock. If flock had to wait for that, the
        # locked file is no longer the one at this path.
        if not os.path.samestat(os.fstat(descriptor), os.stat(pixels)):
            raise FileNotFoundError(pixels)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become None in worker processes: the training process holds the lock."""
        return type(None), ()


@dataclass(frozen=True)
class PhotoCache:
    """Give access to decoded photos by position.

    Attributes:
        folder: Holds pixels.bin (the photos one after the other) and index.json.
        paths: The readable photos, relative to the data folder, sorted.
        shapes: (H, W) of each.
        offsets: Where each begins in pixels.bin, in bytes.
        left_out: Path -> reason, of the photos that cannot be read.
        in_use: Keeps the cache from being deleted.
    """

    folder: Path
    paths: list[str]
    shapes: list[list[int]]
    offsets: list[int]
    left_out: dict[str, str]
    in_use: InUse | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        """Return the number of readable photos."""
        return len(self.paths)

    def subset(self, paths: Sequence[str]) -> "PhotoCache":
        """Return a cache of only these photos, in this order."""
        position = {path: photo for photo, path in enumerate(self.paths)}
        photos = [position[path] for path in paths]
        shapes = [self.shapes[photo] for photo in photos]
        offsets = [self.offsets[photo] for photo in photos]
        return PhotoCache(self.folder, list(paths), shapes, offsets, {}, self.in_use)

    def __getitem__(self, photo: int) -> np.ndarray:
        """Return a photo, (H, W, 3) uint8 RGB, mapped from disk and read-only."""
        # Mapping it each time costs 20 us and leaves no open file to hand over to workers.
        height, width = self.shapes[photo]
        return np.memmap(
            self.folder / "pixels.bin", np.uint8, "r", self.offsets[photo], (height, width, 3)
        )


def decode_photos(
    root: Path, paths: Sequence[str], side_px: int, cache_dir: Path | None
) -> PhotoCache:
    """Decode photos into the cache, or find them there.

    The cache's name is a hash of every path, size and modification time, so a changed photo makes
    a new cache. A cache is built in a hidden folder and renamed when complete, so interrupted and
    simultaneous runs leave nothing half-made. To make room, unused caches are deleted, least
    recently used first, until all together fit into LANDMARKS_CACHE_GB (20).

    Args:
        root: The data folder.
        paths: Relative to root.
        side_px: Photos are reduced (INTER_AREA) to this short side; smaller ones stay as they are.
        cache_dir: The folder of all caches; None: default_cache's.

    Raises:
        CacheError: The folder cannot be written or read.
        OSError: A photo is gone, or the disk is too full; the message says how much is needed.
        ValueError: LANDMARKS_CACHE_GB is not a number of gigabytes.
    """
    cache_dir = cache_dir or default_cache()
    key = hashlib.sha256(json.dumps([FORMAT, side_px, str(root.resolve())]).encode())
    paths = sorted(paths)
    for path in paths:
        status = (root / path).stat()
        key.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    folder = cache_dir / f"decoded-{key.hexdigest()[:24]}"
    try:
        return _open_or_build(root, paths, side_px, folder)
    except OSError as error:
        if error.errno is None:  # one of ours, which says what to do
            raise
        raise CacheError(
            f"decoded photos cannot be kept in {cache_dir} ({error.strerror}); name another folder "
            "with --cache-dir or LANDMARKS_CACHE"
        ) from error


def _open_or_build(root: Path, paths: Sequence[str], side_px: int, folder: Path) -> PhotoCache:
    built = False
    # Another run may delete the cache between its completion here and the lock: build it again.
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            in_use = InUse(folder)
            break
        _build(root, paths, side_px, folder)
        built = True
    else:
        raise OSError(f"{folder} is broken; delete it, or name another folder with --cache-dir")
    if built:
        _make_room(folder.parent, 0)  # now that its exact size is known
    with contextlib.suppress(OSError):  # the cache belongs to another user
        os.utime(folder / "index.json")  # when it was last used
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return PhotoCache(folder, **index, in_use=in_use)


def _build(root: Path, paths: Sequence[str], side_px: int, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Three bytes a pixel, and sides of 5 : 3: a generous estimate, as most photos are 4 : 3.
    needed = len(paths) * side_px**2 * 5
    _make_room(folder.parent, needed)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(
            f"decoded photos need about {needed / 1e9:.1f} GB in {folder.parent}, where "
            f"{free / 1e9:.1f} GB are free; make room or name another folder with --cache-dir"
        )
    kept: list[str] = []
    shapes: list[list[int]] = []
    offsets: list[int] = []
    left_out: dict[str, str] = {}
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        with (partial / "pixels.bin").open("wb") as file, ThreadPoolExecutor() as pool:
            in_use = InUse(partial)
            results = pool.map(lambda path: _decode(root / path, side_px), paths)
            bar = tqdm(results, "decoding", total=len(paths), unit="photo", leave=False)
            for path, result in zip(paths, bar, strict=True):
                if isinstance(result, PhotoError):
                    left_out[path] = str(result)
                    continue
                kept.append(path)
                shapes.append(list(result.shape[:2]))
                offsets.append(file.tell())
                file.write(result.data)
        index = {"paths": kept, "shapes": shapes, "offsets": offsets, "left_out": left_out}
        (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")
        del in_use  # for Windows
        try:
            os.rename(partial, folder)
        except OSError:
            # Another run was faster; its cache holds the same photos.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decode(path: Path, side_px: int) -> np.ndarray | PhotoError:
    """Return a photo reduced to the short side side_px, or why it cannot be read."""
    try:
        image = read_photo(path, side_px)
    except PhotoError as error:
        return error
    height, width = image.shape[:2]
    short = min(height, width)
    if short <= side_px:
        return image
    # Rounded like the model file's preprocess, so that evaluation (mode crop) has nothing left to
    # resize: a second resize would soften what the model file does not.
    size = (int(width * side_px / short + 0.5), int(height * side_px / short + 0.5))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _make_room(cache_dir: Path, needed: int) -> None:
    """Delete unused caches until needed bytes more fit into the limit and onto the disk."""
    limit = os.environ.get("LANDMARKS_CACHE_GB", LIMIT_GB)
    try:
        limit_bytes = float(limit) * 1e9
    except ValueError:
        limit_bytes = -1.0
    if not limit_bytes >= 0:
        raise ValueError(f"LANDMARKS_CACHE_GB is {limit!r}; give a number of gigabytes, such as 20")
    for folder in cache_dir.glob(".partial-*"):
        with contextlib.suppress(FileNotFoundError):  # here and below: another run deleted it
            # Left by a killed run. A young folder may belong to one that has no lock yet.
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                _delete(folder)
    caches = []
    for folder in cache_dir.glob("decoded-*"):
        with contextlib.suppress(FileNotFoundError):
            size = sum(file.stat().st_size for file in folder.iterdir())
            caches.append(((folder / "index.json").stat().st_mtime_ns, size, folder))
    used = sum(size for _, size, _ in caches)
    for _, size, folder in sorted(caches):
        if used + needed <= limit_bytes and needed <= shutil.disk_usage(cache_dir).free:
            break
        if _delete(folder):
            used -= size


def _delete(folder: Path) -> bool:
    """Delete a cache, unless some process uses it; tell whether it was deleted."""
    pixels = folder / "pixels.bin"
    doomed = folder.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        with contextlib.ExitStack() as stack:
            if fcntl is not None and pixels.exists():
                file = stack.enter_context(pixels.open("rb+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(folder, doomed)  # in one step: nobody opens a half-deleted cache
    except OSError:
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True
