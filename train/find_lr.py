"""Find a learning rate: python -m train.find_lr scratch --data DIR, or transfer.

The range test of Smith (Cyclical Learning Rates for Training Neural Networks, WACV 2017): some
steps of the training, each at a higher rate than the one before, until the loss explodes.
"""

import csv
import dataclasses
import math
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from tqdm import tqdm

from models.networks.pretrained import set_train_mode
from train.config import ScratchConfig, TrainConfig, TransferConfig
from train.data.batches import EpochBatches, PhotoDataset
from train.data.sources import open_source
from train.engine.device import build_accelerator
from train.engine.interrupts import StopRequest
from train.engine.recipe import build_network, build_phases, build_preprocess
from train.engine.trainer import Trainer
from train.engine.training_run import KNOWN_ERRORS, build_loader, build_transforms, read_photos

EXPLODED = 4.0  # times the smallest loss so far
MIN_POINTS = 20
SMOOTHING = 0.03  # standard deviation of the smoothing, as part of the steps
VISIBLE_FALL = 1.5  # in standard deviations of a step's loss


class RangeTestError(ValueError):
    """A curve that suggests no learning rate; the message says why and what to change."""


@dataclass(frozen=True)
class FindConfig:
    """Raise the learning rate step by step and look at the loss; nothing of the training is kept.

    Network, photos, augmentation, batches and optimizer are those of the training whose flags
    follow; run folder and W&B are left alone. Of a pretrained network the phase is tested that
    trains all layers, under a head without training.
    """

    training: Annotated[
        Annotated[ScratchConfig, tyro.conf.subcommand("scratch")]
        | Annotated[TransferConfig, tyro.conf.subcommand("transfer")],
        tyro.conf.arg(name=""),
    ]
    """The training."""
    steps: int = 100
    """Steps from the lowest rate to the highest."""
    lowest: float = 1e-6
    """Learning rate of the first step."""
    highest: float = 1.0
    """Learning rate of the last step, where the loss has not exploded before."""
    out: Path = Path("find_lr.png")
    """The picture; beside it, as .csv, the points."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        rules = {
            f"steps must be at least {MIN_POINTS}": self.steps >= MIN_POINTS,
            "lowest must be above 0 and below highest": 0 < self.lowest < self.highest,
            "out must end in .png": self.out.suffix == ".png",
            "a training that goes on has its rate; leave --resume out": not self.training.resume,
        }
        for message, holds in rules.items():
            if not holds:
                raise RangeTestError(message)


@dataclass(frozen=True)
class Suggestion:
    """What a curve says.

    Attributes:
        steepest: Where the loss falls fastest per factor of the rate.
        minimum: Where the loss is smallest.
    """

    steepest: float
    minimum: float

    def rate(self, pretrained: bool) -> float:
        """The peak to train with: the steepest fall; of pretrained weights a tenth of the minimum.

        At the minimum the loss is about to rise, so a training there would be on the brink. Both
        margins are usual (Howard & Gugger, Deep Learning for Coders, chapter 5). The wider one is
        for weights that are worth keeping: what a high rate spoils in them shows later than here.
        """
        return self.minimum / 10 if pretrained else self.steepest


def smooth(losses: Sequence[float]) -> np.ndarray:
    """(N,) float64: the mean of neighbouring steps, before and after alike.

    A running mean, as of fastai, lags: it shows the minimum at too high a rate.
    """
    return gaussian_filter1d(np.array(losses, float), SMOOTHING * len(losses), mode="nearest")


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """Where the smoothed loss falls fastest, and where it is smallest.

    Args:
        rates: (N,), rising by equal factors.
        losses: (N,) in nats; those from the first that is not finite are ignored.

    Raises:
        RangeTestError: Too few finite losses, or none that falls and rises again.
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
    # The first test is for curves without noise: rounding is no fall.
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


def measure(config: FindConfig, trainer: Trainer) -> tuple[list[float], list[float]]:
    """The rates tested and the losses, each of them before the step at its rate; both (N,)."""
    phase = trainer.phases[-1]
    trainer.start_phase(phase, None)
    set_train_mode(trainer.model)
    rates: list[float] = []
    losses: list[float] = []
    planned = np.geomspace(config.lowest, config.highest, config.steps).tolist()
    bar = tqdm(zip(planned, endless(trainer), strict=False), "rates", config.steps, leave=False)
    for rate, batch in bar:
        loss = trainer.step(batch, rate / config.training.learning_rate, phase.mix)
        rates.append(rate)
        losses.append(loss)
        bar.set_postfix(rate=f"{rate:.1e}", loss=f"{loss:.3f}", refresh=False)
        if not math.isfinite(loss) or loss > EXPLODED * min(losses):
            break
    return rates, losses


