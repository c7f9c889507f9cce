"""Estimate where photos were taken from those before and after whose place is known."""

from dataclasses import dataclass

import numpy as np

from models.album.sphere import arc_km, to_degrees

MAX_HOURS, MAX_KM = 12.0, 50.0
"""No estimate from further away in time, or with a larger radius."""
# Grown from a landmark's own size and the distance it is photographed from; kilometres an hour away
# from it. Checked by benchmarks/albums.py: how many true places lie within the radius.
LANDMARK_KM, OWN_KM = 3.0, 1.0
WANDER_KMH = 4.0
OPEN_KMH = 10.0  # where no known place follows, or none comes before: the traveller may have left
# How long a journey takes by road, or by air from door to door; and in which part of the time left
# beside it, up to so many hours, a traveller most probably has not set out yet, or has arrived.
ROAD_KMH, AIR_KMH, AIR_HOURS = 80.0, 700.0, 4.0
STAYING, STAYING_HOURS = 0.1, 2.0


@dataclass(frozen=True)
class Estimates:
    """Where n photos probably were; NaN where that is too uncertain.

    Attributes:
        degrees: (n, 2) float64, latitude and longitude.
        radius_km: (n,) float64.
        before, after: (n,) int, the photos that it comes from; -1: none.
    """

    degrees: np.ndarray
    radius_km: np.ndarray
    before: np.ndarray
    after: np.ndarray


def estimate(
    hours: np.ndarray, vectors: np.ndarray, radius_km: np.ndarray, own: np.ndarray
) -> Estimates:
    """Estimate the places of photos from the known ones of the same trip.

    Between two own positions within MAX_KM a place is taken as far along as the time; else it is
    the known place that is nearest in time. The radius grows with the time from it: by what people
    wander, and by the speed at which the other known place must be reached.

    Args:
        hours: (n,) float64, ascending.
        vectors: (n, 3) float64, unit vectors of the known places; NaN: to be estimated.
        radius_km: (n,) float64, how exactly they are known.
        own: (n,) bool, whether a known place is a position of the camera, not of a landmark.

    Returns:
        Estimates; those of known photos are NaN.
    """
    count, known = len(hours), np.flatnonzero(np.isfinite(vectors[:, 0]))
    order = np.arange(count)
    rank = np.searchsorted(known, order)
    padded = np.append(known, -1)
    before = padded[rank - 1]  # rank 0: the last of padded, -1
    after = padded[rank]
    gaps = []
    for near in (before, after):
        gap = np.where(near >= 0, np.abs(hours - hours[near]), np.inf)
        gaps.append(np.where(gap <= MAX_HOURS, gap, np.inf))
    both = (before >= 0) & (after >= 0)
    # The speed counts even if one of them is too long ago to say anything else.
    span = np.where(both, hours[after] - hours[before], np.inf)
    apart = np.where(both, arc_km(vectors[before], vectors[after]), 0.0)
    nearest = np.where(gaps[0] <= gaps[1], before, after)
    gap = np.minimum(gaps[0], gaps[1])
    moving = both & own[before] & own[after] & np.isfinite(gaps[0] + gaps[1]) & (apart <= MAX_KM)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(span > 0, (hours - hours[before]) / span, 0.0)[:, None]
        speed = np.where(span > 0, apart / span, np.where(apart > LANDMARK_KM, np.inf, 0.0))
        journey = np.minimum(apart / ROAD_KMH, apart / AIR_KMH + AIR_HOURS)
        stays = gap <= np.minimum(STAYING * (span - journey), STAYING_HOURS)
        speed = np.where(stays & ~moving, 0.0, speed) + np.where(both, WANDER_KMH, OPEN_KMH)
        radius = radius_km[nearest] + np.where(gap > 0, speed * gap, 0.0)
    between = vectors[before] * (1 - share) + vectors[after] * share
    found = to_degrees(np.where(moving[:, None], between, vectors[nearest]))
    is_open = np.isfinite(gap) & (radius <= MAX_KM) & ~np.isfinite(vectors[:, 0])
    return Estimates(
        np.where(is_open[:, None], found, np.nan),
        np.where(is_open, radius, np.nan),
        np.where(is_open & np.isfinite(gaps[0]), before, -1),
        np.where(is_open & np.isfinite(gaps[1]), after, -1),
    )
