"""Check, clean and split folders of photos: python -m train.prepare --data DIR --out DIR2."""

import csv
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from models.command_line import parse_flags
from models.environment import TRAINING, default_data
from models.files import atomic, check_folder, write_text

if TYPE_CHECKING:
    from train.cleaning.duplicate_policy import Duplicate
    from train.cleaning.scan import Folder, PhotoRecord

EXAMPLES = (
    "python -m train.prepare --data photos --out data/prepared",
    "python -m train.prepare --data photos --out data/prepared --files link",
    "python -m train.prepare --data photos --out data/prepared --no-label-noise",
    "python -m train.prepare --data photos --data corrections --out data/prepared",
)
NEEDS = (*TRAINING, "imagehash", "cleanlab")


@dataclass(frozen=True)
class PrepareConfig:
    """Find duplicates, unreadable photos and wrong labels in folders of photos, and split them.

    No photo lands in two parts of the split, also not as a copy. The folders themselves are not
    changed.
    """

    data: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Folder with train/ (and val/, test/) of class folders, or class folders themselves; several
    times: their classes are merged, and duplicates found across. Default: LANDMARKS_DATA, or
    data/landmark_images."""
    out: Path = Path("data/prepared")
    """Folder for splits.json, duplicates.csv and report.html; train on it with --data OUT."""
    val_fraction: float = 0.1
    """Part of each class's photos to use for validation, unless there is a val/."""
    test_fraction: float = 0.2
    """Part of each class's photos to use as test set, unless there is a test/."""
    seed: int = 0
    """Seed of the split."""
    files: Literal["none", "link", "copy"] = "none"
    """Also put the kept photos into OUT/photos/train, val and test, as hard links or copies."""
    label_noise: bool = True
    """Estimate which labels are wrong (the slowest step)."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Number of processes that read photos."""

    def __post_init__(self) -> None:
        """Reject fractions that leave no training photos, and fewer than one worker."""
        if not (0 < self.val_fraction < 1 and 0 <= self.test_fraction < 1):
            raise ValueError("val-fraction and test-fraction must lie between 0 and 1")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val-fraction and test-fraction leave no photo to train on")
        if self.workers < 1:
            raise ValueError("workers must be at least 1")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The data folders; not a default of data, to which further ones would be added."""
        return self.data or (default_data(),)


def write_split(
    config: PrepareConfig,
    split: dict[str, list[str]],
    folder: "Folder",
    records: "list[PhotoRecord]",
) -> str:
    """Write OUT/splits.json.

    Args:
        config: out.
        split: Part (train, val, test) -> paths.
        folder: All photos.
        records: Of the readable photos.

    Returns:
        The split's fingerprint.
    """
    label_of = {path: folder.photos[path][1] for part in ("train", "val") for path in split[part]}
    # In the order of the folders, as training on the folder itself would number the classes.
    folders = {label_of[path]: folder.path_from_class(path).parts[0] for path in split["train"]}
    class_names = sorted(set(label_of.values()), key=lambda label: folders.get(label, label))
    content = json.dumps([class_names, split], ensure_ascii=False, sort_keys=True)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    used = {path for paths in split.values() for path in paths}
    hashes = {
        record.path: {"bytes": record.bytes, "sha256": record.hashes.file_sha256}
        for record in records
        if record.path in used
    }
    written = {
        "fingerprint": fingerprint,
        "root": str(folder.root.resolve()),
        "class_names": class_names,
        **split,
        "hashes": hashes,
    }
    if len(folder.sources) > 1:  # else the paths say which class a photo is of
        written["labels"] = label_of
    write_text(config.out / "splits.json", json.dumps(written, indent=1, ensure_ascii=False))
    return fingerprint


def lay_out_files(config: PrepareConfig, split: dict[str, list[str]], folder: "Folder") -> None:
    """Put the kept photos into OUT/photos/train, val and test, replacing an earlier layout.

    Subfolders of a class stay: photos of one name in two of them must not overwrite each other.
    """
    target = config.out / "photos"
    shutil.rmtree(target, ignore_errors=True)
    for part, paths in split.items():
        for path in paths:
            place = target / part / folder.path_from_class(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            if config.files == "link":
                try:
                    os.link(folder.root / path, place)
                    continue
                except OSError:  # links do not cross file systems: copy
                    pass
            shutil.copy2(folder.root / path, place)


def check_flags(config: PrepareConfig) -> "Folder":
    """Check what a person mistypes, before torch is imported; return what list_folders returns.

    Raises:
        ValueError: There is no such folder, or no photo in it, or --out cannot be written.
    """
    from train.cleaning.scan import list_folders

    if config.out.resolve() in [folder.resolve() for folder in config.folders]:
        raise ValueError("--out must be another folder than --data, which is only read")
    folder = list_folders(config.folders)
    check_folder(config.out, "--out")
    return folder


def prepare(config: PrepareConfig) -> str:
    """Check the flags, and prepare the photos; see prepare_folder."""
    return prepare_folder(config, check_flags(config))


def prepare_folder(config: PrepareConfig, folder: "Folder") -> str:
    """Scan, judge duplicates, split, check labels and write the report.

    Args:
        config: The settings.
        folder: What check_flags returned for them.

    Returns:
        A summary for people.

    Raises:
        DataError: There are too few photos; the report is written then, too, but no split.
        OSError: A file cannot be read or written.
    """
    # Only now: this loads torch and matplotlib, which takes seconds.
    from models.networks.pretrained import BackboneError
    from train.cleaning.duplicate_policy import Duplicate, judge_duplicates, split_photos
    from train.cleaning.label_errors import suspect_labels
    from train.cleaning.report import write_report
    from train.cleaning.scan import channel_statistics, scan_photos
    from train.data.folders import PARTS, DataError

    config.out.mkdir(parents=True, exist_ok=True)
    log = config.out / "scan.jsonl"
    records = scan_photos(folder.root, folder.photos, log, config.workers)
    readable = [record for record in records if record.error is None]
    judged = judge_duplicates(readable, folder.photos)
    gone = {each.path for each in judged if not each.kept}
    kept = {
        record.path: folder.photos[record.path] for record in readable if record.path not in gone
    }
    fractions = {"test": config.test_fraction, "val": config.val_fraction}
    problem = None
    try:
        split = split_photos(kept, fractions, config.seed)
    except DataError as error:  # the report comes first: it shows where the photos went
        problem = error
        (config.out / "splits.json").unlink(
            missing_ok=True
        )  # of an earlier run: training would use it
        split = {part: sorted(path for path in kept if kept[path][0] == part) for part in PARTS}
    fingerprint = None if problem else write_split(config, split, folder, readable)
    with (
        atomic(config.out / "duplicates.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([each.name for each in dataclasses.fields(Duplicate)])
        writer.writerows(dataclasses.astuple(each) for each in judged)
    copy_places(config)
    if config.files != "none" and problem is None:
        lay_out_files(config, split, folder)
    suspicions = None
    if config.label_noise and problem is None:
        labelled = [(path, kept[path][1]) for path in split["train"] + split["val"]]
        try:
            suspicions = suspect_labels(folder.root, labelled, config.seed)
        except BackboneError as error:  # no pretrained weights: no network, nothing cached
            print(f"labels were not checked: {error}")
    training = set(split["train"])
    summary = summarise(folder, records, judged, split, fingerprint)
    if training:
        summary |= channel_statistics(record for record in readable if record.path in training)
    if problem is not None:
        summary["problem"] = str(problem)
    if suspicions is not None:
        summary["suspicious_labels"] = [dataclasses.asdict(each) for each in suspicions]
    write_text(config.out / "statistics.json", json.dumps(summary, indent=1, ensure_ascii=False))
    report = config.out / "report.html"
    write_report(report, folder.root, kept, split, readable, judged, summary)
    if problem is not None:
        raise DataError(f"{problem}; {report} shows what became of its photos") from problem
    return describe(summary, config.out)


def copy_places(config: PrepareConfig) -> None:
    """Put landmarks.csv into OUT, which is what training's --data names from here on.

    Of several data folders, the first that has a landmark says where it is.
    """
    from models.places.landmarks import LANDMARKS, Place, merge_places

    target = config.out / LANDMARKS.name
    found = [folder / LANDMARKS.name for folder in config.folders]
    found = [path for path in found if path.is_file()]
    if len(found) == 1:
        shutil.copyfile(found[0], target)
    elif found:
        columns = [field.name for field in dataclasses.fields(Place)]
        with atomic(target) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class_name", *columns])
            for label, place in merge_places(found).items():
                writer.writerow([label, *dataclasses.astuple(place)])


def summarise(
    folder: "Folder",
    records: "list[PhotoRecord]",
    judged: "list[Duplicate]",
    split: dict[str, list[str]],
    fingerprint: str | None,
) -> dict[str, object]:
    """Collect all findings, JSON-ready, for statistics.json and the report."""
    return {
        "fingerprint": fingerprint,
        "photos": len(records),
        "folders": folder.sources,
        "parts": {part: len(paths) for part, paths in split.items()},
        "class_photos": dict(Counter(label for _, label in folder.photos.values())),
        "unreadable": {record.path: record.error for record in records if record.error},
        "noted": {record.path: record.notes for record in records if record.notes},
        "not_photos": folder.others,
        "empty_classes": folder.empty,
        "alike_classes": folder.alike,
        "duplicate_groups": len({each.group for each in judged}),
        "left_out": dict(Counter(each.why for each in judged if not each.kept)),
    }


def describe(summary: dict, out: Path) -> str:
    """Return the findings in a few lines."""
    lines = [
        f"{summary['photos']} photos of {len(summary['class_photos'])} classes: "
        + ", ".join(f"{count} {part}" for part, count in summary["parts"].items()),
        f"{len(summary['unreadable'])} unreadable, {len(summary['noted'])} tiny, huge or animated, "
        f"{len(summary['not_photos'])} other files, {len(summary['empty_classes'])} empty classes",
        f"{summary['duplicate_groups']} groups of duplicates"
        + "".join(f"; {count} left out: {why}" for why, count in summary["left_out"].items()),
    ]
    lines += [
        f"classes that differ by case or spaces: {names}" for names in summary["alike_classes"]
    ]
    if "suspicious_labels" in summary:
        lines.append(f"{len(summary['suspicious_labels'])} labels look wrong")
    lines.append(f"report: {out / 'report.html'}; train on it: --data {out}")
    return "\n".join(lines)


def main(config: PrepareConfig) -> int:
    """Run the command: prepare the folder and print what was found.

    Returns:
        The exit status: 0, 1 after an error, 2 where flags cannot work, 130 after Ctrl-C.
    """
    status = 2
    try:
        folder = check_flags(config)
        status = 1
        print(prepare_folder(config, folder))
    except KeyboardInterrupt:
        print("stopped; run the same command again to resume")
        return 130
    except BrokenProcessPool:
        print(
            "error: a process that reads photos was killed, most likely since memory ran out; run "
            "the same command with fewer --workers to resume",
            file=sys.stderr,
        )
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(PrepareConfig, "python -m train.prepare", EXAMPLES, NEEDS)))
