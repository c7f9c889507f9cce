"""Fill in the columns of a table that need the whole album: verdicts in it, estimated places."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from models.album.clocks import Seen, find_shift, utc_hours
from models.album.estimates import LANDMARK_KM, OWN_KM, Estimates, estimate
from models.album.gpx import Track
from models.album.sphere import to_degrees, to_vectors
from models.album.trip import Trip, log_odds_in_album
from models.predictor import Predictor
from models.tagging.table import Row

COLUMNS = (
    *("verdict_in_album", "estimated_latitude", "estimated_longitude"),
    *("estimated_radius_km", "estimated_from"),
)
GUESSES = 3  # of the five in a row that are weighed; the others are right in 1 of 100 photos


@dataclass
class _Photos:
    """What the trip needs of rows that have a time: lists, one entry a photo."""

    row: list[int] = field(default_factory=list)
    name: list[str] = field(default_factory=list)
    camera: list[str] = field(default_factory=list)
    hours: list[float] = field(default_factory=list)
    in_utc: list[bool] = field(default_factory=list)
    own: list[tuple[float, float]] = field(default_factory=list)
    sites: list[tuple[int, ...]] = field(default_factory=list)
    probabilities: list[tuple[float, ...]] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    verdict: list[str] = field(default_factory=list)


@dataclass
class _Timeline:
    """Cameras that travelled together: which photos, and where they surely were."""

    cameras: list[str]
    photos: np.ndarray
    seen: Seen
    in_utc: bool


class Album:
    """The photos of a table as trips.

    Memory holds about 2 KB per photo with a time.

    Attributes:
        notes: Lines for the user: clocks that disagree, tracks that could not be used.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        predictor: Predictor,
        offsets: Mapping[str, float] | None = None,
        track: Track | None = None,
    ) -> None:
        """Read the rows and bring their clocks together.

        Args:
            rows: Of a table, complete.
            predictor: The model that made them.
            offsets: Of clocks, by models.album.clocks.parse_offsets.
            track: Of GPX files.
        """
        self.notes: list[str] = []
        self._predictor, self._track = predictor, track
        self._count = 0
        self._photos = _Photos()
        self._index = {label: site for site, label in enumerate(predictor.class_names)}
        places = [predictor.place(label) for label in predictor.class_names]
        self._has_place = [place is not None for place in places]
        self._vectors = to_vectors(
            np.array([(p.latitude, p.longitude) if p else (0.0, 0.0) for p in places])
        )
        for row in rows:
            self._read(row, offsets or {})
            self._count += 1
        photos = self._photos
        self._hours, self._in_utc = np.array(photos.hours), np.array(photos.in_utc, bool)
        self._own = to_vectors(np.array(photos.own).reshape(-1, 2))
        self._sites = np.array(photos.sites, int).reshape(-1, GUESSES)
        self._sure = np.array([verdict == "sure" for verdict in photos.verdict], bool)
        # Of equal times the names decide, so that any order of rows gives the same answer.
        self._rank = np.empty(len(photos.name), int)
        self._rank[sorted(range(len(photos.name)), key=photos.name.__getitem__)] = np.arange(
            len(photos.name)
        )
        self._timelines = self._join_cameras()

    def __len__(self) -> int:
        """Return how many photos have a time."""
        return len(self._photos.row)

    def _read(self, row: Row, offsets: Mapping[str, float]) -> None:
        if row["taken"] is None or row["verdict"] is None:
            return
        photos, camera = self._photos, row["camera"] or ""
        hours, in_utc = utc_hours(row["taken"], camera, offsets)
        labels = [row[f"label_{rank}"] for rank in range(1, GUESSES + 1)]
        sites = (self._index.get(label, -1) for label in labels)
        photos.row.append(self._count)
        photos.name.append(row["photo"])
        photos.camera.append(camera)
        photos.hours.append(hours)
        photos.in_utc.append(in_utc)
        photos.own.append(
            tuple(
                np.nan if row[name] is None else row[name]
                for name in ("own_latitude", "own_longitude")
            )
        )
        photos.sites.append(
            tuple(site if site >= 0 and self._has_place[site] else -1 for site in sites)
        )
        photos.probabilities.append(
            tuple(row[f"probability_{rank}"] or 0.0 for rank in range(1, GUESSES + 1))
        )
        measured = self._predictor.thresholds.sure is not None and row["known_score"] is not None
        photos.score.append(row["known_score"] if measured else -np.inf)
        photos.verdict.append(row["verdict"])

    # --- clocks ----------------------------------------------------------------------------------

    def _join_cameras(self) -> list[_Timeline]:
        """Join the cameras that travelled together, with their clocks brought together."""
        names = np.array(self._photos.camera, object)
        known = np.isfinite(self._own[:, 0])
        sure = self._sure & (self._sites[:, 0] >= 0) & ~known
        places = np.where(sure[:, None], self._vectors[self._sites[:, 0]], self._own)
        alone = []
        for camera in sorted(set(self._photos.camera)):
            photos = np.flatnonzero(names == camera)
            seen = self._in_order(photos[(known | sure)[photos]])
            shown = Seen(self._hours[seen], places[seen])
            alone.append(_Timeline([camera], photos, shown, bool(self._in_utc[photos].all())))
        # Zones first: another clock is brought onto UTC rather than away from it.
        alone.sort(key=lambda each: (not each.in_utc, -len(each.seen.hours)))
        joined: list[_Timeline] = []
        for line in alone:
            for other in joined:
                shift = find_shift(other.seen, line.seen, other.in_utc and line.in_utc)
                if shift is not None:
                    self._join(other, line, shift)
                    break
            else:
                joined.append(line)
        return joined

    def _join(self, one: _Timeline, other: _Timeline, shift: float) -> None:
        self._hours[other.photos] += shift
        if shift:
            self.notes.append(_describe_shift(one, other, shift))
        if one.in_utc:
            self._in_utc[other.photos] = True
        hours = np.concatenate([one.seen.hours, other.seen.hours + shift])
        order = np.argsort(hours, kind="stable")
        one.seen = Seen(hours[order], np.concatenate([one.seen.vectors, other.seen.vectors])[order])
        one.photos = np.concatenate([one.photos, other.photos])
        one.cameras += other.cameras

    def _in_order(self, photos: np.ndarray) -> np.ndarray:
        """Return photos in the order of time."""
        return photos[np.lexsort((self._rank[photos], self._hours[photos]))]

    # --- places ----------------------------------------------------------------------------------

    def values(self, report: Callable[[int], object] = lambda photos: None) -> Iterator[Row]:
        """Yield the values of COLUMNS for each row, in the order of the rows.

        Args:
            report: Is called now and then with how many photos more are weighed.
        """
        found: dict[int, Row] = {}
        without_zone = 0
        for line in self._timelines:
            photos = self._in_order(line.photos)
            if self._track is not None:
                without_zone += int((~self._in_utc[photos]).sum())
            found |= self._place(photos, report)
        if without_zone:
            self.notes.append(
                f"photos that say no time zone, so that no track places them: {without_zone:,}; "
                "give --clock-offset"
            )
        empty = dict.fromkeys(COLUMNS)
        for row in range(self._count):
            yield found.get(row, empty)

    def _place(self, photos: np.ndarray, report: Callable[[int], object]) -> dict[int, Row]:
        """Return what is found for the photos of one timeline, in the order of time."""
        listed, hours, sites = self._photos, self._hours[photos], self._sites[photos]
        known, radius = self._own[photos].copy(), np.full(len(photos), OWN_KM)
        own = np.isfinite(known[:, 0])
        tracked, track_km, source = self._on_track(photos)
        on_track = np.isfinite(track_km) & ~own
        known[on_track] = tracked[on_track]
        verdicts = [listed.verdict[photo] for photo in photos]
        trip = Trip(
            hours,
            known.copy(),
            sites,
            self._vectors[sites],
            np.array([listed.score[photo] for photo in photos]),
            np.array([listed.probabilities[photo] for photo in photos]),
            self._sure[photos],
            np.array([verdict != "none" for verdict in verdicts]),
            len(self._predictor.class_names),
        )
        scores, judge = log_odds_in_album(trip, report), self._predictor.thresholds.judge
        for position, score in enumerate(scores):
            if np.isfinite(score):
                verdicts[position] = judge(score)
        sure = np.array([verdict == "sure" for verdict in verdicts]) & (sites[:, 0] >= 0)
        at_landmark = sure & ~own & ~on_track
        known[at_landmark] = self._vectors[sites[at_landmark, 0]]
        radius[at_landmark], radius[on_track] = LANDMARK_KM, track_km[on_track]
        # What is known of the photo itself needs no estimate; a track's place is one.
        found = estimate(hours, known, radius, own | on_track)
        result = {}
        for position, photo in enumerate(photos):
            row = dict.fromkeys(COLUMNS) | {"verdict_in_album": verdicts[position]}
            if on_track[position]:
                place = to_degrees(known[position]), track_km[position]
                row |= _estimated(*place, self._track.names[source[position]])
            elif np.isfinite(found.radius_km[position]):
                words = self._describe_sources(found, position, photos, hours)
                row |= _estimated(found.degrees[position], found.radius_km[position], words)
            result[listed.row[photo]] = row
        return result

    def _on_track(self, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return places, radius and file by the tracks, as Track.at; NaN where they say nothing."""
        if self._track is None:
            nothing = np.full((len(photos), 4), np.nan)
            return nothing[:, :3], nothing[:, 3], np.zeros(len(photos), int)
        return self._track.at(np.where(self._in_utc[photos], self._hours[photos], np.nan))

    def _describe_sources(
        self, found: Estimates, position: int, photos: np.ndarray, hours: np.ndarray
    ) -> str:
        """Say which photos an estimate comes from, the nearer in time first."""
        sources = [each for each in (found.before[position], found.after[position]) if each >= 0]
        # To a second: the one before comes first where both are as far away.
        sources.sort(key=lambda source: round(3600 * abs(hours[source] - hours[position])))
        said = []
        for source in sources:
            # Of the source: it was taken before the photo, or after it.
            side = "before" if hours[source] < hours[position] else "after"
            name = self._photos.name[photos[source]]
            said.append(f"{name} ({_duration(abs(hours[source] - hours[position]))} {side})")
        return ", ".join(said)


def _estimated(degrees: np.ndarray, radius_km: float, source: str) -> Row:
    return {
        "estimated_latitude": round(float(degrees[0]), 5),
        "estimated_longitude": round(float(degrees[1]), 5),
        "estimated_radius_km": round(float(radius_km), 1),
        "estimated_from": source,
    }


def _duration(hours: float) -> str:
    """Write 40 s, 12 min, 1.5 h or 31 days."""
    if hours < 1 / 60:
        return f"{round(hours * 3600)} s"
    if hours < 1:
        return f"{round(hours * 60)} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _describe_shift(one: _Timeline, other: _Timeline, shift: float) -> str:
    """Say whose clock was moved; a positive shift moves a clock that is behind."""
    names = [each.cameras[0] or "photos without a camera" for each in (other, one)]
    side = "behind" if shift > 0 else "ahead of"
    reference = "UTC" if one.in_utc and not other.in_utc else f"that of {names[1]}"
    return (
        f"the clock of {names[0]} seems {_duration(abs(shift))} {side} {reference}, by places that "
        f"both have photographed; the trip allows for it (--clock-offset sets it)"
    )
