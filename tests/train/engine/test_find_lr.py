"""The learning rate range test: what a curve suggests, and a real one."""

import csv
import dataclasses
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from models.command_line import parse_flags
from train.config import ScratchConfig, TransferConfig
from train.engine.range_test import MIN_POINTS, RangeTestError, smooth, suggest
from train.engine.trainer import Trainer
from train.find_lr import EXAMPLES, MIN_STEPS, FindConfig, command_line, main

RATES = np.geomspace(1e-6, 1, 100)


def curve(minimum: float, noise: float = 0.0, depth: float = 1.0) -> np.ndarray:
    """Flat, then a valley with its floor at a rate, then an explosion."""
    place = np.log10(RATES / minimum)
    fall = depth * np.exp(-(place**2) / 2)
    return 4 - fall + np.exp(4 * (place - 1.5)) + noise * np.random.default_rng(0).normal(size=100)


@pytest.mark.parametrize("minimum", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_steepest_fall_and_the_minimum(minimum: float, noise: float) -> None:
    found = suggest(RATES, curve(minimum, noise))
    assert abs(np.log10(found.minimum / minimum)) < 0.35
    assert found.rate(pretrained=True) == pytest.approx(found.minimum / 10)
    assert found.rate(pretrained=False) == found.steepest
    # The steepest point of a bell is one standard deviation off its top.
    assert abs(np.log10(found.steepest / minimum) + 1) < (0.6 if noise else 0.2)


def test_what_comes_after_a_loss_that_is_not_finite_is_ignored() -> None:
    losses = curve(1e-3)
    losses[70:] = -5
    losses[70] = np.nan
    assert suggest(RATES, losses).minimum == pytest.approx(1e-3, rel=0.5)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.full(100, 3.9), "within its noise"),
        (3.9 + 0.1 * np.random.default_rng(1).normal(size=100), "within its noise"),
        (3.9 + RATES, "within its noise"),
        (np.full(100, np.nan), "finite for 0 steps"),
        (np.r_[4.0, 3.9, np.full(98, np.inf)], "finite for 2 steps"),
        (np.linspace(4, 2, 100), "a larger --highest"),
        (np.linspace(4, 2, 10), "finite for 10 steps"),
    ],
)
def test_a_curve_without_a_valley_gives_no_number(losses: np.ndarray, message: str) -> None:
    with pytest.raises(RangeTestError, match=message):
        suggest(RATES[: len(losses)], losses)


def test_noise_alone_suggests_nothing() -> None:
    refused = 0
    for seed in range(50):
        try:
            suggest(RATES, 3.9 + 0.1 * np.random.default_rng(seed).normal(size=100))
        except RangeTestError:
            refused += 1
    assert refused >= 48


def test_smoothing_does_not_lag() -> None:
    peak = np.exp(-(((np.arange(100) - 60) / 8) ** 2))
    assert smooth(peak).argmax() == 60


def test_the_next_command_repeats_what_was_given(tmp_path: Path) -> None:
    config = ScratchConfig(
        data=tmp_path / "my photos", flip=False, width=16, tags=("a", "b"), learning_rate=0.5
    )
    words = shlex.split(command_line(config, 0.00321))
    assert words[:3] == ["python", "-m", "train.scratch"]
    assert words[-2:] == ["--learning-rate", "3.2e-03"]
    given = parse_flags(ScratchConfig, "train.scratch", args=words[3:])
    assert given == dataclasses.replace(config, learning_rate=0.0032)
    assert "--batch-size" not in words


def test_flags_before_and_after_the_training(capsys: pytest.CaptureFixture) -> None:
    def parse(*args: str) -> FindConfig:
        return parse_flags(FindConfig, "find_lr", EXAMPLES, args=args)

    found = parse("--steps", "40", "scratch", "--width", "16", "--out=a.png", "--no-flip")
    assert found == FindConfig(ScratchConfig(width=16, flip=False), steps=40, out=Path("a.png"))
    assert parse("transfer", "--label_smoothing=0.2", "--highest", "2").training == TransferConfig(
        label_smoothing=0.2
    )
    for args in ([], ["autoencoder"], ["scratch", "--backbone", "x"], ["scratch", "--steps", "3"]):
        with pytest.raises(SystemExit) as end:
            parse(*args)
        assert end.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        parse("scratch", "--help")
    text = capsys.readouterr().out
    assert text.index("--steps") < text.index("photos options") < text.index("network options")
    assert MIN_STEPS == MIN_POINTS


