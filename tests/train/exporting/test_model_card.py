"""What a model card says of the verdicts."""

from models.model_file.verdict import Thresholds
from train.exporting.model_card import describe_verdicts


def test_the_rates_of_each_kind_are_tabulated() -> None:
    passes = {"sure": {"cats": 0.0, "food": 0.005}, "maybe": {"cats": 0.1, "food": 0.25}}
    text = "\n".join(describe_verdicts(Thresholds(1.0, 2.0, passes, {"cats": 220, "food": 400})))
    assert "| cats | 220 | 0.0% | 10.0% |" in text
    assert "| food | 400 | 0.5% | 25.0% |" in text


def test_a_file_that_was_not_measured_says_so() -> None:
    assert "No answer of this file is sure" in describe_verdicts(Thresholds(1.0))[0]
