"""Find a learning rate: python -m train.find_lr scratch --data DIR, or transfer.

A range test: some steps of the training, each at a higher rate than the one before, until the loss
explodes (train/engine/range_test.py).
"""

import csv
import dataclasses
import shlex
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.command_line import in_groups, parse_flags
from models.environment import TRAINING
from models.files import check_folder
from train.config import ScratchConfig, TrainConfig, TransferConfig
from train.engine.interrupts import StopRequest, lost_workers_told
from train.engine.run_folder import open_sources
from train.engine.training_run import KNOWN_ERRORS

EXAMPLES = (
    "python -m train.find_lr scratch --data photos",
    "python -m train.find_lr transfer --data photos --backbone resnet18 --steps 200",
    "python -m train.find_lr scratch --data photos --lowest 1e-4 --out plots/lr.png",
)
MIN_STEPS = 20  # MIN_POINTS of the range test, which imports torch


@tyro.conf.configure(tyro.conf.OmitArgPrefixes, tyro.conf.CascadeSubcommandArgs)
@dataclass(frozen=True)
class FindConfig:
    """Raise the learning rate step by step and look at the loss; nothing of the training is kept.

    Network, photos, augmentation, batches and optimizer are those of the training whose flags
    follow; no run folder is made and nothing is sent to W&B. With a pretrained network the phase
    that trains all layers is tested, with a new head.
    """

    training: Annotated[
        Annotated[
            ScratchConfig, tyro.conf.subcommand("scratch", constructor=in_groups(ScratchConfig))
        ]
        | Annotated[
            TransferConfig, tyro.conf.subcommand("transfer", constructor=in_groups(TransferConfig))
        ],
        tyro.conf.arg(name=""),
    ]
    """The training."""
    steps: int = 100
    """Steps from the lowest rate to the highest."""
    lowest: float = 1e-6
    """Learning rate of the first step."""
    highest: float = 1.0
    """Learning rate of the last step, unless the loss explodes before."""
    out: Path = Path("find_lr.png")
    """The picture; the points go beside it, as .csv."""

    def __post_init__(self) -> None:
        """Reject settings that cannot work."""
        rules = {
            f"steps must be at least {MIN_STEPS}": self.steps >= MIN_STEPS,
            "lowest must be above 0 and below highest": 0 < self.lowest < self.highest,
            "out must end in .png": self.out.suffix == ".png",
            "a resumed training keeps its rate; leave --resume out": not self.training.resume,
        }
        for message, holds in rules.items():
            if not holds:
                raise ValueError(message)


def command_line(config: TrainConfig, rate: float) -> str:
    """Return the command of a training with another learning rate, with every flag that differs.

    Args:
        config: The settings of the training.
        rate: The learning rate to train with.
    """
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
        Exit status: 0 done, 1 error, 2 settings that cannot work, 130 or 143 stopped by Ctrl-C or
        SIGTERM.
    """
    stop, torch_is_here, status = StopRequest(), False, 2
    pretrained = isinstance(config.training, TransferConfig) and config.training.pretrained
    try:
        with tempfile.TemporaryDirectory() as folder:
            sources = open_sources(config.training, Path(folder))
            check_folder(config.out.absolute().parent, "the folder of --out")
            from train.engine.device import build_accelerator, release_accelerator
            from train.engine.range_test import (
                RangeTestError,
                build_trainer,
                measure,
                plot,
                suggest,
            )

            torch_is_here = True
            accelerator = build_accelerator(config.training)
            if accelerator.num_processes > 1:
                raise RangeTestError("train.find_lr runs in one process; start it without torchrun")
            status = 1
            with stop.watch(), lost_workers_told():
                trainer = build_trainer(config.training, sources, accelerator, Path(folder))
                rates, losses = measure(trainer, config.lowest, config.highest, config.steps)
        problem, found = None, None
        try:
            found = suggest(rates, losses)
        except RangeTestError as error:
            problem = error  # the picture shows why, so it comes first
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
        return status
    finally:
        if torch_is_here:
            release_accelerator()
    rate = found.rate(pretrained)
    why = "a tenth of the second, since its weights are pretrained" if pretrained else "the first"
    print(
        f"the loss falls fastest at {found.steepest:.1e} and is smallest at {found.minimum:.1e}; "
        f"take {why}:"
    )
    print(command_line(config.training, rate))
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(FindConfig, "python -m train.find_lr", EXAMPLES, TRAINING)))
