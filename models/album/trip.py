"""Weigh guesses by what else was photographed before and after: a hidden Markov model of the trip.

The traveller is at the place of a landmark or of a known position, or elsewhere. A photo shows the
landmark (its weight: the model's odds that it shows a known landmark, times the probability of that
one) or something else (weight 1); a known position leaves no choice. "Elsewhere" remembers which
place was left and when, so that what lies between two places has to be travelled in the time
between them, however many photos of other things were taken on the way. Each guess gets its
odds from all such paths, not from the best one: the forward-backward algorithm sums over them
(Rabiner 1989), in time linear in the photos.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.album.sphere import pairwise_km
from models.model_file.verdict import FAR_KM

# How much likelier than anywhere a landmark within reach on foot, or by road, becomes by having
# just been there; chosen with benchmarks/albums.py on validation photos.
ON_FOOT, BY_ROAD = 10.0, 3.0
STAY_HOURS = 48.0  # after which a traveller has moved on with a probability of 1 - 1/e
# What a clock, a position or a place may be wrong by: a landmark is photographed from afar.
FOOT_KM, ROAD_KM = 3.0, 25.0
FOOT_KMH, ROAD_KMH, AIR_KMH = 5.0, 100.0, 800.0
IMPOSSIBLE = 1e-4
# The odds that a photo of an album shows a landmark at all, before it is looked at.
PRIOR_ODDS = 0.3
# Where known scores end to be log-odds: fewer photos than one in 400 tell.
MAX_LOG_ODDS = 6.0
# Predecessors that are weighed: of all likely ones, and of the sure ones, the last so many each.
# More wrong guesses than that in a row hide only other guesses, never a sure photo.
WINDOW = 6
# How far the rest of a trip may raise a score. In the place of a landmark, too, most photos show
# something else: more would name some of them.
MAX_RISE = 1.0
PHOTOS_AT_ONCE = 500


@dataclass(frozen=True)
class Trip:
    """Photos of one traveller in the order of time; n photos, k guesses each.

    Attributes:
        hours: (n,) float64, ascending.
        fixed: (n, 3) float64, unit vectors of known positions; NaN where there is none.
        sites: (n, k) int, which landmark; -1: one without a place, or no guess.
        vectors: (n, k, 3) float64, where it is; anything where sites is -1.
        log_odds: (n,) float64, the known scores; -inf where there is no guess.
        probabilities: (n, k) float64 of the guesses if the photo shows a known landmark.
        sure, likely: (n,) bool: the photo alone is sure; sure or maybe.
        landmarks: How many the model knows.
    """

    hours: np.ndarray
    fixed: np.ndarray
    sites: np.ndarray
    vectors: np.ndarray
    log_odds: np.ndarray
    probabilities: np.ndarray
    sure: np.ndarray
    likely: np.ndarray
    landmarks: int


def reach(km: np.ndarray, hours: np.ndarray, landmarks: int) -> np.ndarray:
    """Return how much likelier a landmark is for where the traveller was; 1: as likely as ever.

    Args:
        km: Between the two places; any shape.
        hours: Between the two photos; broadcast against km.
        landmarks: How many the model knows: no one gets likelier than certain.
    """
    stays = np.exp(-hours / STAY_HOURS)
    near = km <= FOOT_KM + FOOT_KMH * hours
    road = km <= ROAD_KM + ROAD_KMH * hours
    air = km <= ROAD_KM + AIR_KMH * np.maximum(hours - 2, 0)  # to the airport and from it
    gain = np.where(near, ON_FOOT, np.where(road, BY_ROAD, 0.0))
    return (
        stays * np.minimum(gain, max(1.0, landmarks / 2)) + (1 - stays) * (road | air) + IMPOSSIBLE
    )


@dataclass(frozen=True)
class _Nodes:
    """The m photos that tell where the traveller was: those of known position, and the likely ones.

    Attributes:
        photo: (m,) int, which photo of the trip.
        hours, sites, vectors, sure: Of these photos; a known position is their first guess.
        fixed: (m,) bool, whether the position is known.
        weights: (m, k) float64, logarithms, of each guess against "something else"; -inf: none.
    """

    photo: np.ndarray
    hours: np.ndarray
    sites: np.ndarray
    vectors: np.ndarray
    sure: np.ndarray
    fixed: np.ndarray
    weights: np.ndarray

    @property
    def marked(self) -> np.ndarray:
        """(m,) bool, which no number of guesses in between hides."""
        return self.sure | self.fixed


def weigh(trip: Trip, report: Callable[[int], object] = lambda photos: None) -> np.ndarray:
    """Return what the rest of the trip adds to the log-odds of each photo's guesses.

    Args:
        trip: The photos.
        report: Is called now and then with how many photos more are done.

    Returns:
        (n, k) float64; 0 where nothing speaks for or against, or a guess has no place.
    """
    nodes = _find_nodes(trip)
    forward, backward = _sum_paths(nodes, trip.landmarks)
    gains = np.zeros(trip.sites.shape)
    for start in range(0, len(trip.hours), PHOTOS_AT_ONCE):
        rows = np.arange(start, min(start + PHOTOS_AT_ONCE, len(trip.hours)))
        gains[rows] = _gains(trip, rows, nodes, forward, backward)
        report(len(rows))
    return np.where(trip.sites >= 0, gains, 0.0)


def log_odds_in_album(
    trip: Trip, report: Callable[[int], object] = lambda photos: None
) -> np.ndarray:
    """Return (n,) float64: known scores as if the photos alone said what the album says.

    A score changes by as much as the log-odds that the photo shows its best guess; it rises by at
    most MAX_RISE.

    Args:
        trip: The photos.
        report: As for weigh.
    """
    gains = weigh(trip, report)
    with np.errstate(divide="ignore"):
        scores = trip.log_odds[:, None] + np.log(trip.probabilities)
    scores = np.where(np.isfinite(scores), scores, -np.inf)

    def odds(scores: np.ndarray) -> np.ndarray:
        others = np.logaddexp.reduce(scores[:, 1:], axis=1) if scores.shape[1] > 1 else -np.inf
        return scores[:, 0] - np.logaddexp(0.0, others)

    with np.errstate(invalid="ignore"):
        change = odds(scores + gains) - odds(scores)
    return trip.log_odds + np.where(np.isfinite(change), np.minimum(change, MAX_RISE), 0.0)


def _find_nodes(trip: Trip) -> _Nodes:
    known = np.isfinite(trip.fixed[:, 0])
    photo = np.flatnonzero(known | trip.likely)
    fixed = known[photo]
    with np.errstate(divide="ignore"):
        weights = np.log(PRIOR_ODDS * trip.probabilities[photo])
    weights += np.clip(trip.log_odds[photo], -MAX_LOG_ODDS, MAX_LOG_ODDS)[:, None]
    weights[trip.sites[photo] < 0] = -np.inf
    weights[fixed] = -np.inf
    weights[fixed, 0] = 0.0
    sites, vectors = trip.sites[photo].copy(), trip.vectors[photo].copy()
    sites[fixed], vectors[fixed] = -1, trip.fixed[photo[fixed], None]
    return _Nodes(
        photo, trip.hours[photo], sites, vectors, trip.sure[photo] & ~fixed, fixed, weights
    )


def _window(ends: np.ndarray, marked: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Return the neighbours that a path may come from.

    Args:
        ends: (q,) int: only nodes below these count.
        marked: (m,) bool, which nodes are sure or have a known position.
        fixed: (m,) bool, which have a known position: no path gets past one.

    Returns:
        (q, 2 * WINDOW) int nodes; -1: fewer.
    """
    steps = np.arange(1, WINDOW + 1)
    recent = ends[:, None] - steps
    kept = np.flatnonzero(marked)
    ranks = np.searchsorted(kept, ends)[:, None] - steps
    sure = np.where(ranks >= 0, np.append(kept, -1)[np.maximum(ranks, -1)], -1)
    sure[sure >= ends[:, None] - WINDOW] = -1  # among the recent ones already
    wall = np.append(np.maximum.accumulate(np.where(fixed, np.arange(len(fixed)), -1)), -1)
    found = np.concatenate([recent, sure], 1)
    return np.where(found >= np.maximum(wall[ends - 1], 0)[:, None], found, -1)


