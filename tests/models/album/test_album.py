"""Albums of a few photos whose right answer one can see."""

import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.album.album import COLUMNS, Album
from models.album.sphere import arc_km, to_vectors
from models.model_file.verdict import Thresholds
from models.tagging.table import Row
from tests.models.album.conftest import MAYBE, SPOTS, SURE, Model, photo

Place = Callable[..., list[Row]]


def verdicts(rows: list[Row]) -> list[str | None]:
    return [row["verdict_in_album"] for row in rows]


def spot(row: Row) -> tuple[float, float]:
    return row["estimated_latitude"], row["estimated_longitude"]


def test_lunch_between_two_photos_of_rome(place: Place) -> None:
    rome = SPOTS["Colosseum"]
    found = place(
        [
            photo("10:00:00", "Colosseum", SURE),
            photo("10:20:00"),
            photo("11:00:00", "Opera House", 2.5),  # 16,000 km in an hour
            photo("12:00:00", "Colosseum", MAYBE),
            photo("12:30:00", "Colosseum", SURE),
        ]
    )
    assert [row["verdict"] for row in found] == ["sure", "none", "sure", "maybe", "sure"]
    assert verdicts(found) == ["sure", "none", "none", "sure", "sure"]
    assert spot(found[1]) == spot(found[2]) == pytest.approx(rome)
    assert found[1]["estimated_from"] == (
        "10:00:00 Canon.jpg (20 min before), 12:00:00 Canon.jpg (1.7 h after)"
    )
    assert found[1]["estimated_radius_km"] < found[2]["estimated_radius_km"] < 10
    # What is sure in the album has the landmark's place, no estimate.
    assert {row["estimated_from"] for row in (found[0], found[3], found[4])} == {None}


def test_a_flight_that_can_be_is_believed(place: Place) -> None:
    found = place(
        [
            photo("2024-05-06T10:00:00+00:00", "Colosseum", SURE),
            photo("2024-05-08T10:00:00+00:00", "Opera House", SURE),
            photo("2024-05-08T10:30:00+00:00"),
            photo("2024-05-07T10:00:00+00:00"),  # over the sea, or anywhere
        ]
    )
    assert verdicts(found) == ["sure", "sure", "none", "none"]
    assert spot(found[2]) == pytest.approx(SPOTS["Opera House"])
    assert spot(found[3]) == (None, None)


def test_the_radius_grows_with_the_gap_until_there_is_no_estimate(place: Place) -> None:
    times = ["10:05:00", "11:00:00", "13:00:00", "14:00:00", "23:59:00"]
    found = place([photo("10:00:00", "Colosseum", SURE), *map(photo, times)])
    radii = [row["estimated_radius_km"] for row in found[1:]]
    assert radii[:4] == sorted(radii[:4]) and 3 < radii[0] < 5 and 30 < radii[3] <= 50
    assert radii[4] is None


def test_a_burst_does_not_confirm_itself(place: Place) -> None:
    found = place([photo(f"10:00:0{second}", "Pantheon", MAYBE) for second in range(5)])
    assert verdicts(found) == ["maybe"] * 5


def test_two_landmarks_of_one_city_confirm_each_other(place: Place) -> None:
    found = place([photo("10:00:00", "Pantheon", MAYBE), photo("11:00:00", "Colosseum", MAYBE)])
    assert verdicts(found) == ["sure", "sure"]


def test_a_likelier_guess_elsewhere_is_lowered(place: Place) -> None:
    sure = [photo("10:00:00", "Colosseum", SURE), photo("12:00:00", "Colosseum", SURE)]
    torn = photo("11:00:00", "Opera House", 2.2, second="Pantheon", probability=0.6)
    assert verdicts(place([*sure, torn]))[2] == "none"


def test_own_positions(place: Place) -> None:
    here, there = SPOTS["Colosseum"], SPOTS["Opera House"]
    found = place(
        [
            photo("10:00:00", own=here),
            photo("10:10:00", own=(here[0] + 0.02, here[1])),
            photo("10:05:00"),
            photo("10:20:00", "Colosseum", MAYBE, own=here),
            photo("10:30:00", "Opera House", MAYBE, own=here),
            photo("10:40:00", "Opera House", SURE),
        ]
    )
    assert spot(found[2]) == pytest.approx((here[0] + 0.01, here[1]), abs=1e-4)
    assert verdicts(found) == ["none", "none", "none", "sure", "none", "none"]
    assert spot(found[3]) == (None, None)  # it has its own
    assert spot(found[5]) == pytest.approx(here)
    assert there != here


@pytest.mark.parametrize("first", [{"own": SPOTS["Colosseum"]}, {}])
def test_many_guesses_hide_no_sure_place(first: dict, place: Place) -> None:
    found = place(
        [
            photo("10:00:00", "Colosseum", SURE, **first),
            *(photo(f"10:{minute}:00", f"Landmark {minute}", MAYBE) for minute in range(10, 40)),
            photo("11:00:00", "Opera House", 2.5),
            photo("11:10:00", "Pantheon", MAYBE),
        ]
    )
    opera_house, pantheon = verdicts(found)[-2:]
    assert (opera_house != "sure", pantheon) == (True, "sure")


