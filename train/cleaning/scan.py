"""Read every file of photo folders once: what it is, what is wrong with it, its hashes."""

import contextlib
import dataclasses
import functools
import io
import json
import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from models.photos import PhotoError, read_photo
from train.cleaning.duplicates import PhotoHashes, hash_photo
from train.data.folders import (
    PARTS,
    ClassFinder,
    DataError,
    check_data_folder,
    check_layout,
    has_numbers,
    list_class_folders,
    list_loose_files,
    path_from_class,
)

TINY_PX = 96
HUGE_PIXELS = 30_000_000
LEVELS = np.arange(256)


@dataclass(frozen=True)
class PhotoRecord:
    """Hold what one reading of a file found.

    Attributes:
        path: Relative to the folder that was scanned.
        bytes: Size of the file.
        mtime_ns: Its modification time; a later scan reads the file again only if it differs.
        error: Why it cannot be read; None if it can.
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
    """List the files of one data folder or several, as far as names tell what they are.

    Attributes:
        root: The folder that all paths are relative to.
        sources: The data folders, relative to root; "." where there is one.
        photos: Path -> (part, label) of the photos in class folders, by extension.
        others: Files that are no photos by extension, or lie outside class folders.
        empty: Class folders without a photo.
        alike: Groups of labels that differ only by case or spaces.
    """

    root: Path
    sources: list[str]
    photos: dict[str, tuple[str, str]]
    others: list[str]
    empty: list[str]
    alike: list[list[str]]

    def path_from_class(self, path: str) -> PurePosixPath:
        """Return a photo's path from its class folder on, under which no other photo lies.

        Of several data folders, which may spell a class folder differently ("07.Eiffel_Tower") and
        hold photos of one name, it is Eiffel_Tower/1_photos/2019/1.jpg.
        """
        if len(self.sources) == 1:
            return path_from_class(path)
        whole = PurePosixPath(path)
        number = next(n for n, source in enumerate(self.sources) if whole.is_relative_to(source))
        source = PurePosixPath(self.sources[number])
        inner = path_from_class(whole.relative_to(source).as_posix())
        label = self.photos[path][1].replace(" ", "_")
        return PurePosixPath(label, f"{number + 1}_{source.name}", *inner.parts[1:])


def list_folders(folders: Sequence[Path]) -> Folder:
    """Walk one data folder or several, whose classes of one label become one; see list_folder.

    Raises:
        DataError: See list_folder; or one of the folders lies in another.
    """
    if len(folders) == 1:
        return list_folder(folders[0])
    listed = [list_folder(folder) for folder in folders]
    real = [folder.resolve() for folder in folders]
    for number, one in enumerate(real):
        for other in real[:number]:
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise DataError(f"--data {one} and --data {other} overlap; give folders apart")
    try:
        root = Path(os.path.commonpath(real))
    except ValueError as error:  # Windows
        raise DataError("the --data folders lie on different drives; move them to one") from error
    sources = [folder.relative_to(root).as_posix() for folder in real]
    photos, others, empty = {}, [], []
    for source, each in zip(sources, listed, strict=True):
        photos |= {f"{source}/{path}": found for path, found in each.photos.items()}
        others += [f"{source}/{path}" for path in each.others]
        empty += [f"{source}/{path}" for path in each.empty]
    names = [label for _, label in photos.values()]
    names += [label for each in listed for alike in each.alike for label in alike]
    return Folder(root, sources, photos, others, empty, _find_alike(names))


def list_folder(data: Path) -> Folder:
    """Walk a data folder: train/, val/, test/ of class folders, or only class folders.

    Raises:
        DataError: There is no such folder, or no photo in a class folder.
    """
    check_data_folder(data)
    parts = [(part, data / part) for part in PARTS if (data / part).is_dir()]
    parts = parts or [("train", data)]
    photos, others, empty = {}, [], []
    names: dict[str, None] = {}
    numbered = has_numbers(parts[0][1])
    for part, root in parts:
        check_layout(root)
        others += list_loose_files(root)
        find = ClassFinder(list(names))  # a folder of val/ or test/ means the class of train/
        for folder in list_class_folders(root, numbered):
            known = find.label_of(folder)
            label = folder.label if known is None else find.class_names[known]
            names[label] = None
            for path in folder.photos:
                photos[path.relative_to(data).as_posix()] = (part, label)
            others += folder.others
            if not folder.photos:
                empty.append(folder.path.relative_to(data).as_posix())
    if not photos:
        raise DataError(f"no photos in class folders of {data}; expected one folder per landmark")
    others = [path.relative_to(data).as_posix() for path in others]
    return Folder(data, ["."], photos, others, empty, _find_alike(names))


def _find_alike(labels: Iterable[str]) -> list[list[str]]:
    """Return groups of labels that differ only by case or spaces."""
    spellings = defaultdict(list)
    for label in sorted(set(labels)):
        spellings[" ".join(label.split()).casefold()].append(label)
    return [found for found in spellings.values() if len(found) > 1]


def scan_photos(data: Path, paths: Iterable[str], log: Path, workers: int) -> list[PhotoRecord]:
    """Read every photo in worker processes, except unchanged ones that an earlier scan logged.

    Args:
        data: The data folder; nothing is written to it.
        paths: Relative to data.
        log: One JSON record per line, appended as photos are read, so that an interrupted scan
            resumes.
        workers: Number of processes; 1 reads in this one.

    Returns:
        One record per path, in the order of paths.
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
    """Yield a map over processes, or the built-in one for a single worker."""
    if workers == 1:
        yield map
        return
    # Not fork, which would copy the locks of the decoders' threads, held or not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        try:
            yield functools.partial(pool.map, chunksize=16)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def scan_photo(data: str, path: str) -> PhotoRecord:
    """Read one file.

    Args:
        data: The data folder.
        path: Relative to data.

    Returns:
        Its record; error says why it cannot be read, if so.
    """
    file = Path(data, path)
    try:
        about = file.stat()
        size, time = about.st_size, about.st_mtime_ns
        image = read_photo(file)  # at full size: hashes and statistics are of all its pixels
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
    # Sums by way of a histogram: 256 products instead of one per pixel, and exact.
    counts = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
    sums = [int(count @ LEVELS) for count in counts]
    squares = [int(count @ LEVELS**2) for count in counts]
    hashes = hash_photo(path, content, image)
    return PhotoRecord(path, size, time, None, notes, width, height, sums, squares, hashes)


def channel_statistics(records: Iterable[PhotoRecord]) -> dict[str, list[float]]:
    """Return "mean" and "std" per channel (red, green, blue) in [0, 1], exact over all pixels."""
    records = list(records)
    pixels = sum(record.width_px * record.height_px for record in records)
    # dtype=object: Python's integers, which neither overflow nor round.
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
            continue  # a line cut by an interruption, or written by an older version
    return known


def _is_same(file: Path, record: PhotoRecord) -> bool:
    try:
        about = file.stat()
    except OSError:
        return False
    return (about.st_size, about.st_mtime_ns) == (record.bytes, record.mtime_ns)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent handles Ctrl-C
