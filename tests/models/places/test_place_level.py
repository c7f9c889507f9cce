"""From a landmark that is not sure back to its city or country."""

import pytest

from models.places.landmarks import Place
from models.places.place_level import find_place_level, known_probability

PLACES = {
    "Gate": Place("Gate", "", "Berlin", "DE", 52.52, 13.38, ""),
    "Dome": Place("Dome", "", "Berlin", "DE", 52.52, 13.40, ""),
    "Cathedral": Place("Cathedral", "", "Cologne", "DE", 50.94, 6.96, ""),
    "Tower": Place("Tower", "", "Paris", "FR", 48.86, 2.29, ""),
    "Hut": Place("Hut", "", "", "", 10.0, 10.0, ""),
    "Nowhere": None,
}


@pytest.mark.parametrize(
    ("probabilities", "known_score", "level"),
    [
        ({"Gate": 0.5, "Dome": 0.45, "Tower": 0.05}, 5.0, "city"),
        ({"Gate": 0.4, "Cathedral": 0.35, "Dome": 0.2, "Tower": 0.05}, 5.0, "country"),
        ({"Gate": 0.5, "Tower": 0.3, "Dome": 0.2}, 5.0, None),
        ({"Gate": 0.5, "Dome": 0.5}, 1.0, None),  # it may show none of them
        ({"Hut": 0.9, "Nowhere": 0.1}, 5.0, None),
        ({"Nowhere": 0.9, "Gate": 0.1}, 5.0, None),
    ],
)
def test_city_or_country_if_probable_enough(
    probabilities: dict[str, float], known_score: float, level: str | None
) -> None:
    assert find_place_level(probabilities, known_score, PLACES) == level


def test_a_score_is_log_odds() -> None:
    assert known_probability(0.0) == 0.5
    assert known_probability(2.0) == pytest.approx(0.8808, abs=1e-4)
    assert known_probability(1e9) < 1
    assert known_probability(-1e9) > 0
