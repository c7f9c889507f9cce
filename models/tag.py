"""Tag photos with landmarks and places: python -m models.tag PHOTOS... --out tags.csv."""

import contextlib
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from models.album.clocks import OffsetError, parse_offsets
from models.album.gpx import Track, TrackError, read_tracks
from models.command_line import parse_flags
from models.environment import (
    ExiftoolError,
    MissingPackage,
    check_exiftool,
    cores,
    require,
)
from models.model_file.model_path import ModelFileError, find_model
from models.tagging.photo_list import PhotosNotFound, check_names, find_photos
from models.tagging.table import TableError, check_format, one_line
from models.tagging.workers import WorkerError, tag_photos, warm_up

if TYPE_CHECKING:
    from tqdm import tqdm

    from models.predictor import Predictor
    from models.tagging.resumable_table import ResumableTable
    from models.tagging.tagger import Tagger

EXAMPLES = (
    "python -m models.tag ~/Pictures --out tags.csv",
    'python -m models.tag "2024/**/*.jpg" --out tags.parquet --model runs/ID',
    "python -m models.tag ~/Pictures/Italy --out italy.csv --map italy.html",
    "python -m models.tag ~/Pictures --out tags.csv --write sidecar --dry-run",
)
RESUME = "run the same command again to resume"
ERRORS_SHOWN = 5


@dataclass(frozen=True)
class TagConfig:
    """Tell for each photo which landmark it shows and where that is; one row per photo.

    After Ctrl-C or a kill, run the same command again to resume. On a finished table it adds the
    photos that are new.
    """

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "photos and table": ("photos", "out", "map"),
        "model": ("model", "artifact"),
        "hardware": ("workers", "ray"),
        "trip": ("trip", "gpx", "clock_offset"),
        "places": (
            "write",
            "dry_run",
            "include_maybe",
            "estimates",
            "overwrite_gps",
            "min_score",
            "undo",
        ),
    }

    photos: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders (searched to any depth), photos (RAW too), patterns ("2024/**/*.jpg"), @FILE for a
    list with one path per line, - for such a list on the standard input."""
    out: Path | None = None
    """The table to write: .csv, .json or .parquet, or for maps .geojson, .kml or .gpx."""
    model: Path | None = None
    """A model file or a run folder (runs/ID)."""
    artifact: str | None = None
    """Instead of --model: a W&B model, entity/project/landmarks:best (or LANDMARKS_ARTIFACT). With
    neither, the model that demo.py would serve."""
    workers: int | None = None
    """Processes, each with a model and a core; none: one per core."""
    ray: str | None = None
    """Tag on a Ray cluster: its address, or local for one on this machine. Photos and --out must be
    reachable under the same path on all its machines."""
    trip: bool = True
    """Weigh each guess by what the same camera photographed before and after, and estimate where
    photos without a landmark were taken (docs/albums.md)."""
    gpx: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A recorded track (GPX), which places photos by their time; may be given several times."""
    clock_offset: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """How far a camera's clock was ahead of UTC, such as +02:00, for photos that say no zone, or
    "Canon EOS 80D=+02:05" for all of that camera; may be given several times."""
    write: Literal["none", "sidecar", "embed"] = "none"
    """Also write places and keywords of landmarks that are sure: into XMP files beside the photos,
    or into the photos themselves (with exiftool). Photos that have a position are left alone."""
    dry_run: bool = False
    """With --write: list what would be written, by folder, and write only the table."""
    include_maybe: bool = False
    """With --write: also for photos with the verdict maybe, of which many are something else."""
    estimates: bool = False
    """With --write: also write the estimated positions of other photos, marked as estimated."""
    overwrite_gps: bool = False
    """With --write: replace the positions that photos have."""
    min_score: float | None = None
    """With --write: only for photos whose known_score in the table is at least this. The verdict
    counts, too."""
    map: Path | None = None
    """Also draw the photos on a map: one .html file that needs no network."""
    undo: Path | None = None
    """Undo what --write has written: give the journal that it named. Nothing else is done."""


class UsageError(ValueError):
    """Flags that do not fit together; the message names the fix."""


MISTAKES = (
    *(UsageError, PhotosNotFound, TableError, ModelFileError, ExiftoolError, MissingPackage),
    *(OffsetError, TrackError),
)


def check_config(config: TagConfig) -> None:
    """Refuse what would fail after hours, before anything slow is imported.

    Raises:
        UsageError: And TableError, PhotosNotFound, ModelFileError, ExiftoolError, MissingPackage:
            in one line what to change.
    """
    if config.undo is not None:
        if config.photos or config.out:
            raise UsageError("--undo takes neither photos nor --out")
        return
    if not config.photos:
        raise UsageError("name folders, photos, patterns or lists; --help says more")
    if config.out is None:
        raise UsageError("name the table with --out, such as --out tags.csv")
    check_format(config.out)
    if config.map is not None and config.map.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--map {config.map} must end in .html")
    for flag, path in (("--out", config.out), ("--map", config.map)):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"no folder {path.absolute().parent} for {flag}")
        if path is not None and path.is_dir():
            raise UsageError(f"{flag} {path} is a folder")
    if config.ray is not None:
        require("--ray", ["ray", "pyarrow"])
    if config.workers is not None and config.workers < 1:
        raise UsageError("--workers needs at least 1")
    if config.model is not None and config.artifact is not None:
        raise UsageError("--model and --artifact exclude each other")
    if config.model is not None:
        find_model(config.model)
    given = {
        "--dry-run": config.dry_run,
        "--include-maybe": config.include_maybe,
        "--estimates": config.estimates,
        "--overwrite-gps": config.overwrite_gps,
        "--min-score": config.min_score is not None,
    }
    if config.write == "none" and (flags := [flag for flag, is_given in given.items() if is_given]):
        raise UsageError(f"{' and '.join(flags)} without --write sidecar or --write embed")
    if not config.trip and (config.gpx or config.clock_offset or config.estimates):
        raise UsageError("--gpx, --clock-offset and --estimates need the trip: leave out --no-trip")
    parse_offsets(config.clock_offset)
    if config.gpx:
        require("--gpx", ["gpxpy"])
    check_names(config.photos)
    if config.write == "embed":
        check_exiftool()


