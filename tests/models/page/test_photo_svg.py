"""An answered photo as SVG."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from models.model_file.evidence import Box
from models.model_file.verdict import Verdict
from models.page.photo_svg import write_photo
from models.predictor import Answer

PHOTO = np.full((100, 200, 3), (200, 40, 90), np.uint8)
LABELS = ["Eiffel & Co", "Gate"]


def draw(verdict: Verdict = "sure", evidence: np.ndarray | None = None) -> ElementTree.Element:
    """The SVG of an answer of a network that saw the middle square of a photo of 200 x 100."""
    evidence = np.zeros((2, 4, 4), np.float32) if evidence is None else evidence
    shares = dict.fromkeys(LABELS, 0.5)
    answer = Answer(shares, verdict, 1.0, evidence, Box(0.25, 0.0, 0.5, 1.0))
    text = write_photo(PHOTO, answer, LABELS)
    return ElementTree.fromstring(text[: text.index("</svg>") + 6])


def pixels(image: ElementTree.Element) -> np.ndarray:
    data = image.get("href").partition(";base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_photo_is_shown_as_it_was_decoded() -> None:
    picture = draw()
    assert picture.get("viewBox") == "0 0 200 100"
    assert np.abs(pixels(picture[0]).astype(int) - PHOTO).max() <= 3


def test_evidence_stays_bright_and_the_rest_is_dark() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 0, 0] = 2.0  # upper left of the square, so 1/4 to 3/8 of the width
    _, layer, other = draw(evidence=maps)
    assert layer.get("class") == "evidence rank-0" and other.get("class") == "evidence rank-1"
    assert "for Eiffel & Co, strongest from 2" in layer.get("aria-label")
    image, *frame = layer
    dark = pixels(image)[..., 3]
    assert dark.shape == (80, 160)
    assert dark[5, 45] < 20
    assert dark[:, :39].min() == dark[50:].min() > 145
    assert pixels(image)[..., :3].max() == 0  # only darker: the photo keeps its colours
    for rectangle in frame:
        left, width = float(rectangle.get("x")), float(rectangle.get("width"))
        assert left == pytest.approx(50, abs=3)
        assert 18 < width < 38


def test_no_evidence_has_no_frame() -> None:
    _, layer, _ = draw()
    assert len(layer) == 1
    assert layer.get("aria-label") == "Evidence for Eiffel & Co"


def test_a_refused_guess_has_no_evidence() -> None:
    assert len(draw("none", np.ones((2, 4, 4), np.float32))) == 1
