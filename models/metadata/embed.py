"""Write place and keywords into photos' own metadata.

exiftool gets copies in a temporary folder, under names that this program chose: it never touches an
original, and no photo's name can be taken for an option. Its result replaces the original only when
the pixels and all other metadata are verified to be the same.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.environment import ExiftoolError, check_exiftool
from models.metadata.exiftool import Tags, edit_files
from models.metadata.photo_tags import (
    STALE,
    STALE_IF_REPLACED,
    STALE_IN_LOCATIONS,
    PhotoTags,
    has_place_names,
    has_position,
    settings_to_add,
    tags_to_add,
    without_location_gps,
)
from models.metadata.safe_replace import (
    ChangeError,
    check_writable,
    partial_name,
    reason,
    remove_left_behind,
)
from models.metadata.sidecar import IN_SIDECAR, Change, replace_positions, write_sidecar
from models.metadata.undo_journal import Journal, Outcome, plan_undo
from models.metadata.verify import digest_pixels, find_difference
from models.photos import MAX_BYTES
from models.photos.gps import find_position
from models.photos.metadata_blocks import find_sidecars
from models.photos.raw import is_raw

# Starting exiftool takes a quarter of a second, which a batch shares; copies of a batch lie in the
# temporary folder at once.
BATCH = 32
BATCH_BYTES = 200 * 1000**2
SIGNATURES = {
    ".jpg": rb"\xff\xd8\xff",
    ".png": rb"\x89PNG\r\n\x1a\n",
    ".webp": rb"RIFF....WEBP",
    ".tif": rb"II\*\0|MM\0\*",
}
IPTC_SUFFIXES = (".jpg", ".tif")  # PNG and WebP have no room for it


@dataclass
class _Job:
    """A photo on its way through exiftool, with what each step found."""

    photo: Path
    tags: PhotoTags
    outcome: Outcome | None = None
    target: Path = Path()  # the file behind symbolic links
    name: str = ""  # of the copy; blank: not a format for exiftool
    digest: bytes = b""  # of the original's bytes, as they were copied
    pixels: bytes = b""
    before: Tags = field(default_factory=dict)
    added: dict[str, Any] = field(default_factory=dict)
    edit: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    sidecars: list[Change] = field(default_factory=list)  # whose positions are replaced, too
    note: str = ""

    def step(self, step: Callable[..., Outcome | None], *arguments: Any) -> None:
        """Take a step, unless the outcome is known; an error is an outcome."""
        if self.outcome is None:
            try:
                self.outcome = step(self, *arguments)
            except (OSError, ValueError, RuntimeError) as error:
                self.outcome = Outcome(self.photo, "fail", None, reason(error))


def embed(
    jobs: Iterable[tuple[Path, PhotoTags]], journal: Journal | None, overwrite_gps: bool = False
) -> Iterator[Outcome]:
    """Write tags into JPEG, PNG, WebP and TIFF, told by content; other photos get a sidecar.

    The position goes into EXIF and XMP; keywords and place names into XMP, and in JPEG and TIFF
    into IPTC too. Keywords are added to existing ones. Existing place names stay: a person wrote
    them. A photo with a position, also in a sidecar, is left alone. Symbolic links are followed.

    Args:
        jobs: Photos and what to write; taken a batch at a time.
        journal: Records how to undo each change; None: a dry run, which does the same to copies
            and writes nothing.
        overwrite_gps: Also write where a photo or a sidecar of it has a position, and replace it.

    Yields:
        One outcome per job, in order; nothing is raised for a bad photo.

    Raises:
        ExiftoolError: exiftool is missing or too old.
        OSError: No room for temporary files.
    """
    check_exiftool()
    remove_left_behind(Path(tempfile.gettempdir()))
    batch, size = [], 0
    for photo, tags in jobs:
        batch.append((photo, tags))
        with suppress(OSError, ValueError):
            size += photo.stat().st_size
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield from _embed_batch(batch, journal, overwrite_gps)
            batch, size = [], 0
    yield from _embed_batch(batch, journal, overwrite_gps)


def _embed_batch(
    batch: list[tuple[Path, PhotoTags]], journal: Journal | None, overwrite_gps: bool
) -> list[Outcome]:
    jobs = [_Job(photo, tags) for photo, tags in batch]
    with _own_folder() as folder:
        for index, job in enumerate(jobs):
            job.step(_copy, folder, index)
        todo = [job for job in jobs if job.outcome is None and job.name]
        try:
            found, _ = edit_files(folder, {job.name: [] for job in todo})
            for job in todo:
                job.step(_plan, folder, found, overwrite_gps)
            todo = [job for job in todo if job.outcome is None]
            found, notes = edit_files(folder, {job.name: job.edit for job in todo})
        except ExiftoolError as error:
            if len(batch) > 1:  # one photo must not spoil the others; nothing is written yet
                return [_embed_batch([each], journal, overwrite_gps)[0] for each in batch]
            return [Outcome(job.photo, "fail", None, reason(error)) for job in jobs]
        for job in todo:
            job.step(_replace, folder, found, notes, journal)
    return [
        job.outcome or write_sidecar(job.photo, job.tags, journal, overwrite_gps) for job in jobs
    ]


@contextmanager
def _own_folder() -> Iterator[Path]:
    folder = Path(tempfile.gettempdir()) / partial_name()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(job: _Job, folder: Path, index: int) -> None:
    """Copy a photo for exiftool, with a suffix that fits its content; skip other formats."""
    job.target = job.photo.resolve(strict=True)
    if not job.target.is_file():
        raise ChangeError("is not a file")
    # Many begin like a TIFF, but no check here would notice damage to what the sensor saw.
    if is_raw(job.photo.name) or is_raw(job.target.name):
        return
    if job.target.stat().st_size > MAX_BYTES:
        raise ChangeError(f"is over {MAX_BYTES // 1000**2} MB")
    content = job.target.read_bytes()
    formats = (name for name, start in SIGNATURES.items() if re.match(start, content, re.DOTALL))
    if (suffix := next(formats, None)) is None:
        return
    check_writable(job.target)
    # Before exiftool sees it: this also refuses metadata that unpacks to more than memory holds.
    job.pixels = digest_pixels(content)
    job.digest = hashlib.sha256(content).digest()
    job.name = f"{index}{suffix}"
    (folder / job.name).write_bytes(content)


def _plan(job: _Job, folder: Path, found: dict[str, Tags], overwrite_gps: bool) -> Outcome | None:
    """Decide what to add to what a photo says already; exiftool gets the values in a file."""
    job.before = found.get(job.name, {})
    if not job.before or "ExifTool:Error" in job.before:
        raise ChangeError("exiftool cannot read it; a sidecar is possible")
    if not overwrite_gps:
        own = find_position(job.photo)
        if has_position(job.before) or (own and own[1] == job.photo):
            return Outcome(job.photo, "skip", None, "has a position of its own")
        if own:
            return Outcome(job.photo, "skip", None, IN_SIDECAR)
    job.added = tags_to_add(job.before, job.tags, job.name.endswith(IPTC_SUFFIXES))
    if not job.added:
        return Outcome(job.photo, "skip", None, "has these keywords already")
    job.note = job.tags.describe(with_names=not has_place_names(job.before))
    job.stale = STALE if job.tags.place else []
    if overwrite_gps and job.tags.place:
        job.stale = [*STALE, *STALE_IF_REPLACED, *STALE_IN_LOCATIONS]
        job.before = without_location_gps(job.before)
        job.sidecars = replace_positions(find_sidecars(job.photo), job.tags)
        job.note += "".join(f"; also in {path.name}" for path, _, _ in job.sidecars)
    job.stale = [key for key in job.stale if key not in job.added]
    values = job.added | settings_to_add(job.before, job.added)
    settings = folder / f"{job.name}.json"
    # ensure_ascii would write emoji as pairs of \u escapes, which exiftool does not join.
    text = json.dumps([{"SourceFile": "*"} | values], ensure_ascii=False)
    settings.write_text(text, encoding="utf-8")
    job.edit = [*(f"-{key}=" for key in job.stale), f"-json+={settings.name}"]
    return None


def _replace(
    job: _Job, folder: Path, found: dict[str, Tags], notes: dict[str, str], journal: Journal | None
) -> Outcome:
    """Replace the photo by exiftool's result, if that is what was wanted and nothing else.

    A dry run proves the same, so that it promises nothing that would fail.
    """
    new, after = (folder / job.name).read_bytes(), found.get(job.name, {})
    if (note := notes.get(job.name, "")).startswith("Error"):
        raise ChangeError(f"exiftool says {note}; a sidecar is possible")
    key = find_difference(job.before, after, job.added, job.stale)
    # exiftool leaves a location that should be a list, and is none.
    if key is None and set(STALE_IN_LOCATIONS) <= set(job.stale):
        replaced = without_location_gps(after)
        key = next((each for each in after if after[each] != replaced.get(each)), None)
    if key is not None:
        raise ChangeError(f"exiftool would get {key} wrong; a sidecar is possible")
    if digest_pixels(new) != job.pixels:
        raise ChangeError("exiftool would change its pixels or what follows; a sidecar is possible")
    old = job.target.read_bytes()
    if hashlib.sha256(old).digest() != job.digest:
        raise ChangeError("was changed meanwhile; try again")
    # The sidecars first: programs believe them more than the photo.
    for target, before, after in [*job.sidecars, (job.target, old, new)]:
        if journal is None:
            plan_undo(before, after)
        else:
            journal.replace(target, before, after)
    return Outcome(job.photo, "embed", job.target, job.note)
