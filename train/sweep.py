"""Search the settings of a W&B sweep file on this machine, with no account: python -m train.sweep.

It takes the file that wandb sweep takes, and runs one training after the other.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from models.command_line import parse_flags
from models.environment import TRAINING
from models.files import check_folder

if TYPE_CHECKING:
    import optuna

EXAMPLES = (
    "python -m train.sweep sweeps/scratch.yaml --count 20",
    "python -m train.sweep sweeps/scratch.yaml --count 40  # after that: twenty more",
)
NEEDS = (*TRAINING, "optuna")


@dataclass(frozen=True)
class SweepConfig:
    """Search the settings of a sweep file with Optuna, one training after the other.

    Run the same command again to resume a search that was stopped.
    """

    sweep: Annotated[Path, tyro.conf.Positional]
    """The yaml file, as wandb sweep takes it."""
    count: int = 20
    """Trials in total, those of earlier calls included."""
    out: Path | None = None
    """Folder of the search; none: runs/sweep-<name of the file>."""
    seed: int = 0
    """Seed of the search."""


def main(config: SweepConfig) -> int:
    """Search until there are count trials, and report.

    Returns:
        Exit status: 0 done, 1 error or no trial that finished, 2 a flag or file that cannot work,
        130 stopped by Ctrl-C.
    """
    from train.search.sweep_file import SweepError, read_sweep

    out = config.out or Path("runs") / f"sweep-{config.sweep.stem}"
    status = 2
    try:
        sweep = read_sweep(config.sweep)
        check_folder(out, "--out")
        status = 1
        out.mkdir(parents=True, exist_ok=True)
        # Optuna takes half a second, so it is not imported before the file is known to be sound.
        from train.search.trials import (
            TrialFailed,
            count_finished,
            has_results,
            open_study,
            report,
            run_trial,
        )

        def tell(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
            value = "" if trial.value is None else f", {sweep.metric} {trial.value:.4f}"
            state = trial.state.name.lower()
            print(f"{count_finished(study)} of {config.count}: {state}{value}", flush=True)

        study = open_study(sweep, out, config.seed)
        try:
            study.optimize(
                lambda trial: run_trial(trial, sweep, out),
                n_trials=max(0, config.count - count_finished(study)),
                catch=(TrialFailed,),
                callbacks=[tell],
            )
        except KeyboardInterrupt:
            print(f"stopped; to resume, run the same command: python -m train.sweep {config.sweep}")
            return 130
        print(report(study, sweep, out))
        if study.trials and not has_results(study):
            raise SweepError(f"no trial has finished; see why in {out}/*.log")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(SweepConfig, "python -m train.sweep", EXAMPLES, NEEDS)))
