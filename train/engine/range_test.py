"""The learning rate range test: raise the rate at each step until the loss explodes.

Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from models.networks.pretrained import set_train_mode
from train.config import TrainConfig
from train.data.loading import build_loaders, read_photos
from train.data.sources import Source
from train.engine.recipe import build_network, build_phases, build_preprocess, build_task
from train.engine.tasks import Batch
from train.engine.trainer import Trainer
from train.evaluation.figure import new_figure

EXPLODED = 4.0  # times the smallest loss so far
MIN_POINTS = 20
SMOOTHING = 0.03  # standard deviation of the smoothing, as part of the steps
VISIBLE_FALL = 1.5  # in standard deviations of a step's loss


class RangeTestError(ValueError):
    """A curve that suggests no learning rate; the message says why and what to change."""


@dataclass(frozen=True)
class Suggestion:
    """What a curve suggests.

    Attributes:
        steepest: The rate at which the loss falls fastest per factor of the rate.
        minimum: The rate at which the loss is smallest.
    """

    steepest: float
    minimum: float

    def rate(self, pretrained: bool) -> float:
        """Return the peak to train with: the steepest fall; if pretrained a tenth of the minimum.

        At the minimum the loss is about to rise, so a training there would be on the brink. Both
        margins are usual (Howard & Gugger, Deep Learning for Coders, chapter 5). Pretrained weights
        get the wider one because they are worth keeping: what a high rate spoils in them shows
        later than in this test.
        """
        return self.minimum / 10 if pretrained else self.steepest


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Return (N,) float64, the mean of neighbouring steps before and after each one.

    A running mean, like fastai's, lags: it shows the minimum at too high a rate.
    """
    return gaussian_filter1d(np.array(losses, float), SMOOTHING * len(losses), mode="nearest")


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """Find where the smoothed loss falls fastest and where it is smallest.

    Args:
        rates: (N,), rising by equal factors.
        losses: (N,) in nats; everything from the first loss that is not finite is ignored.

    Raises:
        RangeTestError: Too few losses are finite, or the curve does not fall and rise again.
    """
    finite = np.isfinite(losses)
    count = len(losses) if finite.all() else int(finite.argmin())
    if count < MIN_POINTS:
        raise RangeTestError(
            f"the loss was finite for {count} steps only, and {MIN_POINTS} are needed; start with "
            "a smaller --lowest, or try --precision fp32"
        )
    smoothed = smooth(losses[:count])
    best = int(smoothed.argmin())
    noise = float(np.std((np.array(losses[:count]) - smoothed)[: best + 1]))
    fall = smoothed[0] - smoothed[best]
    # The first condition is for curves without noise: a difference by rounding is no fall.
    if fall < 1e-3 * abs(smoothed[0]) or fall < VISIBLE_FALL * noise:
        raise RangeTestError(
            f"the loss fell by {max(0.0, fall):.3f} only, which is within its noise ({noise:.3f}); "
            "give more --steps, a larger --batch-size, or another --lowest and --highest"
        )
    if best == count - 1 and count == len(losses):
        raise RangeTestError(
            f"the loss still falls at the highest rate, {rates[best]:.1e}; give a larger --highest"
        )
    slopes = np.gradient(smoothed[: best + 1], np.log(rates[: best + 1]))
    return Suggestion(rates[int(slopes.argmin())], rates[best])


def measure(
    trainer: Trainer, lowest: float, highest: float, steps: int
) -> tuple[list[float], list[float]]:
    """Train with rising rates until the loss explodes.

    Args:
        trainer: Before its first step. Of its phases the last is tested, in which all layers learn.
        lowest: Rate of the first step.
        highest: Rate of the last step.
        steps: Number of steps.

    Returns:
        The rates, and for each the loss before the step at that rate; both (N,), N <= steps.
    """
    phase = trainer.phases[-1]
    trainer.start_phase(phase, None)
    set_train_mode(trainer.model)
    rates: list[float] = []
    losses: list[float] = []
    planned = np.geomspace(lowest, highest, steps).tolist()
    bar = tqdm(zip(planned, _endless(trainer), strict=False), "rates", steps, leave=False)
    for rate, batch in bar:
        loss = trainer.step(batch, rate / trainer.config.learning_rate, phase.mix)
        rates.append(rate)
        losses.append(loss)
        bar.set_postfix(rate=f"{rate:.1e}", loss=f"{loss:.3f}", refresh=False)
        if not math.isfinite(loss) or loss > EXPLODED * min(losses):
            break
    return rates, losses


def _endless(trainer: Trainer) -> Iterator[Batch]:
    """Yield the batches of one epoch after the other."""
    progress, batches = trainer.progress, trainer.batches
    while True:
        # Crops have a size for each epoch of the training; after the last, start over.
        batches.epoch = progress.epoch % trainer.config.epochs
        for batch in trainer.train_loader:
            yield batch
            progress.batch += 1
        progress.epoch, progress.batch = progress.epoch + 1, 0


def build_trainer(
    config: TrainConfig, sources: Sequence[Source], accelerator: Accelerator, folder: Path
) -> Trainer:
    """Build a training before its first step.

    Args:
        config: The settings.
        sources: What open_sources returned for them.
        accelerator: The device, of one process.
        folder: An empty folder; nothing is written into it.
    """
    torch.manual_seed(config.seed)
    class_count = len(sources[0].classes)
    model = build_network(config, class_count)
    preprocess = build_preprocess(config, model)
    split, cache = read_photos(config, folder, config.eval_side_px, sources)
    return Trainer(
        config,
        model,
        build_task(config, accelerator, class_count),
        build_phases(config),
        *build_loaders(config, split, cache, preprocess, accelerator),
        accelerator,
        folder,
        split.fingerprint,
        log=lambda _record, _picture: None,
        should_stop=lambda: False,
    )


def plot(
    rates: Sequence[float], losses: Sequence[float], found: Suggestion | None, pretrained: bool
) -> Figure:
    """Draw the loss over the learning rate, and what is suggested.

    Args:
        rates: (N,).
        losses: (N,) in nats.
        found: The suggestion; None draws the points only.
        pretrained: Decides which rate of the suggestion is marked.
    """
    figure = new_figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    known = [(rate, loss) for rate, loss in zip(rates, losses, strict=True) if math.isfinite(loss)]
    shown = np.array(known).reshape(-1, 2)
    axes.semilogx(*shown.T, ".", color="0.7", label="step")
    if len(shown):
        smoothed = smooth(shown[:, 1])
        axes.semilogx(shown[:, 0], smoothed, label="smoothed")
        # The explosion at the end would flatten the valley that matters.
        axes.set_ylim(smoothed.min() - 0.1, min(smoothed.max(), 2 * smoothed[0]) + 0.1)
    if found is not None:
        rate = found.rate(pretrained)
        axes.axvline(found.steepest, color="C2", ls=":", label=f"steepest {found.steepest:.1e}")
        axes.axvline(found.minimum, color="C3", ls=":", label=f"smallest {found.minimum:.1e}")
        axes.axvline(rate, color="C1", label=f"suggestion {rate:.1e}")
    axes.set(xlabel="learning rate", ylabel="training loss (nats)", title="Range test")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
