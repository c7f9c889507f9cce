"""Read GPX tracks, and say where they were at a time."""

from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np

from models.album.sphere import arc_km, to_vectors

# A receiver that stands still, or rests between two points close together, records less often.
MAX_GAP_HOURS, SAME_PLACE_KM = 0.25, 0.2
RECEIVER_KM = 0.1


class TrackError(ValueError):
    """A track that cannot be used; the message names the file and the fix."""


@dataclass(frozen=True)
class Track:
    """The points of GPX files, in the order of time.

    Attributes:
        hours: (n,) float64, since 1970 in UTC.
        vectors: (n, 3) float64, unit vectors.
        names: Of the files.
        source: (n,) int, which file a point is from.
    """

    hours: np.ndarray
    vectors: np.ndarray
    names: tuple[str, ...]
    source: np.ndarray

    def at(self, hours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where the receiver was.

        Args:
            hours: (m,) float64; NaN: unknown.

        Returns:
            (m, 3) float64 unit vectors, NaN outside the tracks and in their gaps; (m,) float64
            radius in km; (m,) int which file.
        """
        after = np.clip(np.searchsorted(self.hours, hours), 1, len(self.hours) - 1)
        before = after - 1
        span = self.hours[after] - self.hours[before]
        apart = arc_km(self.vectors[before], self.vectors[after])
        inside = (hours >= self.hours[before]) & (hours <= self.hours[after])
        inside &= (span <= MAX_GAP_HOURS) | (apart <= SAME_PLACE_KM)
        share = ((hours - self.hours[before]) / np.maximum(span, 1e-9))[:, None]
        found = self.vectors[before] * (1 - share) + self.vectors[after] * share
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        place = np.where(inside[:, None], found, np.nan)
        return place, np.where(inside, RECEIVER_KM + apart / 2, np.nan), self.source[before]


def read_tracks(paths: tuple[Path, ...]) -> Track:
    """Read the track points of GPX files that have a time.

    Raises:
        TrackError: A file is missing, no GPX, or without two such points.
    """
    import gpxpy  # few albums have a track

    points: list[tuple[float, float, float, int]] = []
    for source, path in enumerate(paths):
        try:
            with path.open(encoding="utf-8-sig") as file:
                found = gpxpy.parse(file)
        except (OSError, ValueError, gpxpy.gpx.GPXException) as error:
            raise TrackError(f"{path} is no GPX track ({error}); export it again") from error
        timed = [point for point, *_ in found.walk() if point.time is not None]
        if len(timed) < 2:
            raise TrackError(
                f"{path} has no two track points with a time; export the track as it was recorded"
            )
        for point in timed:
            seconds = point.time.replace(tzinfo=point.time.tzinfo or UTC).timestamp()
            points.append((seconds / 3600, point.latitude, point.longitude, source))
    hours, latitude, longitude, source = np.array(sorted(points)).T
    vectors = to_vectors(np.stack([latitude, longitude], 1))
    return Track(hours, vectors, tuple(path.name for path in paths), source.astype(int))