def endless(trainer: Trainer) -> Iterator[dict[str, Tensor]]:
    """Batches of one epoch after the other."""
    progress, batches = trainer.progress, trainer.batches
    while True:
        # Beyond the last epoch there is no size of the crops: the first come again.
        batches.epoch = progress.epoch % trainer.config.epochs
        for batch in trainer.train_loader:
            yield batch
            progress.batch += 1
        progress.epoch, progress.batch = progress.epoch + 1, 0


def build_trainer(config: TrainConfig, accelerator: Accelerator, folder: Path) -> Trainer:
    """A training before its first step; nothing is written into the folder."""
    torch.manual_seed(config.seed)
    model = build_network(config, len(open_source(config).classes))
    preprocess = build_preprocess(config, model)
    split, cache = read_photos(config, folder, preprocess.resize_px)
    transform, _ = build_transforms(config, preprocess)
    labels = split.labels(split.train)
    dataset = PhotoDataset(cache.subset(split.train), labels, transform, config.seed)
    balance = labels if config.balanced else None
    size = min(config.batch_size, len(dataset))
    batches = EpochBatches(len(dataset), size, config.seed, True, balance)
    loader = build_loader(dataset, batches, config, accelerator)
    return Trainer(
        config, model, build_phases(config), loader, loader, accelerator, folder,
        split.fingerprint, log=lambda _record: None, should_stop=lambda: False,
    )  # fmt: skip


def plot(
    rates: Sequence[float], losses: Sequence[float], found: Suggestion | None, pretrained: bool
) -> Figure:
    """Loss over learning rate, and what is suggested."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    known = [(rate, loss) for rate, loss in zip(rates, losses, strict=True) if math.isfinite(loss)]
    shown = np.array(known).reshape(-1, 2)
    axes.semilogx(*shown.T, ".", color="0.7", label="step")
    if len(shown):
        smoothed = smooth(shown[:, 1])
        axes.semilogx(shown[:, 0], smoothed, label="smoothed")
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


def command_line(config: TrainConfig, rate: float) -> str:
    """The command of a training with another learning rate, with every flag that was given."""
    parts = ["python", "-m", config.command]
    default = type(config)()
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if value == getattr(default, field.name) or field.name == "learning_rate":
            continue
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            parts += [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join([*parts, "--learning-rate", f"{rate:.1e}"])


def main(config: FindConfig) -> int:
    """Test, draw, and print what to run next.

    Returns:
        Exit status: 0 done, 1 error, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    stop = StopRequest()
    pretrained = isinstance(config.training, TransferConfig) and config.training.pretrained
    try:
        accelerator = build_accelerator(config.training)
        if accelerator.num_processes > 1:
            raise RangeTestError("train.find_lr runs in one process; start it without torchrun")
        with stop.watch(), tempfile.TemporaryDirectory() as folder:
            rates, losses = measure(
                config, build_trainer(config.training, accelerator, Path(folder))
            )
        problem, found = None, None
        try:
            found = suggest(rates, losses)
        except RangeTestError as error:
            problem = error
        config.out.parent.mkdir(parents=True, exist_ok=True)
        plot(rates, losses, found, pretrained).savefig(config.out, dpi=110)
        with config.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [("learning_rate", "loss"), *zip(rates, losses, strict=True)]
            )
        print(f"{len(rates)} steps; look at {config.out}")
        if problem is not None:
            raise problem
    except KeyboardInterrupt:
        print("stopped; nothing was written")
        return 128 + (stop.signal or signal.SIGINT)
    except KNOWN_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        # Else a second test in this process (a notebook) could not choose another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    rate = found.rate(pretrained)
    why = "a tenth of the second, since its weights are pretrained" if pretrained else "the first"
    print(
        f"the loss falls fastest at {found.steepest:.1e} and is smallest at {found.minimum:.1e}; "
        f"take {why}:"
    )
    print(command_line(config.training, rate))
    return 0


if __name__ == "__main__":
    flags = (tyro.conf.OmitArgPrefixes, tyro.conf.CascadeSubcommandArgs)
    sys.exit(main(tyro.cli(FindConfig, prog="python -m train.find_lr", config=flags)))
