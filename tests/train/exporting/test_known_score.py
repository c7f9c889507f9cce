"""Sure or not: the calibrated temperature, the score of known landmarks, and its threshold."""

from pathlib import Path

import pytest
import torch

from models.model_file.classifier import Calibration, log_odds, temperatures
from tests.support.drawing import draw_landmark
from train.evaluation.metrics import expected_calibration_error
from train.exporting.calibration import calibrate, fit_calibration
from train.exporting.known_score import (
    apply_score,
    describe,
    detection_figures,
    find_outside,
    find_prototypes,
    fit_known,
    measure_known,
)


def draw_logits(count: int, seed: int, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels that are calibrated at temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits, labels


@pytest.mark.parametrize("wrong", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(wrong: float) -> None:
    logits, labels = draw_logits(4000, 0)
    found = fit_calibration(logits * wrong, labels, adaptive=False)
    assert found.temperature == pytest.approx(wrong, rel=0.05)
    held_out, truth = draw_logits(4000, 1)
    before = expected_calibration_error((held_out * wrong).softmax(1), truth)
    after = expected_calibration_error(calibrate(held_out * wrong, found), truth)
    assert after < 0.02
    assert before > 0.05 or wrong == 1.0


def test_an_adaptive_temperature_mends_what_one_cannot() -> None:
    logits, labels = draw_logits(6000, 2)
    spreads = logits.std(1, keepdim=True, correction=0)
    bent = logits * (spreads / spreads.mean()) ** 1.5
    adaptive = fit_calibration(bent, labels)
    assert adaptive.exponent == pytest.approx(0.6, abs=0.1)  # of a spread that grew to the 2.5th
    held_out, truth = draw_logits(6000, 3)
    spreads = held_out.std(1, keepdim=True, correction=0)
    held_out = held_out * (spreads / spreads.mean()) ** 1.5
    one = fit_calibration(bent, labels, adaptive=False)
    losses = [
        torch.nn.functional.nll_loss(calibrate(held_out, found).log(), truth)
        for found in (adaptive, one)
    ]
    assert losses[0] < losses[1]


def test_a_handful_of_photos_makes_nothing_certain() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    found = fit_calibration(logits, torch.tensor([0, 1]))
    assert 0.2 < found.temperature < 1
    assert calibrate(logits, found).max() < 0.9999
    with pytest.raises(ValueError, match="at least one photo"):
        fit_calibration(logits[:0], torch.zeros(0, dtype=torch.int64))


def test_calibration_changes_no_order() -> None:
    logits, _ = draw_logits(50, 4)
    sharp = Calibration(0.3, 2.0, 1.2)
    assert torch.equal(calibrate(logits, sharp).argsort(1), logits.argsort(1))
    flat = temperatures(torch.zeros(1, 10), sharp)
    assert torch.isfinite(flat).all()


def test_halves_of_the_outside_photos_share_none(tmp_path: Path) -> None:
    for number in range(7):
        folder = tmp_path / f"{number % 2}"
        folder.mkdir(exist_ok=True)
        draw_landmark(0, number).save(folder / f"{number}.jpg")
    (tmp_path / "notes.txt").write_text("no photo")
    a, b = find_outside(tmp_path, "A"), find_outside(tmp_path, "B")
    assert (len(a), len(b), set(a) & set(b)) == (4, 3, set())
    with pytest.raises(ValueError, match="no folder"):
        find_outside(tmp_path / "absent", "A")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no photos"):
        find_outside(tmp_path / "empty", "B")


def test_detection_figures_of_known_cases() -> None:
    known, other = torch.arange(100.0) + 50, torch.arange(100.0)
    figures = detection_figures(known, other)
    assert figures["auroc"] == pytest.approx(1 - 0.5 * 50 * 50 / 1e4, abs=0.001)
    assert figures["fpr95"] == pytest.approx(0.45)
    assert detection_figures(known, known)["auroc"] == 0.5
    assert detection_figures(other + 1000, other)["fpr95"] == 0


def draw_photos(
    count: int, seed: int, known: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, probabilities and labels of 5 classes; others lie between all of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (count,), generator=generator)
    features = torch.rand(count, 16, generator=generator)
    features[:, 8] += 0.0 if known else 1.0
    logits = torch.randn(count, 5, generator=generator)
    if known:
        features[torch.arange(count), labels] += 0.5
        logits[torch.arange(count), labels] += 1.0
    return features, logits.softmax(1), labels


def test_outside_photos_teach_the_score() -> None:
    features, _, labels = draw_photos(500, 9, known=True)
    prototypes = find_prototypes(features, labels)
    assert 5 <= len(prototypes) <= 10
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(len(prototypes)))

    def columns(seed: int, known: bool) -> torch.Tensor:
        features, probabilities, _ = draw_photos(1000, seed, known)
        return describe(features, probabilities, prototypes)

    inside, outside = columns(0, True), columns(1, False)
    fits = {
        "plain": fit_known(inside, prototypes),
        "taught": fit_known(inside, prototypes, outside),
    }
    assert fits["plain"].figures == {}
    assert fits["plain"].score.weights is None
    fresh, strange = columns(2, True), columns(3, False)
    aurocs = {}
    for name, fit in fits.items():
        known, other = (apply_score(fit.score, columns) for columns in (fresh, strange))
        aurocs[name] = detection_figures(known, other)["auroc"]
    assert aurocs["plain"] > 0.7
    assert aurocs["taught"] > aurocs["plain"] + 0.03
    assert fits["taught"].figures["auroc"] == pytest.approx(aurocs["taught"], abs=0.03)
    for fit in fits.values():
        passed = (apply_score(fit.score, fresh) >= fit.threshold).float().mean().item()
        assert passed == pytest.approx(0.95, abs=0.03)
    # As sure as any, and like nothing that was learned from: noise, text.
    noise = columns(4, True)
    noise[:, -1] = inside[:, -1].min() - 0.05
    assert (apply_score(fits["taught"].score, noise) < fits["taught"].threshold).all()
    few = fit_known(inside, prototypes, outside[:19])
    assert (few.figures, few.threshold) == ({}, fits["plain"].threshold)


def test_prototypes_of_few_or_equal_photos() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = find_prototypes(features, torch.tensor([0, 0, 0, 0, 1]))
    assert found.shape[1] == 2
    assert torch.isfinite(found).all()
    assert {tuple(row) for row in found.round().tolist()} == {(1.0, 0.0), (0.0, 1.0)}


def test_a_few_odd_photos_get_no_prototype() -> None:
    usual = torch.tensor([1.0, 0.0, 0.0]).repeat(18, 1) + 0.01 * torch.eye(18, 3)
    odd = torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 1)
    found = find_prototypes(torch.cat([usual, odd]), torch.zeros(20, dtype=torch.int64))
    assert found[:, 2].max() < 0.1


def test_log_odds_are_finite() -> None:
    odds = log_odds(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]))
    assert odds.tolist() == pytest.approx([13.8155, 0.0, 1.0986], abs=1e-3)


def test_what_a_threshold_is_worth() -> None:
    known, right = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([False, True, True, True])
    figures = measure_known(known, right, torch.tensor([0.0, 2.5]), 1.5)
    assert figures["accepted"] == 0.75
    assert figures["outside_accepted"] == 0.5
    assert figures["top1_on_accepted"] == 1.0
    assert figures["top1_on_rejected"] == 0.0
    assert measure_known(known, right, known, None)["accepted"] == 1.0