def tag(config: TagConfig) -> int:
    """Tag photos, write the table, then the places.

    Returns:
        The exit status: 1 if no photo could be read.
    """
    from models.sources.served_model import ModelSource
    from models.tagging.resumable_table import ResumableTable
    from models.tagging.tagger import Tagger

    track = read_tracks(config.gpx) if config.gpx else None  # a mistake in it shows at once
    served = ModelSource.open(config.model, config.artifact).served
    tagger = Tagger(served.predictor, served.origin and served.origin.version)
    with ResumableTable(config.out, tagger.predictor.digest) as table:
        _tag_photos(config, tagger, table)
        counts, errors = table.counts(), table.errors(ERRORS_SHOWN)
        if counts.photos == 0:
            raise UsageError(f"no photos in {' '.join(config.photos)}")
        _weigh_trip(config, tagger.predictor, track, table)
        table.write_table()
        if config.map is not None:
            from models.album_map.map_page import write_map

            write_map(config.map, table.photos())
        if config.write != "none":
            from models.metadata.write_places import record_places

            record_places(
                table,
                tagger.predictor,
                embedded=config.write == "embed",
                dry_run=config.dry_run,
                include_maybe=config.include_maybe,
                estimates=config.estimates,
                overwrite_gps=config.overwrite_gps,
                min_score=config.min_score,
            )
        # Only now: a run that is stopped while it writes places resumes with all rows.
        table.finish()
    failed = counts.photos - counts.read
    for error in errors:
        print(f"could not be read: {one_line(error)}", file=sys.stderr)
    if failed > len(errors):
        print(f"... and {failed - len(errors):,} more: see error in {config.out}", file=sys.stderr)
    print(
        f"{counts.photos:,} photos: {counts.read:,} tagged ({counts.sure:,} sure, "
        f"{counts.maybe:,} maybe, {counts.read - counts.sure - counts.maybe:,} none of the "
        f"landmarks), "
        f"{failed:,} could not be read; {config.out}{f' and {config.map}' if config.map else ''}"
    )
    return 0 if counts.read else 1


def _tag_photos(config: TagConfig, tagger: "Tagger", table: "ResumableTable") -> None:
    """Add the rows that are missing; photos that have one already count as done."""
    from tqdm import tqdm

    with tqdm(desc="tagging", unit="photo", smoothing=0.05) as bar:

        def missing() -> Iterator[str]:
            for path in find_photos(config.photos):
                if table.claim(path):
                    yield path
                else:
                    bar.update()

        # A second search counts photos for the bar, while the first ones are tagged. The standard
        # input can be read only once.
        if "-" not in config.photos:
            threading.Thread(target=_count, args=(config.photos, bar), daemon=True).start()
        if config.ray is not None:
            from models.tagging.ray_tagging import tag_on_ray

            tag_on_ray(missing(), tagger, table, config.ray, config.workers, bar.update)
            return
        for path, row in tag_photos(missing(), tagger, config.workers or cores()):
            table.add([(path, row)])
            bar.update()


def _weigh_trip(
    config: TagConfig, predictor: "Predictor", track: Track | None, table: "ResumableTable"
) -> None:
    """Fill in the columns that need all photos; without a trip they are empty."""
    from tqdm import tqdm

    from models.album.album import COLUMNS, Album

    if not config.trip:
        empty = dict.fromkeys(COLUMNS)
        table.set_columns(COLUMNS, (empty for _ in range(table.counts().photos)))
        return
    album = Album(table.rows(), predictor, parse_offsets(config.clock_offset), track)
    # delay: an album of a few thousand photos shows no bar.
    with tqdm(desc="trip", total=len(album), unit="photo", delay=1) as bar:
        table.set_columns(COLUMNS, album.values(bar.update))
    for note in album.notes:
        print(one_line(note))
    counts = table.counts()
    if counts.sure_in_album or counts.estimated:
        print(
            f"in the album: {counts.sure_in_album:,} sure, {counts.estimated:,} others with an "
            "estimated place"
        )


def _count(names: Iterable[str], bar: "tqdm") -> None:
    """Tell a progress bar how many photos there are."""
    with contextlib.suppress(OSError, PhotosNotFound):  # the other search reports these
        bar.total = sum(1 for _ in find_photos(names))
        bar.refresh()


def main(config: TagConfig) -> int:
    """Tag, or undo; return the exit status."""
    # SIGTERM, which a system sends before it shuts down, stops a run as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_config(config)
        if config.undo is not None:
            from models.metadata.write_places import undo_places

            return 1 if undo_places(config.undo) else 0
        if config.ray is None:
            # Which model W&B has is not known yet.
            warm_up(None if config.artifact else find_model(config.model))
        return tag(config)
    except MISTAKES as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WorkerError, OSError, sqlite3.Error) as error:
        print(f"error: {error}; {RESUME}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; {RESUME}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main(parse_flags(TagConfig, prog="python -m models.tag", examples=EXAMPLES)))
