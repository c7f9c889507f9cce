"""Landmarks against everything else: R@n, thresholds and precision, worked out by hand."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.model_file.verdict import Thresholds
from train.evaluation.metrics import percentile_interval
from train.evaluation.open_set import (
    CURVE,
    PER_MILLE,
    describe_names,
    mean_threshold,
    measure_open_set,
    pass_rates,
    recall_at,
    recall_intervals,
    strict_threshold,
    tag_precision,
    warn_of_small_kinds,
    wrong_share,
)
from train.evaluation.open_set_report import explain_thresholds, show_open_set, threshold_rows
from train.evaluation.phrases import pad_columns
from train.evaluation.plots import plot_open_set
from train.evaluation.predictions import Predictions

# One of a is 125 of 1,000 in the mean of both kinds, one of b 250.
OTHERS = {"a": torch.tensor([3.0, 9, 1, 5]), "b": torch.tensor([2.0, 8])}
KNOWN, RIGHT = torch.tensor([10, 8.5, 6, 4]), torch.tensor([True, False, True, True])


def above(score: float) -> float:
    return math.nextafter(score, math.inf)


@pytest.mark.parametrize(
    ("per_mille", "threshold"),
    [
        (0, above(9)),
        (124, above(9)),
        (125, above(8)),  # 9 of a
        (374, above(8)),
        (375, above(5)),  # and 8 of b
        (500, above(3)),
        (625, above(2)),
        (999, above(1)),
        (1000, 1.0),
    ],
)
def test_the_mean_threshold_lets_so_many_pass(per_mille: float, threshold: float) -> None:
    assert mean_threshold(OTHERS, per_mille) == threshold
    assert sum(pass_rates(OTHERS, threshold).values()) / 2 <= per_mille / 1000


def test_equal_scores_pass_together_or_not_at_all() -> None:
    tied = {"a": torch.tensor([5.0, 5, 1, 0])}
    assert mean_threshold(tied, 250) == strict_threshold(tied, 250) == above(5)
    assert mean_threshold(tied, 500) == strict_threshold(tied, 500) == above(1)
    # Both kinds at once: the 8 of each.
    both = {"a": torch.tensor([8.0, 1]), "b": torch.tensor([8.0, 2])}
    assert mean_threshold(both, 499) == above(8)
    assert mean_threshold(both, 500) == above(2)
    alike = {"a": torch.full((7,), 2.0)}
    assert (mean_threshold(alike, 999), mean_threshold(alike, 1000)) == (above(2), 2.0)


def test_fractions_of_many_kinds_add_up() -> None:
    """Three kinds of 1,000: 15 photos are 5 in 1,000, though thirds do not add up exactly."""
    kinds = {str(kind): torch.arange(1000) * 3.0 + kind for kind in range(3)}
    assert mean_threshold(kinds, 5) == above(3000 - 15 - 1)


def test_the_strict_threshold_holds_for_each_kind() -> None:
    assert strict_threshold(OTHERS, 250) == above(8)  # one of a might pass, none of b
    assert pass_rates(OTHERS, above(8)) == {"a": 0.25, "b": 0.0}
    assert strict_threshold(OTHERS, 500) == above(3)
    assert strict_threshold(OTHERS, 1000) == 2.0
    # It takes 200 photos to measure 5 in 1,000.
    assert strict_threshold({"a": torch.arange(200.0)}, 5) == above(198)
    assert strict_threshold({"a": torch.arange(199.0)}, 5) == above(198)
    assert pass_rates({"a": torch.arange(199.0)}, above(198)) == {"a": 0.0}
    assert strict_threshold({"a": torch.tensor([4.0])}, 5) == above(4)


def test_recall_counts_right_names_only() -> None:
    assert recall_at(KNOWN, RIGHT, OTHERS, 0) == 0.25
    assert recall_at(KNOWN, RIGHT, OTHERS, 125) == 0.25  # 8.5 passes, but its name is wrong
    assert recall_at(KNOWN, RIGHT, OTHERS, 375) == 0.5
    assert recall_at(KNOWN, RIGHT, OTHERS, 500) == 0.75
    assert recall_at(OTHERS["b"], torch.tensor([True, True]), {"b": OTHERS["b"]}, 0) == 0.0


def test_thresholds_just_above_a_score_refuse_it() -> None:
    """Beside float32 scores, a threshold in double would be rounded to the score itself."""
    score = torch.tensor([0.1])
    threshold = mean_threshold({"a": score}, 0)
    assert threshold == above(score.item()) and bool(score >= threshold)  # the trap
    assert pass_rates({"a": score}, threshold) == {"a": 0.0}
    assert recall_at(score, torch.tensor([True]), {"a": score}, 0) == 0.0
    assert wrong_share(score, torch.tensor([True]), {"a": score}, threshold, 1.0) is None
    assert wrong_share(score, torch.tensor([True]), {"a": score}, 0.0, threshold) == 0.5


def test_precision_by_hand() -> None:
    assert tag_precision(0.5, 0.25, 0.1, 0.5) == pytest.approx(0.125 / 0.3)
    assert tag_precision(0.5, 0.25, 0.1, 0.01) == pytest.approx(0.0025 / 0.104)
    assert tag_precision(0.5, 0.25, 0.0, 0.1) == 0.5  # no other photo passes
    assert tag_precision(0.0, 0.0, 0.0, 0.5) is None


def test_the_wrong_share_lies_between_two_scores() -> None:
    # Of landmarks 8.5, 6 and 4 with two right names; 5 and 3 of a's four, both of b.
    assert wrong_share(KNOWN, RIGHT, OTHERS, 2, 9) == pytest.approx(1 - 0.5 / (0.75 + 0.75))
    assert wrong_share(KNOWN, RIGHT, OTHERS, 9, 10.5) == pytest.approx(1 - 0.25 / (0.25 + 0.125))
    assert wrong_share(KNOWN, RIGHT, OTHERS, 11, 12) is None


def test_intervals_are_those_of_resampled_photos() -> None:
    rng = np.random.default_rng(1)

    def draw(count: int, mean: float) -> Tensor:
        return torch.tensor(rng.normal(mean, 1, count), dtype=torch.float32)

    known, right = draw(80, 2.5), torch.arange(80) % 10 > 0
    others = {"a": draw(150, 0.0), "b": draw(60, 0.5)}
    found = recall_intervals(known, right, others, 1000)

    def again(scores: Tensor) -> Tensor:
        return scores[torch.from_numpy(rng.integers(0, len(scores), len(scores)))]

    drawn: dict[int, list[float]] = {n: [] for n in PER_MILLE}
    for _ in range(1000):
        photos = again(torch.arange(80))
        resampled = {kind: again(scores) for kind, scores in others.items()}
        for n, values in drawn.items():
            values.append(recall_at(known[photos], right[photos], resampled, n))
    for n, values in drawn.items():
        assert found[n] == pytest.approx(percentile_interval(np.array(values)), abs=0.06)
        assert found[n][0] <= recall_at(known, right, others, n) <= found[n][1]
    # Nothing to be unsure of.
    far = {"a": torch.tensor([-9.0])}
    assert set(recall_intervals(known, right | True, far).values()) == {(1.0, 1.0)}
    assert set(recall_intervals(known, right & False, far).values()) == {(0.0, 0.0)}


@pytest.fixture
def predictions() -> Predictions:
    """Photos of "x" (two, one taken for "y") and of "y" (two); none of "z"."""
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0, 0.9, 0.1]])
    labels = torch.tensor([0, 0, 1, 1])
    photos = [f"{photo}.jpg" for photo in range(4)]
    return Predictions(photos, labels, probabilities, ["x", "y", "z"], known_scores=KNOWN)


GUESSES = {"a": torch.tensor([0, 2, 0, 1]), "b": torch.tensor([1, 2])}


def test_names_by_kind_and_class(predictions: Predictions) -> None:
    found = describe_names(predictions, OTHERS, GUESSES, 5.0)
    assert (found["threshold"], found["named"], found["right"]) == (5.0, 0.75, 0.5)
    assert found["passes"] == {"a": 0.5, "b": 0.5}
    assert found["mean_passes"] == 0.5
    assert found["precision"]["0.5"] == pytest.approx(0.25 / (0.375 + 0.25))
    assert found["precision"]["0.01"] == pytest.approx(0.005 / (0.0075 + 0.495))
    assert found["classes"] == {
        "x": {"photos": 2, "named": 1.0, "right": 0.5, "outside_photos": 0},
        "y": {"photos": 2, "named": 0.5, "right": 0.5, "outside_photos": 1},
        "z": {"photos": 0, "named": None, "right": None, "outside_photos": 2},
    }
    everything = describe_names(predictions, OTHERS, GUESSES, None)
    assert (everything["threshold"], everything["named"], everything["mean_passes"]) == (None, 1, 1)
    assert [row["outside_photos"] for row in everything["classes"].values()] == [2, 2, 2]
    nothing = describe_names(predictions, OTHERS, GUESSES, 99.0)
    assert set(nothing["precision"].values()) == {None}


@pytest.mark.parametrize("thresholds", [Thresholds(), Thresholds(3.0), Thresholds(3.0, 7.0)])
def test_everything_is_measured_at_the_thresholds_of_the_file(
    predictions: Predictions, thresholds: Thresholds
) -> None:
    measured = measure_open_set(predictions, OTHERS, GUESSES, thresholds)
    assert json.loads(json.dumps(measured, allow_nan=False))["kinds"] == {"a": 4, "b": 2}
    sure = {} if thresholds.sure is None else {"sure": 7.0}
    assert {name: each["threshold"] for name, each in measured["thresholds"].items()} == {
        "maybe": thresholds.maybe,
        **sure,
        **{f"R@{n}": above(9) for n in (20, 5, 2)},  # of so few photos none may pass
    }
    assert measured["recall_at"] == {"20": 0.25, "5": 0.25, "2": 0.25}
    low, high = measured["recall_at_interval_95"]["5"]
    assert low <= 0.25 <= high
    curves = measured["curves"]
    assert curves["per_mille"] == list(CURVE) and (CURVE[0], CURVE[-1]) == (1, 1000)
    for values in (curves["mean"], *curves["kinds"].values()):
        assert len(values) == len(CURVE) and values == sorted(values)
    assert curves["kinds"]["b"][-1] == 0.75  # all right names lie above the lowest of b


def test_small_kinds_are_named() -> None:
    few, small = warn_of_small_kinds({"a": 0, "b": 19, "c": 20, "d": 199, "e": 200})
    assert "fewer than 20 outside photos to measure on: a (0), b (19);" in few
    assert "fewer than 200 outside photos to measure on: c (20), d (199);" in small
    assert "none may pass" in small
    assert warn_of_small_kinds({"e": 200}) == []


def test_it_is_shown_in_text_html_and_a_figure(predictions: Predictions) -> None:
    hostile = "<b>$a$</b>"
    others, guesses = ({hostile: each["a"], "b": each["b"]} for each in (OTHERS, GUESSES))
    known = measure_open_set(predictions, others, guesses, Thresholds(3.0, 8.0))
    pooled = {"auroc": 0.5, "fpr95": 0.5, "accepted": 1.0, "outside_accepted": 0.5}
    known |= pooled | {"top1_on_accepted": 0.5, "outside_photos": 6, "warnings": ["<i>few</i>"]}
    head, rows = threshold_rows(known)
    assert head[:6] == ["threshold", "score", "right", "named", hostile, "b"]
    assert [row[0] for row in rows] == ["maybe", "sure", "R@20", "R@5", "R@2"]
    assert rows[0][1:7] == ["3.00", "75.0 %", "100.0 %", "750.0", "500.0", "625.0"]
    assert len({len(line) for line in pad_columns(head, rows)}) == 1
    page = "".join(show_open_set(known, {"open_set": b""}))
    assert "<b>$" not in page and "<i>" not in page
    assert "z (2 of 4)" in page and "Too few photos" in page  # at 3: x and y once, z twice
    assert "calls nothing sure" not in explain_thresholds(known)
    unsure = measure_open_set(predictions, others, guesses, Thresholds())
    assert "calls nothing sure" in explain_thresholds(unsure)
    assert threshold_rows(unsure)[1][0][1] == "any"
    for each in (known, unsure):
        plot_open_set(each).canvas.draw()
