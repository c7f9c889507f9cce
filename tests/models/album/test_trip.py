"""The sums over paths against all paths, one by one; what lies within reach."""

import itertools

import numpy as np
import pytest

from models.album.sphere import arc_km, to_vectors
from models.album.trip import PRIOR_ODDS, Trip, log_odds_in_album, reach, weigh
from tests.models.album.conftest import SPOTS

PLACES = to_vectors(np.array([*SPOTS.values(), (41.0, 12.0)]))
LANDMARKS = 50


def draw_trip(rng: np.random.Generator, count: int) -> Trip:
    """Photos with two guesses each, half of them sure; some have a position, some guesses none."""
    pairs = [rng.permutation(len(PLACES))[:2] for _ in range(count)]
    sites = np.array(pairs, int).reshape(count, 2)
    best = rng.uniform(0.4, 0.9, count)
    fixed = np.where(rng.random((count, 1)) < 0.2, PLACES[rng.integers(5, size=count)], np.nan)
    log_odds = rng.normal(1, 2, count)
    return Trip(
        np.sort(rng.uniform(0, 30, count)),
        fixed,
        np.where(rng.random((count, 2)) < 0.1, -1, sites),
        PLACES[sites],
        log_odds,
        np.stack([best, 1 - best], 1),
        log_odds > 1,
        np.ones(count, bool),
        LANDMARKS,
    )


def all_paths(trip: Trip, photo: int) -> np.ndarray:
    """What weigh returns for a photo without a position, from every choice for every photo."""
    known = np.isfinite(trip.fixed[:, 0])
    weights = PRIOR_ODDS * trip.probabilities * np.exp(np.clip(trip.log_odds, -6, 6))[:, None]
    sums = {-1: 0.0, 0: 0.0, 1: 0.0}
    choices = [(0,) if is_known else (-1, 0, 1) for is_known in known]
    for chosen in itertools.product(*choices):
        total, last = 1.0, None
        for at, guess in enumerate(chosen):
            if guess < 0:
                continue
            site = -2 if known[at] else trip.sites[at, guess]
            if site == -1 and at != photo:
                total = 0.0
            place = trip.fixed[at] if known[at] else trip.vectors[at, guess]
            if not known[at] and at != photo:
                total *= weights[at, guess]
            if last is not None:
                before, there, site_before = last
                gain = reach(arc_km(place, there), trip.hours[at] - trip.hours[before], LANDMARKS)
                doubted = site == site_before and not (trip.sure[at] or trip.sure[before])
                total *= min(gain, 1.0) if doubted else gain
            last = at, place, site
        sums[chosen[photo]] += total
    return np.log([sums[0] / sums[-1], sums[1] / sums[-1]])


@pytest.mark.parametrize("seed", range(8))
def test_gains_are_those_of_all_paths(seed: int) -> None:
    trip = draw_trip(np.random.default_rng(seed), 6)
    gains = weigh(trip)
    for photo in np.flatnonzero(np.isnan(trip.fixed[:, 0])):
        expected = np.where(trip.sites[photo] >= 0, all_paths(trip, photo), 0.0)
        assert gains[photo] == pytest.approx(expected, abs=1e-6)


def test_what_is_within_reach() -> None:
    def gain(km: float, hours: float, landmarks: int = 50) -> float:
        return float(reach(np.array(km), np.array(hours), landmarks))

    assert gain(1, 0.1) > gain(20, 0.5) > 1 > 0.1 > gain(500, 1)
    assert gain(9000, 10) < 0.001 < 0.1 < gain(9000, 15)
    assert gain(1, 1000) == pytest.approx(1, abs=0.01)  # weeks later, anywhere is as likely
    assert gain(1, 0.1, landmarks=2) == pytest.approx(1, abs=0.01)  # none can become likelier


def test_no_photo_no_gain() -> None:
    trip = draw_trip(np.random.default_rng(0), 0)
    assert weigh(trip).shape == (0, 2)
    assert log_odds_in_album(trip).shape == (0,)
