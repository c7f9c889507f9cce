"""Which of a row's positions is shown, and as what."""

import pytest

from models.tagging.location import Location, locate
from tests.support.album import ROME, album_row, estimate

OWN = {"own_latitude": 41.9, "own_longitude": 12.5}
NEAR = estimate(41.8, 12.4, 3.5, "1.jpg (20 min before)")
AT_THE_LANDMARK = (41.8902, 12.4922)
SURE = (*AT_THE_LANDMARK, "sure", "the landmark's", None)
ESTIMATED = (41.8, 12.4, "estimated", "estimated from 1.jpg (20 min before)", 3.5)


@pytest.mark.parametrize(
    ("verdict", "values", "expected"),
    [
        ("none", {}, None),
        (None, {"error": "is empty"}, None),
        ("sure", {}, None),  # a landmark without a place
        ("sure", ROME, SURE),
        ("maybe", ROME, (*AT_THE_LANDMARK, "maybe", "the landmark's", None)),
        ("none", ROME, None),
        ("none", OWN, (41.9, 12.5, "sure", "the photo's own", None)),
        ("sure", ROME | OWN, (41.9, 12.5, "sure", "the photo's own", None)),
        ("none", NEAR, ESTIMATED),
        # The album knows better than the photo alone, in both directions.
        ("maybe", ROME | {"verdict_in_album": "sure"}, SURE),
        ("sure", ROME | {"verdict_in_album": "none"}, None),
        ("sure", ROME | NEAR | {"verdict_in_album": "maybe"}, ESTIMATED),
    ],
)
def test_the_best_position_is_shown(
    verdict: str | None, values: dict[str, object], expected: tuple | None
) -> None:
    found = locate(album_row("1.jpg", verdict, **values))
    assert found == (expected and Location(*expected))


def test_the_equator_and_the_meridian_are_places() -> None:
    assert locate(album_row("1.jpg", own_latitude=0.0, own_longitude=0.0)) is not None
