"""What the page says of an answer, without a page."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from models.model_file.evidence import Box
from models.page.answer_html import (
    describe_distance,
    describe_point,
    write_answers,
    write_evidence,
    write_headline,
    write_place,
)
from models.photos.gps import Position
from models.places.landmarks import Place
from models.predictor import Answer
from models.tagging.table import COLUMNS

PLACE = Place("Tour Eiffel", "tower", "Paris", "FR", 48.8584, 2.2945, "Q243")


def make_answer(
    known: bool = True, evidence: np.ndarray | None = None, probability: float = 0.9
) -> Answer:
    """An answer of a network that saw the middle square of a photo of 200 x 100."""
    evidence = np.zeros((1, 4, 4), np.float32) if evidence is None else evidence
    return Answer({"Eiffel & Co": probability}, known, 1.0, evidence, Box(0.25, 0.0, 0.5, 1.0))


def test_headline() -> None:
    known = write_headline(make_answer(), PLACE, 50)
    assert "<h2>Tour Eiffel</h2><p>Tower in Paris, France</p>" in known
    bare = write_headline(make_answer(), None, 50)
    assert "<h2>Eiffel &amp; Co</h2><p>Most likely</p>" in bare
    assert "<h2>Perhaps Tour" in write_headline(make_answer(probability=0.79), PLACE, 50)
    unknown = write_headline(make_answer(known=False), None, 1500)
    assert "Eiffel" not in unknown
    assert "one of the 1,500 landmarks" in unknown


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
    assert f"<p>{shown}</p>" in write_headline(make_answer(), place, 50)


def test_no_place_is_nothing_at_all() -> None:
    assert write_place(None, None) == ""
    assert "landmark" not in write_place(None, Position(1.0, 2.0))
    assert "GPS" not in write_place(PLACE, None)


@pytest.mark.parametrize(
    ("north", "shown"), [(0.0, "0 m"), (0.0045, "500 m"), (0.02, "2.2 km"), (90, "10,008 km")]
)
def test_distance(north: float, shown: str) -> None:
    assert describe_distance(Position(0.0, 2.0), Position(north, 2.0)) == shown


def test_point() -> None:
    assert describe_point(PLACE) == "48.8584° N, 2.2945° E"
    assert describe_point(Position(-33.85681, -70.0)) == "33.8568° S, 70.0000° W"


def test_evidence_is_clear_but_where_it_speaks() -> None:
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 0, 0] = 2.0  # upper left of the square, so 1/4 to 3/8 of the width
    picture = ElementTree.fromstring(write_evidence(make_answer(evidence=maps), 100, 200))
    assert picture.get("viewBox") == "0 0 160 80"
    assert "for Eiffel & Co, strongest from 2" in picture.get("aria-label")
    image, *frame = picture
    data = base64.b64decode(image.get("href").removeprefix("data:image/png;base64,"))
    alpha = np.asarray(Image.open(io.BytesIO(data)))[..., 3]
    assert alpha.shape == (80, 160)
    assert alpha[5, 45] > 180
    assert alpha[:, :39].max() == alpha[50:].max() == 0
    for rectangle in frame:
        left, width = float(rectangle.get("x")), float(rectangle.get("width"))
        assert left == pytest.approx(40, abs=2)
        assert 15 < width < 30


def test_no_evidence_has_no_frame() -> None:
    picture = ElementTree.fromstring(write_evidence(make_answer(), 100, 200))
    assert len(picture) == 1
    assert picture.get("aria-label") == "Evidence for Eiffel & Co"


def test_table_escapes_what_anybody_wrote() -> None:
    row = dict.fromkeys(COLUMNS) | {
        "photo": "<b>.jpg",
        "label_1": "<i>",
        "probability_1": 0.5,
        "known": False,
    }
    bad = dict.fromkeys(COLUMNS) | {"photo": "&.jpg", "error": "<u> is cut off"}
    table = write_answers([row, bad])
    assert "<td>&lt;b&gt;.jpg</td><td>not a known landmark (nearest: &lt;i&gt;)</td>" in table
    assert '<td>&amp;.jpg</td><td colspan="6">&lt;u&gt; is cut off</td>' in table
