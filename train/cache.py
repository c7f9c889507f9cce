"""Photos decoded once, reduced, and kept in one memory-mapped file between runs."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from models.photos import PhotoError, read_photo

FORMAT = 1


@dataclass(frozen=True)
class PhotoCache:
    """Decoded photos by position.

    Attributes:
        folder: pixels.bin (photos one after the other) and index.json.
        paths: The photos that could be read, relative to the data folder, sorted.
        shapes: (H, W) of each.
        offsets: Where each begins in pixels.bin, in bytes.
        left_out: Path -> why it could not be read.
    """

    folder: Path
    paths: list[str]
    shapes: list[list[int]]
    offsets: list[int]
    left_out: dict[str, str]

    def __len__(self) -> int:
        """Number of readable photos."""
        return len(self.paths)

    def subset(self, paths: Sequence[str]) -> "PhotoCache":
        """The same photos, those of paths alone, in that order."""
        position = {path: photo for photo, path in enumerate(self.paths)}
        photos = [position[path] for path in paths]
        shapes = [self.shapes[photo] for photo in photos]
        offsets = [self.offsets[photo] for photo in photos]
        return PhotoCache(self.folder, list(paths), shapes, offsets, {})

    def __getitem__(self, photo: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, mapped from disk, read-only."""
        # Mapped anew each time: cheap (20 us), and nothing to hand over to worker processes.
        height, width = self.shapes[photo]
        return np.memmap(
            self.folder / "pixels.bin", np.uint8, "r", self.offsets[photo], (height, width, 3)
        )


def decode_photos(root: Path, paths: Sequence[str], side_px: int, cache_dir: Path) -> PhotoCache:
    """Decode photos into the cache, or find them there.

    The key covers every path, size and modification time, so a changed photo makes a new cache.
    It is built in a folder of its own and renamed when whole: an interrupted or a second run
    at the same time leaves nothing half-made.

    Args:
        root: The data folder.
        paths: Relative to root.
        side_px: Photos are reduced (INTER_AREA) to this short side; smaller ones stay.
        cache_dir: Where caches live.

    Raises:
        OSError: If a photo is gone, or the disk is too full; the message says how much is needed.
    """
    key = hashlib.sha256(json.dumps([FORMAT, side_px, str(root.resolve())]).encode())
    paths = sorted(paths)
    for path in paths:
        status = (root / path).stat()
        key.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    folder = cache_dir / f"decoded-{key.hexdigest()[:24]}"
    if not folder.is_dir():
        _build(root, paths, side_px, folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return PhotoCache(folder, **index)


def _build(root: Path, paths: Sequence[str], side_px: int, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = len(paths) * side_px**2 * 5, shutil.disk_usage(folder.parent).free
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
        try:
            os.rename(partial, folder)
        except OSError:
            # Another run has put the same photos there first.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decode(path: Path, side_px: int) -> np.ndarray | PhotoError:
    """A photo reduced to the short side side_px, or why not."""
    try:
        image = read_photo(path, side_px)
    except PhotoError as error:
        return error
    height, width = image.shape[:2]
    short = min(height, width)
    if short <= side_px:
        return image
    # The rounding of models.preprocess, so that evaluation (mode crop) resizes only once.
    size = (int(width * side_px / short + 0.5), int(height * side_px / short + 0.5))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
