"""The answers about several photos."""

from models.page.several_html import write_answers
from models.tagging.table import COLUMNS

EMPTY = dict.fromkeys(COLUMNS) | {"photo": "a.jpg"}
SURE = EMPTY | {
    **{"verdict": "sure", "label_1": "Tower", "probability_1": 0.5, "place": "Tour"},
    **{"city": "Paris", "country": "France", "latitude": 48.8584, "longitude": 2.2945},
}
NONE = EMPTY | {"verdict": "none", "label_1": "Gate", "probability_1": 0.3}


def test_each_verdict_has_its_card() -> None:
    sure = write_answers([SURE], [""])
    assert 'chip sure">sure, 50%</span><b>Tour</b><p>Paris, France</p><small>a.jpg' in sure
    maybe = write_answers([SURE | {"verdict": "maybe"}], [""])
    assert 'chip maybe">maybe, 50%</span><b>Looks like Tour</b><p>Paris, France</p>' in maybe
    none = write_answers([NONE], ["data:image/jpeg;base64,AAAA"])
    assert 'chip none">none</span><b>None of the landmarks</b><p>Nearest: Gate</p>' in none
    assert '<img src="data:image/jpeg;base64,AAAA" alt="a.jpg"' in none


def test_one_map_has_a_pin_for_each_photo_with_a_place() -> None:
    here = EMPTY | {"verdict": "none", "label_1": "Gate", "probability_1": 0.3}
    here |= {"own_latitude": -33.8568, "own_longitude": 151.2153, "photo": "own.jpg"}
    shown = write_answers([SURE, here, NONE], ["", "", ""])
    assert "3 photos: 1 sure, 2 none" in shown
    assert shown.count("<title>") == 2
    assert "<title>Tour: a.jpg</title>" in shown and "<title>Photo: own.jpg</title>" in shown
    assert "<svg" not in write_answers([NONE], [""])


def test_what_anybody_wrote_is_escaped() -> None:
    bad = EMPTY | {"photo": "&.jpg", "error": "<u> is cut off"}
    named = SURE | {"photo": "<b>.jpg", "place": "<i>"}
    shown = write_answers([named, NONE | {"label_1": "<s>"}, bad], ["", "", ""])
    assert "1 sure, 1 none, 1 not read" in shown
    assert "<b>&lt;i&gt;</b>" in shown and "<small>&lt;b&gt;.jpg</small>" in shown
    assert "<title>&lt;i&gt;: &lt;b&gt;.jpg</title>" in shown
    assert "Nearest: &lt;s&gt;" in shown
    assert "<p>&lt;u&gt; is cut off</p><small>&amp;.jpg</small>" in shown
