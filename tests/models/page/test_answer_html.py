"""What the page says of an answer, without a page."""

import dataclasses

import numpy as np
import pytest

from models.model_file.evidence import Box
from models.model_file.verdict import Thresholds, Verdict
from models.page.answer_html import (
    describe_distance,
    describe_point,
    shown_guesses,
    write_bars,
    write_error,
    write_headline,
    write_place,
)
from models.photos.gps import Position
from models.places.landmarks import Place, country_name
from models.predictor import Answer, weigh_position

PLACE = Place("Tour Eiffel", "tower", "Paris", "FR", 48.8584, 2.2945, "Q243")


THRESHOLDS = Thresholds(0.0, 2.0, wrong_share=0.2)
SYDNEY = Position(-33.8568, 151.2153)


def make_answer(verdict: Verdict = "sure") -> Answer:
    """An answer of a network that saw the middle square of a photo of 200 x 100."""
    evidence = np.zeros((1, 4, 4), np.float32)
    return Answer({"Eiffel & Co": 0.3}, verdict, 1.0, evidence, Box(0.25, 0.0, 0.5, 1.0))


def test_headline_of_each_verdict() -> None:
    sure = write_headline(make_answer(), PLACE, 50, THRESHOLDS)
    assert "Sure: </span><h2>Tour Eiffel</h2><p>Tower in Paris, France</p></div>" in sure
    bare = write_headline(make_answer(), None, 50, THRESHOLDS)
    assert "<h2>Eiffel &amp; Co</h2><p>Most likely</p></div>" in bare
    maybe = write_headline(make_answer("maybe"), PLACE, 50, THRESHOLDS)
    assert "Maybe: </span><h2>Looks like Tour Eiffel</h2><p>Tower in Paris, France</p>" in maybe
    none = write_headline(make_answer("none"), None, 1500, THRESHOLDS)
    assert "<h2>None of the 1,500</h2>" in none
    assert "Eiffel" not in none


def test_a_guess_that_is_not_sure_backs_off_to_its_city() -> None:
    answer = make_answer("maybe")
    city = write_headline(answer, PLACE, 50, THRESHOLDS, level="city")
    assert "most likely somewhere in" in city and PLACE.city in city
    country = write_headline(answer, PLACE, 50, THRESHOLDS, level="country")
    assert f"somewhere in {country_name(PLACE.country)}." in country
    assert "somewhere" not in write_headline(answer, PLACE, 50, THRESHOLDS)
    assert "somewhere" not in write_headline(make_answer(), PLACE, 50, THRESHOLDS, level="landmark")


@pytest.mark.parametrize(
    ("thresholds", "note"),
    [
        (THRESHOLDS, "About 1 in 5 photos like this is something else."),
        (Thresholds(0.0, 2.0, wrong_share=0.0004), "About 1 in 2,500 photos like"),
        (Thresholds(0.0, 2.0, wrong_share=0.9), "Most photos like this are something else."),
        (Thresholds(0.0), "not measured on photos of other things, so it is never sure."),
        (Thresholds(), "so it is never sure."),
    ],
)
def test_a_guess_says_how_often_it_is_wrong(thresholds: Thresholds, note: str) -> None:
    assert note in write_headline(make_answer("maybe"), PLACE, 50, thresholds)
    assert note not in write_headline(make_answer("none"), None, 50, thresholds)


@pytest.mark.parametrize("share", [0.0, None])
def test_nothing_is_said_of_what_never_happened(share: float | None) -> None:
    thresholds = Thresholds(0.0, 2.0, wrong_share=share)
    assert "something" not in write_headline(make_answer("maybe"), PLACE, 50, thresholds)


@pytest.mark.parametrize(
    ("kind", "city", "country", "shown"),
    [
        ("", "", "", "Most likely"),
        ("", "Paris", "", "Paris"),
        ("tower", "", "FR", "Tower in France"),
        ("tower", "", "", "Tower"),
    ],
)
def test_headline_of_what_is_known(kind: str, city: str, country: str, shown: str) -> None:
    place = Place("Tower", kind, city, country, 1.0, 2.0, "")
    assert f"<p>{shown}</p>" in write_headline(make_answer(), place, 50, THRESHOLDS)


