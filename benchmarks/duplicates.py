"""How well duplicates planted among real photos are found, and how the search scales.

python benchmarks/duplicates.py --data DIR [--seed 1]; copies the photos of DIR to a temporary
folder, plants duplicates of eight kinds there, hashes everything, and prints recall by kind,
precision, seconds, then seconds and peak memory for synthetic hashes.
"""

import io
import os
import platform
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
import tyro
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.photos import PHOTO_EXTENSIONS, PhotoError, read_photo
from train.cleaning.duplicates import CORNERS, THUMBNAIL_PX, PhotoHashes, find_pairs, hash_photo

# What is planted -> its strength, and the kind that find_pairs should name.
KINDS = {
    "copy": ("same bytes and name, in another folder", "copy"),
    "rename": ("same bytes, another name", "copy"),
    "recompress": ("JPEG, quality 40 to 80", "near"),
    "half": ("both sides halved (Lanczos), JPEG 90", "near"),
    "mirror": ("left-right, JPEG 90", "mirrored"),
    "crop": ("5 to 10 % of each side cut off, anywhere, JPEG 90", "near"),
    "brightness": ("x 0.7 to 0.8 or 1.2 to 1.3, clipped, JPEG 90", "near"),
    "webp": ("WebP, quality 80", "near"),
}


@dataclass(frozen=True)
class DuplicatesConfig:
    """Plant duplicates, find them, count."""

    data: Path
    """Folder of photos, in any folders below it; only read."""
    seed: int = 1
    """Of the choice of photos and of the strengths; thresholds were chosen with seed 0."""
    per_kind: int = 100
    """Duplicates of each kind, each of a photo of its own."""
    workers: int = os.cpu_count() or 1
    """Processes that decode and hash."""
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Synthetic hashes to search, for the scaling table."""
    sheet: Path | None = None
    """Where to put a contact sheet (PNG) of the pairs of different photos, to judge them."""


def plant(kind: str, path: Path, image: np.ndarray, rng: np.random.Generator) -> tuple[bytes, str]:
    """A duplicate's bytes, and its extension.

    Args:
        kind: One of KINDS.
        path: The original.
        image: (H, W, 3) uint8, the same, decoded.
        rng: Decides strengths.
    """
    height, width = image.shape[:2]
    options: dict[str, object] = {"format": "JPEG", "quality": 90}
    if kind in ("copy", "rename"):
        return path.read_bytes(), path.suffix
    if kind == "recompress":
        options["quality"] = int(rng.integers(40, 81))
    elif kind == "mirror":
        image = image[:, ::-1]
    elif kind == "crop":
        kept = 1 - rng.uniform(0.05, 0.1)
        rows, columns = round(height * kept), round(width * kept)
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        image = image[top : top + rows, left : left + columns]
    elif kind == "brightness":
        factor = 1 + rng.choice([-1, 1]) * rng.uniform(0.2, 0.3)
        image = (image * factor).clip(0, 255).astype(np.uint8)
    elif kind == "webp":
        options = {"format": "WEBP", "quality": 80}
    photo = Image.fromarray(np.ascontiguousarray(image))
    if kind == "half":
        photo = photo.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    photo.save(file, **options)
    return file.getvalue(), ".webp" if kind == "webp" else ".jpg"


def hash_file(root: Path, path: str) -> PhotoHashes | None:
    """Hashes of a photo, None if it cannot be read."""
    content = (root / path).read_bytes()
    try:
        return hash_photo(path, content, read_photo(content))
    except PhotoError:
        return None


def plant_all(config: DuplicatesConfig, root: Path) -> dict[str, tuple[str, str]]:
    """Fill root with the photos and their duplicates: path -> (path of the original, kind)."""
    rng = np.random.default_rng(config.seed)
    sources = sorted(
        path for path in config.data.rglob("*") if path.suffix.lower() in PHOTO_EXTENSIONS
    )
    planted = {}
    for path in sources:
        name = path.relative_to(config.data)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(path.read_bytes())
        planted[name.as_posix()] = (name.as_posix(), "original")
    folders = sorted({path.relative_to(config.data).parent for path in sources})
    chosen = rng.permutation(len(sources))
    for kind in KINDS:
        done = 0
        while done < config.per_kind:
            if not len(chosen):
                raise SystemExit(f"{config.data} has too few readable photos; lower --per-kind")
            source, chosen = sources[chosen[0]], chosen[1:]
            try:
                content, extension = plant(kind, source, read_photo(source), rng)
            except PhotoError:
                continue
            name = source.relative_to(config.data)
            new = name.with_name(f"{name.stem}-{kind}{extension}")
            if kind == "copy":
                others = [folder for folder in folders if not (root / folder / name.name).exists()]
                new = others[rng.integers(len(others))] / name.name
            (root / new).write_bytes(content)
            planted[new.as_posix()] = (name.as_posix(), kind)
            done += 1
    return planted


def measure_planted(config: DuplicatesConfig) -> None:
    """Plant, hash, search, print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        planted = plant_all(config, root)
        started = time.perf_counter()
        with ProcessPoolExecutor(config.workers) as pool:
            names = sorted(planted)
            found = pool.map(hash_file, [root] * len(names), names, chunksize=32)
            hashes = [hashed for hashed in found if hashed]
        hash_seconds = time.perf_counter() - started
    started = time.perf_counter()
    pairs = find_pairs(hashes)
    find_seconds = time.perf_counter() - started
    made = [planted[hashed.path] for hashed in hashes]
    recall, named = Counter(), Counter()
    true, others = 0, {}
    for pair in pairs:
        (first, first_kind), (second, second_kind) = made[pair.first], made[pair.second]
        if first == second:
            kind = second_kind if first_kind == "original" else first_kind
            true += 1
            recall[kind] += 1
            named[kind] += pair.kind == KINDS[kind][1]
        else:
            others.setdefault(tuple(sorted((first, second))), []).append(pair)
    print(f"| {'planted':10} | {'strength':52} | found | kind named right |")
    print("|---|---|---|---|")
    for kind, (strength, _) in KINDS.items():
        share = f"{recall[kind]}/{config.per_kind}"
        print(f"| {kind:10} | {strength:52} | {share} | {named[kind]}/{max(recall[kind], 1)} |")
    rest = sum(map(len, others.values()))
    print(
        f"{len(pairs)} pairs reported: {true} true (both made from one photo), {rest} of different "
        f"photos, which are {len(others)} pairs of originals; precision {true / len(pairs):.2%} if "
        "none of those shows one shot, 100 % if all do"
    )
    for first, second in others:
        print(f"    {first}  {second}  {others[first, second][0].kind}")
    print(
        f"{len(hashes)} photos decoded and hashed in {hash_seconds:.1f} s by {config.workers} "
        f"processes, searched in {find_seconds:.2f} s"
    )
    if config.sheet:
        draw_sheet(config, list(others))


