"""What the page says of its model and of itself."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from models.model_file.verdict import Thresholds
from models.page.about_html import describe_refusals, write_footer, write_landmarks
from models.places.landmarks import Place


def make_served(metrics: dict[str, float], **places: Place) -> SimpleNamespace:
    """What is served, without a model file."""
    predictor = SimpleNamespace(
        class_names=["Gate", "Eiffel_Tower"],
        manifest={"name": "<b>", "metrics": metrics},
        path=Path("runs/1/model.pt"),
        digest="0123456789abcdef",
        thresholds=Thresholds(),
        place=places.get,
    )
    return SimpleNamespace(predictor=predictor, origin=None)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({}, "2 landmarks; photos are"),
        ({"val/top1": 0.96, "val/top5": 1, "val/photos": 9}, "right in 96 of 100 validation"),
        (
            {
                **{"val/top1": 0.96, "val/top5": 1, "val/photos": 9},
                **{"test/top1": 0.949, "test/top5": 1, "test/photos": 9},
            },
            "2 landmarks, right in 94 of 100 test photos; photos are deleted after 11 minutes",
        ),
    ],
)
def test_the_footer_says_what_everybody_should_know(metrics: dict, says: str) -> None:
    footer = write_footer(make_served(metrics))
    assert says in footer.partition("</summary>")[0]
    assert "Model <b>&lt;b&gt;</b>, version 0123456789ab, from 1/model.pt" in footer


def test_the_landmarks_are_listed_by_name_and_escaped() -> None:
    place = Place("<i>Tour", "tower", "Paris", "FR", 48.8584, 2.2945, "")
    shown = write_landmarks(make_served({}, Eiffel_Tower=place).predictor)
    assert "1 pins" in shown and "<title>&lt;i&gt;Tour</title>" in shown
    assert "<li><b>&lt;i&gt;Tour</b> <small>Paris, France</small></li><li><b>Gate</b>" in shown
    assert "<svg" not in write_landmarks(make_served({}).predictor)


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        (
            Thresholds(),
            "for every photo, even if the photo shows none of them. This model file was",
        ),
        (Thresholds(0.0), "accepts 19 of 20 photos of known landmarks. This model file was not"),
        (Thresholds(0.0, 2.0), "It says so when a photo looks like none of them."),
        (
            Thresholds(
                0.0,
                2.0,
                {"sure": {"scenes": 0.004, "dogs": 0.001}, "maybe": {"scenes": 0.02, "dogs": 0.1}},
                {"scenes": 1000, "dogs": 500},
            ),
            "Measured on 1,500 photos of other things: of each kind, at most 0.4% were named for "
            "sure, and at most 10.0% were named at all.",
        ),
    ],
)
def test_the_page_says_what_was_measured(thresholds: Thresholds, says: str) -> None:
    said = describe_refusals(thresholds)
    assert says in said
    assert ("never sure" in said) == (thresholds.sure is None)
