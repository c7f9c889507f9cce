"""Write the places of tagged photos into their own metadata or into sidecars, and undo that."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from models.metadata.embed import embed
from models.metadata.photo_tags import PhotoTags
from models.metadata.safe_replace import ChangeError
from models.metadata.sidecar import write_sidecar
from models.metadata.undo_journal import Journal, Outcome, undo
from models.places.landmarks import Place
from models.tagging.photo_list import PhotosNotFound
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import Row, one_line

if TYPE_CHECKING:  # an undo starts without torch
    from models.predictor import Predictor


def record_places(
    table: ResumableTable,
    predictor: "Predictor",
    embedded: bool,
    dry_run: bool,
    include_maybe: bool,
    overwrite_gps: bool,
    min_score: float | None,
    estimates: bool = False,
) -> None:
    """Write the places of landmarks, or list what would be written; print the outcome.

    Args:
        table: Rows of all photos. The journal lies beside its output.
        predictor: The model that made the rows.
        embedded: Into the photo itself where its format allows that; else into a sidecar.
        dry_run: Change nothing.
        include_maybe: Also write where the verdict is maybe; else only where it is sure. Where the
            trip was weighed, it is the verdict in the album.
        overwrite_gps: Also write where a photo has a position.
        min_score: Only where known_score is at least this.
        estimates: Also write the estimated places of the other photos.
    """
    if not (estimates or any(predictor.place(label) for label in predictor.class_names)):
        print(
            "this model file knows no places, so none are written: add landmarks.csv to its photos "
            "and export it again"
        )
        return
    if predictor.thresholds.sure is None and not (include_maybe or estimates):
        print(
            "this model file was not measured on photos of other things, so no answer is sure and "
            "nothing is written; --include-maybe writes what it takes for a landmark"
        )
        return
    path = table.out.with_name(table.out.name + ".journal")
    journal = None if dry_run else Journal(path)
    verdicts = {"sure", "maybe"} if include_maybe else {"sure"}
    scores: dict[Path, str] = {}  # of a dry run, whose lines show them

    def chosen() -> Iterator[tuple[Path, Row]]:
        for photo, row in table.photos():
            score = row["known_score"]
            verdict = row["verdict_in_album"] or row["verdict"]
            if verdict in verdicts and (min_score is None or score >= min_score):
                if dry_run:
                    scores[photo] = f"{verdict}, score {score:.2f}"
                yield photo, row | {"estimated_latitude": None}
            elif estimates and row["estimated_latitude"] is not None:
                if dry_run:
                    scores[photo] = f"from {row['estimated_from']}"
                yield photo, row | {"known": False}

    total = sum(1 for _ in chosen())
    tally: Counter[str] = Counter()
    planned: list[Outcome] = []
    outcomes = write_places(chosen(), predictor, embedded, journal, overwrite_gps)
    for outcome in tqdm(outcomes, "writing places", total, unit="photo"):
        tally[outcome.action] += 1
        if dry_run:
            planned.append(outcome)
        elif outcome.action == "fail":
            tqdm.write(one_line(f"fail {outcome.photo}: {outcome.note}"))
    for outcome in sorted(planned, key=lambda each: (each.photo.parent, each.photo.name)):
        said = f"{outcome.action} {outcome.photo} ({scores[outcome.photo]}): {outcome.note}"
        print(one_line(said))
    done = (
        f"{tally['embed']:,} photos and {tally['sidecar']:,} sidecars; "
        f"{tally['skip']:,} left alone, {tally['fail']:,} not possible"
    )
    if dry_run:
        print(f"places would go into {done}. Run without --dry-run to write them")
    elif tally["embed"] + tally["sidecar"]:
        print(f"places went into {done}. Undo: python -m models.tag --undo {path}")
    else:
        print(f"places went into {done}")


def write_places(
    photos: Iterable[tuple[Path, Row]],
    predictor: "Predictor",
    embedded: bool,
    journal: Journal | None,
    overwrite_gps: bool,
) -> Iterator[Outcome]:
    """Write where photos were taken; skip those that show no known landmark with a place.

    Args:
        photos: Paths and rows.
        predictor: The model that made the rows.
        embedded: Into the photo itself where its format allows that; else into a sidecar.
        journal: Records how to undo each change; None: a dry run, nothing is written.
        overwrite_gps: Also write where a photo has a position.

    Yields:
        What became of each photo that has something to write.
    """
    jobs = (
        (path, tags) for path, row in photos if (tags := photo_tags(row, predictor)) is not None
    )
    if embedded:
        yield from embed(jobs, journal, overwrite_gps)
    else:
        for path, tags in jobs:
            yield write_sidecar(path, tags, journal, overwrite_gps)


def photo_tags(row: Row, predictor: "Predictor") -> PhotoTags | None:
    """Return what a row says about its photo's place; None if that is nothing.

    An estimated place counts only where the row says that no landmark is known.
    """
    place = predictor.place(row["label_1"]) if row["known"] else None
    model = f"{row['model']} {row['model_digest'][:12]}"
    if place is None and row["estimated_latitude"] is not None:
        place = Place("", "", "", "", row["estimated_latitude"], row["estimated_longitude"], "")
        return PhotoTags((), place, 0.0, model, row["estimated_radius_km"])
    if place is None:
        return None
    return PhotoTags((place.name, row["label_1"], place.kind), place, row["probability_1"], model)


def undo_places(path: Path) -> int:
    """Undo the changes of a journal, and print what became of the files.

    Returns:
        How many files could not be restored; a printed line says why for each.

    Raises:
        PhotosNotFound: There is no journal at the path.
    """
    tally: Counter[str] = Counter()
    try:
        # delay: an undo of a few files, or one that fails at once, shows no bar.
        for outcome in tqdm(undo(path), "undoing", unit="file", delay=1):
            tally[outcome.action] += 1
            if outcome.action == "fail":
                tqdm.write(one_line(f"fail {outcome.photo}: {outcome.note}"))
    except ChangeError as error:
        raise PhotosNotFound(str(error)) from error
    print(
        f"{tally['undo']:,} files are as they were, {tally['skip']:,} were already, "
        f"{tally['fail']:,} not possible"
    )
    return tally["fail"]