def _after(starts: np.ndarray, nodes: _Nodes) -> np.ndarray:
    """Return the neighbours that a path may go to, as _window, from these nodes on."""
    last = len(nodes.fixed) - 1
    mirrored = _window(last + 1 - starts, nodes.marked[::-1], nodes.fixed[::-1])
    return np.where(mirrored >= 0, last - mirrored, -1)


def _reach_between(
    vectors: tuple[np.ndarray, np.ndarray],
    hours: tuple[np.ndarray, np.ndarray],
    sites: tuple[np.ndarray, np.ndarray],
    sure: tuple[np.ndarray, np.ndarray],
    landmarks: int,
) -> np.ndarray:
    """Return (q, P, k, R, m) reach from each guess of P nodes to each of R others.

    Args:
        vectors: (q, P, k, 3) and (q, R, m, 3).
        hours: (q, P) and (q, R).
        sites: (q, P, k) and (q, R, m).
        sure: (q, P) and (q, R). Guesses at one landmark that are not sure do not confirm each
            other: a burst of photos repeats one mistake.
        landmarks: How many the model knows.
    """
    (q, p, k), (_, r, m) = sites[0].shape, sites[1].shape
    km = pairwise_km(vectors[0].reshape(q, p * k, 3), vectors[1].reshape(q, r * m, 3))
    gap = np.abs(hours[0][:, :, None, None, None] - hours[1][:, None, None, :, None])
    found = reach(km.reshape(q, p, k, r, m), gap, landmarks)
    alike = sites[0][..., None, None] == sites[1][:, None, None]
    doubted = ~(sure[0][:, :, None, None, None] | sure[1][:, None, None, :, None])
    return np.where(alike & doubted, np.minimum(found, 1.0), found)