def draw_sheet(config: DuplicatesConfig, pairs: list[tuple[str, str]]) -> None:
    """Pairs of originals side by side, four pairs a row."""
    sheet = Image.new("RGB", (4 * 420, max(-(-len(pairs) // 4), 1) * 190), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left, top = number % 4 * 420, number // 4 * 190
        for side, path in enumerate(pair):
            photo = Image.fromarray(read_photo(config.data / path))
            photo.thumbnail((200, 150))
            sheet.paste(photo, (left + side * 205, top + 26))
            draw.text((left, top + 12 * side), f"{number if not side else '':3} {path}", "black")
    sheet.save(config.sheet)


def draw_hashes(count: int, rng: np.random.Generator) -> list[PhotoHashes]:
    """Random hashes, no photos; one in a hundred is near another, three bits off."""
    values = rng.integers(0, 2**64, (count, 2 + len(CORNERS)), np.uint64)
    grey = rng.integers(0, 256, (count, THUMBNAIL_PX**2), np.uint8)
    near = count // 100
    values[:near, 0] = values[near : 2 * near, 0] ^ np.uint64(0b10000001_00000000_00000000_00100000)
    grey[:near] = grey[near : 2 * near]
    rows = [row.tobytes().hex() for row in values.byteswap()]
    return [
        PhotoHashes(
            str(i), str(i), str(i), 1, 1, row[:16], row[16:32], row[32:], grey[i].tobytes().hex()
        )
        for i, row in enumerate(rows)
    ]


def measure_scaling(config: DuplicatesConfig) -> None:
    """Search synthetic hashes of several sizes, print seconds and peak memory."""
    print("| synthetic hashes | near pairs found / planted | s | s per 1,000 | peak, MB |")
    print("|---|---|---|---|---|")
    for count in config.sizes:
        hashes = draw_hashes(count, np.random.default_rng(config.seed))
        started = time.perf_counter()
        pairs = find_pairs(hashes)
        seconds = time.perf_counter() - started
        tracemalloc.start()
        find_pairs(hashes)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"| {count:,} | {len(pairs)} / {count // 100} | {seconds:.2f} | "
            f"{seconds / count * 1000:.3f} | {peak:.0f} |"
        )


def main(config: DuplicatesConfig) -> None:
    """Print both tables."""
    versions = f"ImageHash {imagehash.__version__}, OpenCV {cv2.__version__}"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {versions}")
    print(f"seed {config.seed}, {config.per_kind} duplicates of each kind")
    measure_planted(config)
    measure_scaling(config)


if __name__ == "__main__":
    main(tyro.cli(DuplicatesConfig))
