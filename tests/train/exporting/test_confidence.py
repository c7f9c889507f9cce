"""The calibrated temperature: the one that was put in is found, and nothing becomes certain."""

import pytest
import torch

from models.model_file.classifier import Calibration, temperatures
from train.evaluation.metrics import expected_calibration_error
from train.exporting.confidence import calibrate, fit_calibration


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
