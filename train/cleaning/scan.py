"""Read every file of a photo folder once: what it is, what is wrong with it, its hashes."""

import contextlib
import dataclasses
import functools
import io
import json
import multiprocessing
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from models.photos import PHOTO_EXTENSIONS, PhotoError, read_photo
from train.cleaning.duplicates import PhotoHashes, hash_photo
from train.data.split import DataError, clean_class_name

PARTS = ("train", "val", "test")
TINY_PX = 96
HUGE_PIXELS = 30_000_000
LEVELS = np.arange(256)


@dataclass(frozen=True)
class PhotoRecord:
    """What one reading of a file found.

    Attributes:
        path: Relative to the data folder.
        bytes: Size of the file.
        mtime_ns: Its time, by which a later scan knows that it is the same.
        error: Why it cannot be read, if so.
        notes: tiny (short side under 96 px), huge (over 30 megapixels), animated.
        width_px: Of the upright photo.
        height_px: Of the upright photo.
        sums: Sum of the values 0 to 255, per channel.
        squares: Sum of their squares, per channel.
        hashes: For finding duplicates.
    """

    path: str
    bytes: int
    mtime_ns: int
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    width_px: int = 0
    height_px: int = 0
    sums: list[int] = field(default_factory=list)
    squares: list[int] = field(default_factory=list)
    hashes: PhotoHashes | None = None


@dataclass(frozen=True)
class Folder:
    """The files of a data folder by what can be said before they are read.

    Attributes:
        photos: Path -> (part, label) of what has a photo's extension, in a class folder.
        others: Files that are no photos by extension, or stand outside class folders.
        empty: Class folders without a photo.
        alike: Groups of labels that differ only by case or spaces.
    """

    photos: dict[str, tuple[str, str]]
    others: list[str]
    empty: list[str]
    alike: list[list[str]]


def list_folder(data: Path) -> Folder:
    """Walk a data folder: train/, val/, test/ of class folders, or class folders alone.

    Raises:
        DataError: Not a folder, or no photo in a class folder.
    """
    if not data.is_dir():
        raise DataError(f"no data folder at {data}; give one with --data or LANDMARKS_DATA")
    parts = [(part, data / part) for part in PARTS if (data / part).is_dir()]
    photos, others, empty = {}, [], []
    labels = defaultdict(set)
    for part, root in parts or [("train", data)]:
        for entry in sorted(root.iterdir()):
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                others.append(entry.relative_to(data).as_posix())
                continue
            label = clean_class_name(entry.name)
            labels[" ".join(label.split()).casefold()].add(label)
            before = len(photos)
            for path in sorted(path for path in entry.rglob("*") if path.is_file()):
                shown = path.relative_to(data).as_posix()
                if path.suffix.lower() in PHOTO_EXTENSIONS and path.parent == entry:
                    photos[shown] = (part, label)
                elif not path.name.startswith("."):
                    others.append(shown)
            if len(photos) == before:
                empty.append(entry.relative_to(data).as_posix())
    if not photos:
        raise DataError(f"no photos in class folders of {data}; expected one folder per landmark")
    alike = [sorted(names) for names in labels.values() if len(names) > 1]
    return Folder(photos, others, empty, alike)


def scan_photos(data: Path, paths: Iterable[str], log: Path, workers: int) -> list[PhotoRecord]:
    """Read every photo, in processes; what log holds from an earlier scan is not read again.

    Args:
        data: The data folder, read only.
        paths: Relative to it.
        log: One JSON record a line, appended to as photos are read.
        workers: Processes.

    Returns:
        One record a path, in the order of paths.
    """
    paths = list(paths)
    known = _read_log(log)
    missing = [
        path for path in paths if path not in known or not _is_same(data / path, known[path])
    ]
    if missing:
        with log.open("a", encoding="utf-8") as file, _reader(workers) as read:
            found = read(scan_photo, [str(data)] * len(missing), missing)
            for record in tqdm(found, "reading photos", len(missing), unit="photo"):
                file.write(json.dumps(dataclasses.asdict(record)) + "\n")
                known[record.path] = record
    return [known[path] for path in paths]


@contextlib.contextmanager
def _reader(workers: int) -> Iterator[Callable[..., Iterable[PhotoRecord]]]:
    """A map over processes, or the plain one for a single worker."""
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        try:
            yield functools.partial(pool.map, chunksize=16)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def scan_photo(data: str, path: str) -> PhotoRecord:
    """Read one file."""
    file = Path(data, path)
    try:
        about = file.stat()
        size, time = about.st_size, about.st_mtime_ns
        image = read_photo(file)
        content = file.read_bytes()
    except (PhotoError, OSError) as error:
        size, time = (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else (0, 0)
        return PhotoRecord(path, size, time, error=str(error))
    height, width = image.shape[:2]
    notes = []
    if min(height, width) < TINY_PX:
        notes.append("tiny")
    if height * width > HUGE_PIXELS:
        notes.append("huge")
    with Image.open(io.BytesIO(content)) as opened:
        if getattr(opened, "n_frames", 1) > 1 and opened.format in ("GIF", "WEBP", "PNG", "AVIF"):
            notes.append("animated")
    counts = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
    sums = [int(count @ LEVELS) for count in counts]
    squares = [int(count @ LEVELS**2) for count in counts]
    hashes = hash_photo(path, content, image)
    return PhotoRecord(path, size, time, None, notes, width, height, sums, squares, hashes)


def channel_statistics(records: Iterable[PhotoRecord]) -> dict[str, list[float]]:
    """Mean and standard deviation per channel in [0, 1], exact over all pixels."""
    records = list(records)
    pixels = sum(record.width_px * record.height_px for record in records)
    sums = np.sum([record.sums for record in records], axis=0, dtype=object)
    squares = np.sum([record.squares for record in records], axis=0, dtype=object)
    means = [int(value) / pixels for value in sums]
    variances = [int(q) / pixels - mean**2 for q, mean in zip(squares, means, strict=True)]
    return {
        "mean": [mean / 255 for mean in means],
        "std": [variance**0.5 / 255 for variance in variances],
    }


def _read_log(log: Path) -> dict[str, PhotoRecord]:
    known = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            values = json.loads(line)
            if values["hashes"] is not None:
                values["hashes"] = PhotoHashes(**values["hashes"])
            known[values["path"]] = PhotoRecord(**values)
        except (json.JSONDecodeError, TypeError):
            continue  # a line that an interruption cut, or one of an older version
    return known


def _is_same(file: Path, record: PhotoRecord) -> bool:
    try:
        about = file.stat()
    except OSError:
        return False
    return (about.st_size, about.st_mtime_ns) == (record.bytes, record.mtime_ns)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone decides
