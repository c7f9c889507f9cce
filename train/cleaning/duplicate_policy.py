"""Decide which photo of each group of duplicates stays, and which part each photo goes to."""

from collections import defaultdict
from dataclasses import dataclass

from train.cleaning.duplicates import find_pairs, group_pairs
from train.cleaning.scan import PhotoRecord
from train.data.folders import DataError
from train.data.split import draw_order

# From the closest relation to the loosest.
KINDS = ("copy", "pixels", "near", "mirrored")


@dataclass(frozen=True)
class Duplicate:
    """Record what becomes of one photo of a group of duplicates; a line of duplicates.csv.

    Attributes:
        group: Number of its group, from 1.
        path: Relative to the data folder.
        kind: Its closest relation in the group: copy, pixels, near or mirrored.
        kept: Whether it stays in the split.
        why: The reason.
    """

    group: int
    path: str
    kind: str
    kept: bool
    why: str


def judge_duplicates(
    records: list[PhotoRecord], photos: dict[str, tuple[str, str]]
) -> list[Duplicate]:
    """Decide which photos of each group of duplicates stay.

    Test photos always stay. A training photo is left out if a test photo shows the same (a leak),
    or if the group has two labels (one of them is wrong); of the other photos in the group only
    the largest stays. Photos of val/ take precedence over those of train/ in the same way.

    Args:
        records: Of the readable photos.
        photos: Path -> (part, label).

    Returns:
        One entry per photo that has a duplicate, group by group.
    """
    pairs = find_pairs([record.hashes for record in records])
    closest: dict[int, int] = {}  # position -> index in KINDS
    for pair in pairs:
        for position in (pair.first, pair.second):
            rank = KINDS.index(pair.kind)
            closest[position] = min(rank, closest.get(position, rank))
    judged = []
    for number, group in enumerate(group_pairs(len(records), pairs), 1):
        paths = [records[position].path for position in group]
        parts = {photos[path][0] for path in paths}
        conflict = len({photos[path][1] for path in paths}) > 1
        # What train/ must not repeat: the group's test photos, else its validation photos.
        held = [path for path in paths if photos[path][0] == "test"]
        held = held or [path for path in paths if photos[path][0] == "val"]
        largest = min(
            group,
            key=lambda position: (
                -records[position].width_px * records[position].height_px,
                -records[position].bytes,
                records[position].path,
            ),
        )
        for position in group:
            path = records[position].path
            part = photos[path][0]
            if part == "test":
                kept, why = True, "test photos stay"
            elif conflict:
                kept, why = False, "the same photo has two labels"
            elif held:
                kept = path in held
                why = "held out" if kept else f"the same photo is in {min(parts - {'train'})}/"
            else:
                kept = position == largest
                why = "the largest of its group" if kept else "the same photo again"
            judged.append(Duplicate(number, path, KINDS[closest[position]], kept, why))
    return judged


def split_photos(
    photos: dict[str, tuple[str, str]], fractions: dict[str, float], seed: int
) -> dict[str, list[str]]:
    """Split the kept photos into train, val and test.

    Args:
        photos: Path -> (part, label) of the kept photos.
        fractions: Part (test, val) -> fraction of each class's training photos to move there,
            unless a folder holds that part already.
        seed: Seed of the draw.

    Returns:
        Part -> paths, sorted.

    Raises:
        DataError: A class has too few photos.
    """
    split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    free: dict[str, list[str]] = defaultdict(list)
    for path, (part, label) in photos.items():
        if part == "train":
            free[label].append(path)
        else:
            split[part].append(path)
    wanted = {
        part: fraction for part, fraction in fractions.items() if not split[part] and fraction > 0
    }
    if len(free) < 2:
        raise DataError(f"{len(free)} classes with photos to train on; at least two are needed")
    for label, paths in sorted(free.items()):
        if len(paths) <= len(wanted):
            raise DataError(
                f"class {label!r} has {len(paths)} usable photo(s) to train on; it needs at least "
                f"{len(wanted) + 1}. Add photos or remove the class"
            )
        order = [paths[draw] for draw in draw_order(label, len(paths), seed)]
        total = len(paths)
        for part, fraction in wanted.items():
            count = max(1, round(fraction * total))  # of all, so that the order does not matter
            split[part] += order[:count]
            order = order[count:]
        split["train"] += order
    return {part: sorted(paths) for part, paths in split.items()}