def quick(data: Path, **changes: object) -> ScratchConfig:
    """Settings of a training whose steps take milliseconds."""
    settings = {"data": data, "workers": 0, "device": "cpu", "epochs": 5}
    settings |= {"image_size": 32, "batch_size": 16, "width": 8, "depth": 1}
    settings |= {"mix_probability": 0.0, "augment": 0.0, "drop_rate": 0.0}
    return ScratchConfig(**settings | changes)


def test_a_real_test(
    landmark_photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = FindConfig(quick(landmark_photos), steps=40, lowest=1e-4, out=tmp_path / "lr.png")
    assert main(config) == 0
    output = capsys.readouterr().out
    rate = float(output.split("--learning-rate ")[1])
    assert 1e-4 < rate < 0.3
    assert f"--data {landmark_photos}" in output and "python -m train.scratch" in output
    with config.out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) <= 40
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == pytest.approx(np.geomspace(1e-4, 1, 40)[: len(rows)])
    assert float(rows[0]["loss"]) > 1.5 * min(float(row["loss"]) for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {"lr.png", "lr.csv"}


def test_same_optimizer_and_rates_as_the_training(
    landmark_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a pretrained network all layers learn, each at its share of the rate."""
    seen = []
    original = Trainer.step

    def step(self: Trainer, *args: object) -> float:
        loss = original(self, *args)
        groups = self.optimizer.param_groups
        frozen = [each for each in self.plain.parameters() if not each.requires_grad]
        seen.append((sorted({group["lr"] for group in groups}), len(frozen)))
        return loss

    monkeypatch.setattr(Trainer, "step", step)
    training = TransferConfig(
        data=landmark_photos,
        backbone="efficientnet_lite0",
        image_size=32,
        batch_size=8,
        workers=0,
        device="cpu",
    )
    main(FindConfig(training, steps=20, out=tmp_path / "lr.png"))
    rates, frozen = seen[0]
    assert frozen == 0
    assert rates[-1] == pytest.approx(1e-6)
    assert rates[-2] == pytest.approx(0.85e-6)


def test_a_loss_that_explodes_ends_the_test(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    for losses, count in (([3.0] * 30 + [12.1], 31), ([3.0] * 5 + [float("nan")], 6)):
        given = iter(losses)
        monkeypatch.setattr(Trainer, "step", lambda *_args, given=given: next(given))
        assert main(FindConfig(quick(landmark_photos), out=tmp_path / "lr.png")) == 1
        assert "error: the loss" in capsys.readouterr().err
        assert (tmp_path / "lr.png").stat().st_size > 0
        assert len((tmp_path / "lr.csv").read_text().splitlines()) == count + 1


def test_mistakes_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(FindConfig(ScratchConfig(data=tmp_path / "absent"), out=tmp_path / "a.png")) == 2
    assert capsys.readouterr().err.startswith("error: no data folder")
    for changes in ({"steps": 3}, {"lowest": 2.0}, {"out": Path("lr.jpg")}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            FindConfig(ScratchConfig(), **changes)
    with pytest.raises(ValueError, match="--resume"):
        FindConfig(ScratchConfig(resume=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_nothing(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    number: int,
) -> None:
    original = Trainer.step

    def step(trainer: Trainer, *args: object) -> float:
        if trainer.progress.batch == 1:
            signal.raise_signal(number)
        return original(trainer, *args)

    monkeypatch.setattr(Trainer, "step", step)
    assert main(FindConfig(quick(landmark_photos), out=tmp_path / "lr.png")) == 128 + number
    assert "nothing was written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
