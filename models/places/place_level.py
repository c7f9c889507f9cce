"""Say where a landmark is as exactly as its probabilities allow: the city or country, if not it."""

import math
from collections.abc import Mapping
from typing import Literal

from models.places.landmarks import Place

PlaceLevel = Literal["landmark", "city", "country"]
ENOUGH = 0.8
"""How probable a city or country must be to be named. Of validation photos with the verdict maybe
and as many of other things, 95 % of what passes is right (docs/albums.md)."""
SURE_ODDS = 6.0
"""Where known scores end to be log-odds: fewer photos than one in 400 tell."""


def known_probability(known_score: float) -> float:
    """Return the probability that a photo shows a known landmark, where half of all photos do.

    Args:
        known_score: Of a model that was measured on photos of other things: log-odds, by logistic
            regression (train.exporting.known_score).
    """
    return 1 / (1 + math.exp(-min(max(known_score, -SURE_ODDS), SURE_ODDS)))


def find_place_level(
    probabilities: Mapping[str, float], known_score: float, places: Mapping[str, Place | None]
) -> PlaceLevel | None:
    """Return how exactly one may say where the best guess is, although the guess is not sure.

    Args:
        probabilities: Label -> probability if the photo shows a known landmark, best first.
        known_score: As for known_probability.
        places: Label -> place; the first one's city and country are what is judged.

    Returns:
        "city" or "country", whose landmarks are together probable enough; None if neither are.
    """
    best = places.get(next(iter(probabilities)))
    if best is None:
        return None
    known = known_probability(known_score)
    for level in ("city", "country"):
        area = _area(best, level)
        share = sum(p for label, p in probabilities.items() if _area(places[label], level) == area)
        if area is not None and known * share >= ENOUGH:
            return level
    return None


def _area(place: Place | None, level: str) -> tuple[str, str] | None:
    """Return what tells a city or country from others; None where the place names none."""
    if place is None or not getattr(place, level):
        return None
    return (place.country, place.city) if level == "city" else (place.country, "")