def test_over_the_date_line(place: Place) -> None:
    west, east = (-16.8, -179.99), (-16.8, 179.97)
    found = place(
        [
            photo("10:00:00", own=west),
            photo("10:30:00"),
            photo("11:00:00", own=east),
            photo("11:10:00", "Date Line Cross", MAYBE),
        ]
    )
    middle = to_vectors(np.array(spot(found[1])))
    assert arc_km(middle, to_vectors(np.array((-16.8, 179.99)))) < 0.1
    assert verdicts(found)[3] == "sure"


def test_one_photo_keeps_its_verdict(place: Place) -> None:
    for score, verdict in ((SURE, "sure"), (MAYBE, "maybe"), (-4.0, "none")):
        (row,) = place([photo("10:00:00", "Colosseum", score)])
        assert (row["verdict_in_album"], row["estimated_from"]) == (verdict, None)


def test_without_a_time_nothing_is_said(place: Place) -> None:
    rows = [photo(None, "Opera House", SURE), photo("10:00:00", "Colosseum", SURE)]
    rows.append(photo("10:10:00", score=None))  # could not be read
    found = place(rows)
    assert [[row[name] for name in COLUMNS] for row in (found[0], found[2])] == [[None] * 5] * 2
    assert verdicts(found)[1] == "sure"
    assert place([]) == []


def test_equal_times_in_any_order(place: Place) -> None:
    rows = [
        photo("10:00:00", "Colosseum", SURE, name="a.jpg"),
        photo("10:00:00", name="b.jpg"),
        photo("10:00:00", "Pantheon", MAYBE, name="c.jpg"),
        photo("10:00:00", "Opera House", SURE, name="d.jpg"),
        photo("10:00:00", "Pantheon", SURE, name="e.jpg"),
    ]
    expected = {row["photo"]: row for row in place(rows)}
    assert expected["d.jpg"]["verdict_in_album"] == "none"
    assert expected["b.jpg"]["estimated_radius_km"] == 3.0
    for seed in range(5):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert {row["photo"]: row for row in place(shuffled)} == expected


def test_two_trips_in_one_folder(place: Place) -> None:
    one = [photo(f"1{hour}:00:00", "Colosseum", SURE, camera="A") for hour in range(3)]
    two = [photo(f"1{hour}:10:00", "Opera House", SURE, camera="B") for hour in range(3)]
    found = place([*one, *two, photo("11:30:00", camera="A"), photo("11:30:00", camera="B")])
    assert set(verdicts(found[:6])) == {"sure"}
    assert spot(found[6]) == pytest.approx(SPOTS["Colosseum"])
    assert spot(found[7]) == pytest.approx(SPOTS["Opera House"])
    # One camera, a year later.
    later = [photo("2025-05-06T10:00:00", "Opera House", SURE, camera="A")]
    assert verdicts(place([*one, *later])) == ["sure"] * 4


def test_the_hour_that_comes_twice(place: Place) -> None:
    before, after = "2024-10-27T02:50:00+02:00", "2024-10-27T02:10:00+01:00"  # 20 minutes
    found = place([photo(before, "Colosseum", SURE), photo(after)])
    assert found[1]["estimated_from"].endswith("(20 min before)")


def test_an_unmeasured_model_is_never_sure() -> None:
    model = Model(Thresholds(maybe=-2.0))
    rows = [photo("10:00:00", "Colosseum", SURE), photo("10:10:00", "Opera House", SURE)]
    rows = [row | {"verdict": "maybe"} for row in rows] + [photo("10:05:00")]
    found = list(Album(rows, model).values())
    assert [row["verdict_in_album"] for row in found] == ["maybe", "maybe", "none"]
    assert {row["estimated_from"] for row in found} == {None}


def test_a_hundred_thousand_photos_take_ten_times_as_long_as_ten_thousand() -> None:
    rng = np.random.default_rng(0)
    labels = ["Colosseum", "Pantheon", "Landmark 0", "Landmark 1"]
    begin = np.datetime64("2020-01-01T00:00:00")

    def rows(count: int) -> Iterator[Row]:
        hours, scores = np.sort(rng.uniform(0, count / 40, count)), rng.normal(-4, 2, count)
        for number in range(count):
            taken = f"{begin + np.timedelta64(int(3600 * hours[number]), 's')}"
            yield photo(taken, labels[number % 4], float(scores[number]), name=f"{number:06}")

    def seconds(count: int) -> float:
        start = time.process_time()
        assert sum(1 for _ in Album(rows(count), Model()).values()) == count
        return time.process_time() - start

    assert seconds(100_000) < 25 * seconds(10_000)  # in the square it would be a hundred
