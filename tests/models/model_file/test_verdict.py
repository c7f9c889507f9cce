"""Which verdict a known score gets, at its borders."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.model_file.torchscript import rewrite_manifest
from models.model_file.verdict import FAR_KM, Thresholds, doubt
from models.predictor import ModelFileError, Predictor
from tests.support.placed_model import PLACE, save_placed_model

MEASURED = Thresholds(0.5, 2.0, {"sure": {"scenes": 0.004}}, {"scenes": 250}, 0.2)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (math.inf, "sure"),
        (2.0, "sure"),
        (math.nextafter(2.0, 0), "maybe"),
        (0.5, "maybe"),
        (math.nextafter(0.5, 0), "none"),
        (-math.inf, "none"),
        (math.nan, "none"),
    ],
)
def test_a_threshold_is_reached_at_its_value(score: float, verdict: str) -> None:
    assert MEASURED.judge(score) == verdict


@pytest.mark.parametrize("score", [-math.inf, 0.0, math.inf])
def test_without_thresholds_nothing_is_refused_and_nothing_sure(score: float) -> None:
    assert Thresholds().judge(score) == "maybe"


def test_a_file_of_earlier_versions_is_never_sure() -> None:
    thresholds = Thresholds.from_manifest({"known_threshold": 0.5, "known": {"auroc": 0.9}})
    assert thresholds == Thresholds(0.5)
    assert (thresholds.judge(1e9), thresholds.judge(0.4)) == ("maybe", "none")


def test_a_file_that_was_not_measured_is_never_sure() -> None:
    manifest = Thresholds(0.5).to_manifest()
    assert manifest["verdicts"]["sure_threshold"] is None
    assert Thresholds.from_manifest(manifest).judge(math.inf) == "maybe"


@pytest.mark.parametrize("thresholds", [MEASURED, Thresholds(), Thresholds(0.5)])
def test_the_manifest_keeps_what_was_measured(thresholds: Thresholds) -> None:
    assert Thresholds.from_manifest(thresholds.to_manifest()) == thresholds


def test_sure_may_equal_maybe() -> None:
    thresholds = Thresholds.from_manifest(Thresholds(0.5, 0.5).to_manifest())
    assert (thresholds.judge(0.5), thresholds.judge(0.4)) == ("sure", "none")


DAMAGED: list[dict[str, Any]] = [
    {"known_threshold": 2.0, "verdicts": {"sure_threshold": 1.9}},
    {"known_threshold": None, "verdicts": {"sure_threshold": 1.0}},
    {"known_threshold": 0.0, "verdicts": {"sure_threshold": math.nan}},
    {"known_threshold": 0.0, "verdicts": {"sure_threshold": "high"}},
    {"known_threshold": 0.0, "verdicts": {"wrong_share": 1.1}},
    {"known_threshold": 0.0, "verdicts": {"wrong_share": math.nan}},
    {"known_threshold": 0.0, "verdicts": {"passes": {"sure": {"scenes": "few"}}}},
    {"known_threshold": 0.0, "verdicts": {"passes": [0.1]}},
    {"known_threshold": 0.0, "verdicts": {"outside_photos": {"scenes": None}}},
    {"known_threshold": 0.0, "verdicts": "sure"},
]


@pytest.mark.parametrize("manifest", DAMAGED, ids=str)
def test_wrong_thresholds_are_a_damaged_file(
    manifest: dict[str, Any], toy_model: Path, tmp_path: Path
) -> None:
    path = shutil.copy(toy_model, tmp_path / "model.pt")
    rewrite_manifest(path, Predictor.load(path).manifest | manifest)
    with pytest.raises(ModelFileError, match="not a complete model file"):
        Predictor.load(path)


def test_a_model_file_gives_each_verdict(toy_model: Path, tmp_path: Path) -> None:
    photos = save_placed_model(toy_model, tmp_path / "model.pt", PLACE)
    predictor = Predictor.load(tmp_path / "model.pt")
    answers = [predictor.answer(photo) for photo in photos]
    assert [answer.verdict for answer in answers] == ["sure", "maybe", "none"]
    assert [answer.known for answer in answers] == [True, True, False]


@pytest.mark.parametrize(
    ("distance_km", "verdict"),
    [
        (None, "sure"),
        (0.0, "sure"),
        (FAR_KM, "sure"),
        (math.nextafter(FAR_KM, math.inf), "maybe"),
        (20_000.0, "maybe"),
    ],
)
def test_a_photo_from_over_50_km_away_is_never_sure(
    distance_km: float | None, verdict: str
) -> None:
    assert FAR_KM == 50
    assert doubt("sure", distance_km) == verdict
    assert doubt("maybe", distance_km) == "maybe"
    assert doubt("none", distance_km) == "none"
