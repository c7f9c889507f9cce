"""The score that tells photos of known landmarks from all others, and its threshold."""

import pytest
import torch

from models.model_file.classifier import KnownScore, log_odds
from train.exporting.known_score import (
    KnownFit,
    apply_score,
    detection_figures,
    find_prototypes,
    fit_known,
    fit_thresholds,
    measure_known,
    score_inputs,
)


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
        return score_inputs(features, probabilities, prototypes)

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


def fitted(threshold: float) -> KnownFit:
    held_out = torch.arange(100).double()
    return KnownFit(KnownScore(), threshold, {}, held_out, held_out[:0])


def test_thresholds_come_from_photos_of_each_kind() -> None:
    right = torch.arange(100) >= 10
    others = {"food": torch.arange(400.0) / 10, "streets": torch.arange(100.0) / 4}
    found = fit_thresholds(fitted(5.0), right, others)
    assert found.maybe == 5.0
    # Of 400, two may reach it; of 100, none.
    assert found.sure == pytest.approx(39.7, abs=1e-3)
    assert found.passes["sure"] == {"food": 0.005, "streets": 0.0}
    assert found.passes["maybe"] == {"food": 350 / 400, "streets": 80 / 100}
    assert found.outside_photos == {"food": 400, "streets": 100}
    # From 5 to 39: of the landmarks 35 %, 30 % with the right name; of the others 82.25 %.
    between = (348 / 400 + 80 / 100) / 2
    assert found.wrong_share == pytest.approx(1 - 0.30 / (0.35 + between), abs=1e-9)


def test_sure_is_never_easier_than_maybe() -> None:
    found = fit_thresholds(fitted(90.0), torch.ones(100) > 0, {"food": torch.zeros(300)})
    assert (found.sure, found.wrong_share) == (90.0, None)


@pytest.mark.parametrize("counts", [{}, {"food": 199}, {"food": 150, "streets": 19, "cats": 19}])
def test_nothing_is_sure_by_guess(counts: dict[str, int]) -> None:
    others = {kind: torch.zeros(count) for kind, count in counts.items()}
    found = fit_thresholds(fitted(5.0), torch.ones(100) > 0, others)
    assert (found.maybe, found.sure, found.passes) == (5.0, None, None)
