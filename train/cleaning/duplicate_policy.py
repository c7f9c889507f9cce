"""Which of each group of duplicates stay, and which part every photo goes to."""

from collections import defaultdict
from dataclasses import dataclass

from train.cleaning.duplicates import find_pairs, group_pairs
from train.cleaning.scan import PhotoRecord
from train.data.split import DataError, draw_order

# The closer the relation, the earlier.
KINDS = ("copy", "pixels", "near", "mirrored")


@dataclass(frozen=True)
class Duplicate:
    """One photo of a group of duplicates.

    Attributes:
        group: Number of its group.
        path: Relative to the data folder.
        kind: Its closest relation in the group: copy, pixels, near or mirrored.
        kept: Whether it is in the split.
        why: What kept it or left it out.
    """

    group: int
    path: str
    kind: str
    kept: bool
    why: str


def judge_duplicates(
    records: list[PhotoRecord], photos: dict[str, tuple[str, str]]
) -> list[Duplicate]:
    """Which of each group of duplicates stay.

    Test photos always stay. A training photo goes if a test photo shows the same (a leak), or if
    the group has two labels (one of them is wrong); of the others the largest stays. A photo of
    val/ counts as a test photo against train/.

    Args:
        records: Readable photos.
        photos: Path -> (part, label).
    """
    pairs = find_pairs([record.hashes for record in records])
    closest: dict[int, int] = {}
    for pair in pairs:
        for position in (pair.first, pair.second):
            rank = KINDS.index(pair.kind)
            closest[position] = min(rank, closest.get(position, rank))
    judged = []
    for number, group in enumerate(group_pairs(len(records), pairs), 1):
        paths = [records[position].path for position in group]
        parts = {photos[path][0] for path in paths}
        conflict = len({photos[path][1] for path in paths}) > 1
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
    """The parts train, val and test of what was kept.

    Args:
        photos: Path -> (part, label).
        fractions: Of each class's training photos for test and val, where no folder holds them.
        seed: Of the draw.

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
            count = max(1, round(fraction * total))
            split[part] += order[:count]
            order = order[count:]
        split["train"] += order
    return {part: sorted(paths) for part, paths in split.items()}