def _sum_paths(nodes: _Nodes, landmarks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (m, k) logarithms: of all paths up to and with each guess; of all from it, with it."""
    count = len(nodes.photo)
    order = np.arange(count)
    sums = []
    for neighbours, steps in (
        (_window(order, nodes.marked, nodes.fixed), order),
        (_after(order + 1, nodes), order[::-1]),
    ):
        total = np.where(nodes.fixed[:, None], nodes.weights, -np.inf)
        free = ~nodes.fixed[np.maximum(neighbours, 0)] | (neighbours < 0)
        opens = free.all(1)  # nothing is known before: a path may begin here
        for start in range(0, count, PHOTOS_AT_ONCE):
            part = steps[start : start + PHOTOS_AT_ONCE]
            part = part[~nodes.fixed[part]]
            if not len(part):
                continue
            near = neighbours[part]
            moves = _reach_between(
                (nodes.vectors[near], nodes.vectors[part, None]),
                (nodes.hours[near], nodes.hours[part, None]),
                (nodes.sites[near], nodes.sites[part, None]),
                (nodes.sure[near], nodes.sure[part, None]),
                landmarks,
            ).reshape(len(part), -1, nodes.weights.shape[1])
            for row, node in enumerate(part):
                came = np.where(near[row, :, None] >= 0, total[near[row]], -np.inf).ravel()
                top = max(came.max(), 0.0)
                sum_ = np.exp(came - top) @ moves[row] + opens[node] * np.exp(-top)
                total[node] = nodes.weights[node] + top + np.log(sum_)
        sums.append(total)
    return sums[0], sums[1]


def _gains(
    trip: Trip, rows: np.ndarray, nodes: _Nodes, forward: np.ndarray, backward: np.ndarray
) -> np.ndarray:
    """Return (q, k): log of all paths through each guess of a photo, against those past it."""
    if not len(nodes.photo):
        return np.zeros((len(rows), trip.sites.shape[1]))
    before = _window(np.searchsorted(nodes.photo, rows), nodes.marked, nodes.fixed)
    after = _after(np.searchsorted(nodes.photo, rows, side="right"), nodes)
    sides, moves = [], []
    for near, sums in ((before, forward), (after, backward)):
        logs = np.where(near[..., None] >= 0, sums[near], -np.inf).reshape(len(rows), -1)
        closed = ((near >= 0) & nodes.fixed[near]).any(1)
        top = np.maximum(logs.max(1), 0.0)
        sides.append((np.exp(logs - top[:, None]), np.where(closed, 0.0, np.exp(-top))))
        own = (trip.vectors[rows, None], trip.hours[rows, None], trip.sites[rows, None])
        moves.append(
            _reach_between(
                (nodes.vectors[near], own[0]),
                (nodes.hours[near], own[1]),
                (nodes.sites[near], own[2]),
                (nodes.sure[near], trip.sure[rows, None]),
                trip.landmarks,
            ).reshape(len(rows), -1, trip.sites.shape[1])
        )
    past = _reach_between(
        (nodes.vectors[before], nodes.vectors[after]),
        (nodes.hours[before], nodes.hours[after]),
        (nodes.sites[before], nodes.sites[after]),
        (nodes.sure[before], nodes.sure[after]),
        trip.landmarks,
    ).reshape(len(rows), sides[0][0].shape[1], -1)
    (came, begins), (goes, ends) = sides
    into = (came[:, None] @ moves[0])[:, 0] + begins[:, None]
    out = (goes[:, None] @ moves[1])[:, 0] + ends[:, None]
    skip = (came[:, None] @ past @ goes[..., None])[:, 0]
    skip += (begins * goes.sum(1) + ends * came.sum(1) + begins * ends)[:, None]
    gains = np.log(into) + np.log(out) - np.log(skip)
    # What a photo says of its own place is all that counts; nothing is said within FAR_KM.
    fixed = trip.fixed[rows]
    km = pairwise_km(fixed[:, None], trip.vectors[rows])[:, 0]
    own = np.log(np.maximum(reach(km, np.zeros(1), trip.landmarks), (km <= FAR_KM)))
    return np.where(np.isfinite(fixed[:, :1]), own, gains)
