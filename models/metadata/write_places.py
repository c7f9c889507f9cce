"""Places of tagged photos into the photos' own metadata, or into files beside them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from models.metadata.embed import embed
from models.metadata.photo_tags import PhotoTags
from models.metadata.safe_replace import ChangeError
from models.metadata.sidecar import write_sidecar
from models.metadata.undo_journal import Journal, Outcome, undo
from models.predictor import Predictor
from models.tagging.photo_list import NamedNothing
from models.tagging.resumable_table import WorkFile
from models.tagging.table import Row, one_line


def record_places(
    work: WorkFile,
    predictor: Predictor,
    embedded: bool,
    dry_run: bool,
    overwrite_gps: bool,
    min_score: float | None,
) -> None:
    """Write the places of known landmarks, or list what would be written; prints what became of it.

    Args:
        work: Rows of all photos. The journal lies beside its table.
        predictor: The model that made the rows.
        embedded: Into the photo itself where its format allows that; else into a sidecar.
        dry_run: Change nothing.
        overwrite_gps: Also where a photo has a position.
        min_score: Only where known_score is at least this; None: of all known landmarks.
    """
    path = work.out.with_name(work.out.name + ".journal")
    journal = None if dry_run else Journal(path)
    sure = (
        (photo, row)
        for photo, row in work.photos()
        if row["known"] and (min_score is None or row["known_score"] >= min_score)
    )
    outcomes = write_places(sure, predictor, embedded, journal, overwrite_gps)
    tally: Counter[str] = Counter()
    for outcome in tqdm(outcomes, "writing places", work.counts().known, unit="photo"):
        tally[outcome.action] += 1
        if dry_run or outcome.action == "fail":
            tqdm.write(one_line(f"{outcome.action} {outcome.photo}: {outcome.note}"))
    done = (
        f"{tally['embed']:,} photos and {tally['sidecar']:,} sidecars; "
        f"{tally['skip']:,} left alone, {tally['fail']:,} not possible"
    )
    if dry_run:
        print(f"places would go into {done}. Without --dry-run they do")
    elif tally["embed"] + tally["sidecar"]:
        print(f"places went into {done}. Take back: python -m models.tag --undo {path}")
    else:
        print(f"places went into {done}")


def write_places(
    photos: Iterable[tuple[Path, Row]],
    predictor: Predictor,
    embedded: bool,
    journal: Journal | None,
    overwrite_gps: bool,
) -> Iterator[Outcome]:
    """Write where photos were taken; of photos of known landmarks with a place alone.

    Args:
        photos: Paths and rows.
        predictor: As in record_places, like the others.
        embedded: See there.
        journal: Where undo is noted; None: a dry run.
        overwrite_gps: See there.

    Returns:
        What became of each of these photos.
    """
    jobs = (
        (path, tags) for path, row in photos if (tags := photo_tags(row, predictor)) is not None
    )
    if embedded:
        yield from embed(jobs, journal, overwrite_gps)
    else:
        for path, tags in jobs:
            yield write_sidecar(path, tags, journal, overwrite_gps)


def photo_tags(row: Row, predictor: Predictor) -> PhotoTags | None:
    """What a row says about its photo's place; None where it shows no known landmark with one."""
    place = predictor.place(row["label_1"]) if row["known"] else None
    if place is None:
        return None
    model = f"{row['model']} {row['model_digest'][:12]}"
    return PhotoTags((place.name, row["label_1"], place.kind), place, row["probability_1"], model)


def undo_places(path: Path) -> int:
    """Take back what a journal says, and print what became of it.

    Returns:
        How many files could not be taken back; each has a line that says why.

    Raises:
        NamedNothing: No journal is there.
    """
    tally: Counter[str] = Counter()
    try:
        for outcome in tqdm(undo(path), "taking back", unit="file", delay=1):
            tally[outcome.action] += 1
            if outcome.action == "fail":
                tqdm.write(one_line(f"fail {outcome.photo}: {outcome.note}"))
    except ChangeError as error:
        raise NamedNothing(str(error)) from error
    print(
        f"{tally['undo']:,} files are as they were, {tally['skip']:,} were already, "
        f"{tally['fail']:,} not possible"
    )
    return tally["fail"]