def test_no_place_is_nothing_at_all() -> None:
    assert write_place(make_answer("none"), None, None) == ""
    assert "landmark" not in write_place(make_answer("none"), None, Position(1.0, 2.0))
    assert "GPS" not in write_place(make_answer(), PLACE, None)


def test_the_map_of_a_guess_is_folded() -> None:
    assert "<details" not in write_place(make_answer(), PLACE, None)
    folded = write_place(make_answer("maybe"), PLACE, Position(48.9, 2.3))
    assert folded.startswith("<details><summary>Where Tour Eiffel is</summary><svg")
    assert folded.index("</details>") < folded.index("4.6 km from the landmark")


def test_a_photo_from_afar_is_not_sure_and_shows_both_pins() -> None:
    answer, away_km = weigh_position(make_answer(), PLACE, SYDNEY)
    assert answer.verdict == "maybe"
    headline = write_headline(answer, PLACE, 50, THRESHOLDS, away_km)
    assert "Maybe: </span><h2>Looks like Tour Eiffel" in headline
    assert '<p class="far">But its GPS data says that it was taken 16,964 km away.' in headline
    assert "1 in 5" not in headline  # the weaker reason
    shown = write_place(answer, PLACE, SYDNEY)
    assert shown.startswith("<details open>")
    assert "a pin at 48.86 N, 2.29 E, and an amber pin where the photo was taken" in shown
    assert "33.8568° S, 151.2153° E (amber pin), 16,964 km from the landmark" in shown


def test_a_photo_from_nearby_stays_sure() -> None:
    near = Position(48.9, 2.8)  # 37 km
    answer, away_km = weigh_position(make_answer(), PLACE, near)
    assert answer.verdict == "sure"
    assert "far" not in write_headline(answer, PLACE, 50, THRESHOLDS, away_km)
    assert "amber pin" not in write_place(answer, PLACE, near)
    for place, position in ((None, SYDNEY), (PLACE, None)):
        assert weigh_position(answer, place, position) == (answer, None)


@pytest.mark.parametrize(
    ("north", "shown"), [(0.0, "0 m"), (0.0045, "500 m"), (0.02, "2.2 km"), (90, "10,008 km")]
)
def test_distance(north: float, shown: str) -> None:
    assert describe_distance(Position(0.0, 2.0), Position(north, 2.0)) == shown


def test_point() -> None:
    assert describe_point(PLACE) == "48.8584° N, 2.2945° E"
    assert describe_point(Position(-33.85681, -70.0)) == "33.8568° S, 70.0000° W"


def test_guesses_below_one_percent_are_hidden_but_the_best() -> None:
    shares = {"Tower": 0.97, "<b>": 0.02, "Gate": 0.0099, "Dome": 0.0, "Arch": 0.0}
    answer = dataclasses.replace(make_answer(), probabilities=shares)
    assert list(shown_guesses(answer)) == ["Tower", "<b>"]
    faint = dataclasses.replace(answer, probabilities={"Tower": 0.004, "Gate": 0.003})
    assert list(shown_guesses(faint)) == ["Tower"]


def test_bars_have_display_names_and_can_be_chosen() -> None:
    shares = {"Tower": 0.999, "Gate": 0.012}
    answer = dataclasses.replace(make_answer(), probabilities=shares)
    names = {"Tower": "Tour <Eiffel>", "Gate": "Porte"}
    bars = write_bars(answer, names)
    assert 'value="0" checked><span>Tour &lt;Eiffel&gt;</span><b>&gt;99%</b>' in bars
    assert (
        '--share:1.2%"><input type="radio" name="guess" value="1"><span>Porte</span><b>1%' in bars
    )
    none = write_bars(dataclasses.replace(answer, verdict="none"), names)
    assert "<input" not in none and "Porte" in none


def test_an_error_is_escaped() -> None:
    assert write_error("<i>.jpg is empty").endswith("<p>&lt;i&gt;.jpg is empty</p></div>")


def test_links_lead_to_what_is_known() -> None:
    shown = write_place(make_answer(), PLACE, None)
    assert 'href="https://www.wikidata.org/wiki/Special:GoToLinkedPage/enwiki/Q243"' in shown
    assert 'href="https://www.wikidata.org/wiki/Q243"' in shown
    assert shown.count('rel="noopener noreferrer"') == 3
    bare = write_place(make_answer(), dataclasses.replace(PLACE, wikidata=""), None)
    assert "OpenStreetMap" in bare and "wiki" not in bare
