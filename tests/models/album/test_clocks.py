"""Clocks of several cameras: zones, offsets by hand, and clocks that are found to disagree."""

from collections.abc import Callable

import numpy as np
import pytest

from models.album.album import Album
from models.album.clocks import OffsetError, Seen, find_shift, parse_offsets, utc_hours
from models.album.sphere import to_vectors
from models.tagging.table import Row
from tests.models.album.conftest import SPOTS, SURE, Model, photo

ROME, PANTHEON, SYDNEY = SPOTS["Colosseum"], SPOTS["Pantheon"], SPOTS["Opera House"]


def seen(*visits: tuple[float, tuple[float, float]]) -> Seen:
    hours, places = zip(*visits, strict=True)
    return Seen(np.array(hours, float), to_vectors(np.array(places)))


def test_offsets_by_hand() -> None:
    found = parse_offsets(["+02:00", "Canon EOS=-05:30:36", "a=b=72:00"])
    assert found == {"": 2.0, "Canon EOS": pytest.approx(-5.51), "a=b": 72.0}
    for text in ("2", "+02:60", "noon", "Canon", "", "+02:00:99"):
        with pytest.raises(OffsetError, match=r"such as \+02:00"):
            parse_offsets([text])


def test_which_time_counts() -> None:
    noon = 12.0 + 24 * 19849  # 6 May 2024
    assert utc_hours("2024-05-06T12:00:00", "A", {}) == (noon, False)
    assert utc_hours("2024-05-06T12:00:00+02:00", "A", {}) == (noon - 2, True)
    assert utc_hours("2024-05-06T12:00:00", "A", {"": 3.0}) == (noon - 3, True)
    assert utc_hours("2024-05-06T12:00:00+02:00", "A", {"": 3.0}) == (noon - 2, True)
    assert utc_hours("2024-05-06T12:00:00+02:00", "A", {"A": 4.0}) == (noon - 4, True)
    assert utc_hours("2024-05-06T12:00:00", "", {"": 3.0}) == (noon - 3, True)


def test_clocks_that_agree() -> None:
    one = seen((10, ROME), (12, PANTHEON), (40, SYDNEY))
    other = seen((10.2, ROME), (12.1, PANTHEON), (40.3, SYDNEY))
    assert find_shift(one, other, zone_known=True) == 0.0


@pytest.mark.parametrize("shift", [1.0, -5.5, 24 * 366.0])
def test_a_clock_that_is_wrong(shift: float) -> None:
    one = seen((10, ROME), (12, PANTHEON), (40, SYDNEY))
    other = seen((10.1 - shift, ROME), (12.1 - shift, PANTHEON), (40.2 - shift, SYDNEY))
    assert find_shift(one, other, zone_known=True) == pytest.approx(shift, abs=0.3)


def test_one_place_shows_a_zone_but_no_wrong_clock() -> None:
    one, other = seen((10, ROME), (10.5, ROME)), seen((17.1, ROME), (17.4, ROME))
    assert find_shift(one, other, zone_known=False) == pytest.approx(-7.0)
    assert find_shift(one, other, zone_known=True) is None
    later = seen((100.0, ROME), (100.4, ROME))
    assert find_shift(one, later, zone_known=False) is None


def test_cameras_that_travel_apart() -> None:
    assert find_shift(seen((10, ROME)), seen((10.1, SYDNEY)), zone_known=False) is None
    assert find_shift(seen((10, ROME)), Seen(np.zeros(0), np.zeros((0, 3))), True) is None
    # One place in common, but far apart the next day.
    one = seen((10, ROME), (34, ROME), (58, ROME))
    other = seen((10.1, ROME), (34.1, SYDNEY), (58.1, SYDNEY))
    assert find_shift(one, other, zone_known=True) is None


@pytest.fixture
def two_cameras() -> list[Row]:
    """A phone that says its zone, and a camera whose clock is an hour behind its local time."""
    phone = [("10:00:00", "Colosseum"), ("12:30:00", "Pantheon"), ("18:00:00", "Colosseum")]
    camera = [("09:03:00", "Colosseum"), ("11:32:00", "Pantheon"), ("14:00:00", None)]
    rows = [
        photo(f"2024-05-06T{taken}+02:00", label, SURE, camera="Phone") for taken, label in phone
    ]
    for taken, label in camera:
        rows.append(photo(taken, *([label, SURE] if label else []), camera="Camera"))
    return rows


def test_a_second_cameras_clock_is_found_and_said(two_cameras: list[Row]) -> None:
    album = Album(two_cameras, Model())
    found = list(album.values())
    assert album.notes == [
        "the clock of Camera seems 1.0 h ahead of UTC, by places that both have photographed; the "
        "trip allows for it (--clock-offset sets it)"
    ]
    # 15:00 in Rome, half-way in time between the phone's photos: both are named.
    assert found[5]["estimated_from"].startswith(
        "11:32:00 Camera.jpg (2.5 h before), 2024-05-06T18"
    )
    by_hand = Album(two_cameras, Model(), {"Camera": 1.0})
    assert list(by_hand.values()) == found
    assert by_hand.notes == []


def test_naming_the_zone_by_hand(place: Callable[..., list[Row]]) -> None:
    rows = [photo("2024-05-06T10:00:00Z", "Colosseum", SURE), photo("12:20:00")]
    assert place(rows)[1]["estimated_from"].endswith("(2.3 h before)")
    album = list(Album(rows, Model(), {"": 2.0}).values())
    assert album[1]["estimated_from"].endswith("(20 min before)")
