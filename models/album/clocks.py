"""Bring the clocks of cameras onto one time: zones, --clock-offset, and clocks that disagree."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from models.album.sphere import pairwise_km

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAME_PLACE_KM = 1.0
# Photos that two cameras took of one place on one visit lie this close together; typically.
VISIT_HOURS = 0.5
MAX_SEEN = 200  # places of a camera that are compared, spread over its photos
MAX_SHIFTS = 300  # shifts that are judged, those with most votes
CONFLICT = 3.0  # how many agreements it takes to outweigh one
MIN_GAIN = 1.0  # agreements by which a changed clock must be better than the one as it is
SLACK_KM, FASTEST_KMH = 10.0, 300.0
CONFLICT_HOURS = 3.0
MAX_ZONE_HOURS = 14.0


class OffsetError(ValueError):
    """A --clock-offset that is none; the message shows how one looks."""


def parse_offsets(texts: Iterable[str]) -> dict[str, float]:
    """Return camera ("" for all whose photos say no zone) -> hours that its clock is ahead of UTC.

    Args:
        texts: Such as "+02:00", "-05:30:20" or "Canon EOS 80D=+02:05".

    Raises:
        OffsetError: One of them is no such text.
    """
    offsets = {}
    for text in texts:
        camera, _, ahead = text.rpartition("=")
        match = re.fullmatch(r"([+-]?)(\d{1,6}):([0-5]\d)(?::([0-5]\d))?", ahead.strip())
        if match is None:
            raise OffsetError(
                f"--clock-offset {text} should be what the camera's clock showed ahead of UTC, "
                'such as +02:00 or "Canon EOS 80D=+02:05"'
            )
        sign, hours, minutes, seconds = match.groups()
        size = int(hours) + int(minutes) / 60 + int(seconds or 0) / 3600
        offsets[camera.strip()] = -size if sign == "-" else size
    return offsets


def utc_hours(taken: str, camera: str, offsets: Mapping[str, float]) -> tuple[float, bool]:
    """Return hours since 1970, and whether that is in UTC; else it is what the clock showed.

    Args:
        taken: As the table has it.
        camera: Its name.
        offsets: By parse_offsets. That of a camera counts more than its photos' zone.
    """
    time = datetime.fromisoformat(taken)
    shown = (time.replace(tzinfo=UTC) - EPOCH).total_seconds() / 3600
    if camera in offsets and camera:
        return shown - offsets[camera], True
    if time.tzinfo is not None:
        return (time - EPOCH).total_seconds() / 3600, True
    return (shown - offsets[""], True) if "" in offsets else (shown, False)


@dataclass(frozen=True)
class Seen:
    """Where a camera surely was: (n,) hours, ascending, and (n, 3) unit vectors."""

    hours: np.ndarray
    vectors: np.ndarray

    def thinned(self) -> "Seen":
        """Return at most MAX_SEEN of them."""
        step = -(-len(self.hours) // MAX_SEEN)
        return Seen(self.hours[::step], self.vectors[::step]) if step else self


def find_shift(one: Seen, other: Seen, zone_known: bool) -> float | None:
    """Find by how many hours another camera's clock must be moved to have been along.

    Both cameras photograph some of the same places on one visit; the shift that brings most of
    these close in time, and no two far-apart places, is the one. Half hours are preferred: people
    forget zones.

    Args:
        one: What one camera saw.
        other: What the other one saw.
        zone_known: Both clocks are in UTC.

    Returns:
        0 where the clocks agree as they are; None where nothing shows that the cameras travelled
        together. Another shift than 0 takes two places a kilometre apart, or one if it may be the
        zone that one of them does not say.
    """
    one, other = one.thinned(), other.thinned()
    if not len(one.hours) or not len(other.hours):
        return None
    km = pairwise_km(one.vectors, other.vectors)
    behind = one.hours[:, None] - other.hours
    same = km <= SAME_PLACE_KM
    # Each pair of photos of one place votes for a shift, to a tenth of an hour.
    shifts, votes = np.unique(np.round(behind[same], 1), return_counts=True)
    shifts = shifts[np.argsort(-votes, kind="stable")[:MAX_SHIFTS]]

    def judge(shift: float) -> tuple[float, int]:
        gap = np.abs(behind - shift)
        fits = np.where(same, np.exp(-gap / VISIT_HOURS), 0.0).max(0)
        # Only with what was seen nearest in time: one wrong name must not speak against a day.
        nearest, column = gap.argmin(0), np.arange(len(other.hours))
        close, away = gap[nearest, column], km[nearest, column]
        against = (close <= CONFLICT_HOURS) & (away > SLACK_KM + FASTEST_KMH * close)
        agreeing = other.vectors[fits > np.exp(-2)]
        spread = pairwise_km(agreeing[:1], agreeing).max() if len(agreeing) else 0.0
        places = 0 if not len(agreeing) else 1 + int(spread > SAME_PLACE_KM)
        return float(fits.sum() - CONFLICT * against.sum()), places

    score, places = judge(0.0)
    judged = [(judge(shift), shift) for shift in shifts]
    enough = [
        each
        for each in judged
        if each[0][1] >= (1 if not zone_known and abs(each[1]) <= MAX_ZONE_HOURS else 2)
    ]
    best = max(enough, default=None)
    if best is None or best[0][0] < score + MIN_GAIN:
        return 0.0 if places and score > 0 else None
    shift = best[1]
    whole = round(2 * shift) / 2
    if abs(whole - shift) < VISIT_HOURS / 2 and judge(whole)[0] > best[0][0] - MIN_GAIN / 2:
        shift = whole
    return shift if judge(shift)[0] > 0 else None
