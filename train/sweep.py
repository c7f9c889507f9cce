"""Run a W&B sweep file here, with no account: python -m train.sweep sweeps/scratch.yaml."""

import csv
import json
import math
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import optuna
import tyro
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from train.engine.plots import plot_importances
from train.search.sweep_file import Sweep, SweepError, read_sweep

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SweepConfig:
    """Search the settings of a sweep file through Optuna, one process per trial."""

    sweep: Annotated[Path, tyro.conf.Positional]
    """The yaml file, as wandb sweep takes it."""
    count: int = 20
    """Trials in all; the same line again goes on where it was cut, more trials extend it."""
    out: Path | None = None
    """Folder of the search; none: runs/sweep-<name of the file>."""
    seed: int = 0
    """Of the search."""


def build_sampler(sweep: Sweep, seed: int, done: int) -> optuna.samplers.BaseSampler:
    """What chooses the next trial; done: trials so far, lest a continued search repeat them."""
    if sweep.method == "random":
        return optuna.samplers.RandomSampler(seed=seed + done)
    if sweep.method == "bayes":
        return optuna.samplers.TPESampler(seed=seed + done)
    choices = {name: getattr(found, "choices", None) for name, found in sweep.searched.items()}
    if None in choices.values():
        raise SweepError("a grid needs values for every parameter, not min and max")
    return optuna.samplers.GridSampler(choices, seed=seed)


def open_study(sweep: Sweep, out: Path, seed: int) -> optuna.Study:
    """The study of a folder, new or as it was left; trials that were cut are queued again."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # run_trial says why one failed
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if sweep.min_iter is not None:
        epochs = sweep.fixed.get("epochs", "auto")
        pruner = optuna.pruners.HyperbandPruner(sweep.min_iter, epochs, sweep.eta)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(out / "study.log"))), study_name=out.name,
        pruner=pruner, load_if_exists=True,
        direction="maximize" if sweep.maximize else "minimize",
    )  # fmt: skip
    study.sampler = build_sampler(sweep, seed, len(study.trials))
    for trial in last_tries(study):
        if trial.state is TrialState.RUNNING:  # its search was killed
            study.tell(trial.number, state=TrialState.FAIL)
        elif "cut" not in trial.user_attrs:
            continue
        folder = trial.user_attrs.get("run_dir")
        study.enqueue_trial(trial.params, user_attrs={"run_dir": folder} if folder else None)
    return study


class TrialFailed(Exception):
    """A trial that ended with an error of its own; the search goes on."""


def suggest(trial: optuna.Trial, name: str, found: BaseDistribution) -> Any:
    """A value for one setting."""
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(name, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(name, found.low, found.high, step=found.step)
    return trial.suggest_float(name, found.low, found.high, step=found.step, log=found.log)


def run_trial(trial: optuna.Trial, sweep: Sweep, out: Path) -> float:
    """One training in a process of its own, stopped when the others are clearly better.

    Returns:
        The metric after its last epoch.

    Raises:
        TrialPruned: It was stopped early.
        TrialFailed: It ended with an error.
        KeyboardInterrupt: After the training has saved itself.
    """
    settings = {name: suggest(trial, name, found) for name, found in sweep.searched.items()}
    folder = Path(trial.user_attrs.get("run_dir", str(out / f"{trial.number:03}")))
    trial.set_user_attr("run_dir", str(folder))
    if (folder / "config.json").is_file():
        flags = ["--resume", str(folder)]
    else:
        flags = [f"--{name}={value}" for name, value in (sweep.fixed | settings).items()]
        flags += ["--run-dir", str(folder), "--group", out.name]
    log = out / f"{folder.name}.log"
    print(f"trial {trial.number}: {describe(settings)}; its output: {log}", flush=True)
    values: list[float] = []
    pruned, ended = False, None
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", sweep.command, *flags], stdout=output, stderr=output
        )
        try:
            while ended is None:
                time.sleep(POLL_SECONDS)
                ended = process.poll()  # before the file is read, so that nothing is missed
                seen, values = len(values), read_values(folder, sweep)
                for epoch, value in enumerate(values[seen:], seen + 1):
                    trial.report(value, epoch)
                if ended is None and not pruned and values and trial.should_prune():
                    pruned = True
                    process.send_signal(signal.SIGTERM)  # it saves and closes its W&B run
        except BaseException:
            trial.set_user_attr("cut", True)
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if ended == 0:
        return values[-1]
    if pruned:
        raise optuna.TrialPruned
    text = log.read_text(encoding="utf-8", errors="replace")
    reasons = [line.strip("│ ") for line in text.splitlines() if re.search("error.*:", line, re.I)]
    print(f"trial {trial.number} failed: {reasons[-1] if reasons else 'see its output'}")
    raise TrialFailed


def read_values(folder: Path, sweep: Sweep) -> list[float]:
    """The metric after each epoch so far."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    if records and sweep.metric not in records[0]:
        raise SweepError(f"runs log no {sweep.metric}; they log {', '.join(records[0])}")
    return [record[sweep.metric] for record in records]


def describe(settings: dict[str, Any]) -> str:
    """Settings in one line."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )


def report(study: optuna.Study, sweep: Sweep, out: Path) -> str:
    """Write trials.csv and importance.png; the best trials as text."""
    names = list(sweep.searched)
    sign = -1 if sweep.maximize else 1
    trials = sorted(
        (trial for trial in study.get_trials() if trial.state.is_finished()),
        key=lambda trial: math.inf if trial.value is None else sign * trial.value,
    )
    with (out / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", sweep.metric, "run_dir", *names])
        for trial in trials:
            cells = [trial.params.get(name) for name in names]
            folder = trial.user_attrs.get("run_dir")
            writer.writerow([trial.number, trial.state.name, trial.value, folder, *cells])
    lines = [f"trial  {'state':<9} {sweep.metric:>14}  settings"]
    for trial in trials[:10]:
        value = "" if trial.value is None else f"{trial.value:.4f}"
        lines.append(
            f"{trial.number:>5}  {trial.state.name:<9} {value:>14}  {describe(trial.params)}"
        )
    lines.append(f"all trials: {out / 'trials.csv'}")
    complete = study.get_trials(states=[TrialState.COMPLETE])
    if len({trial.value for trial in complete}) > 1:
        importances = optuna.importance.get_param_importances(study)
        plot_importances(importances, sweep.metric, len(complete), out / "importance.png")
        lines.append(f"which settings matter: {out / 'importance.png'}")
    return "\n".join(lines)


def last_tries(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """One trial per run folder, the newest: one that was cut is tried again in its folder."""
    trials = study.get_trials(deepcopy=False)
    return list({trial.user_attrs.get("run_dir"): trial for trial in trials}.values())


def count_finished(study: optuna.Study) -> int:
    """Trials that came to an end of their own."""
    return sum(
        trial.state.is_finished() and "cut" not in trial.user_attrs for trial in last_tries(study)
    )


def main(config: SweepConfig) -> int:
    """Search until there are count trials, and report."""
    out = config.out or Path("runs") / f"sweep-{config.sweep.stem}"

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        value = "" if trial.value is None else f", {sweep.metric} {trial.value:.4f}"
        state = trial.state.name.lower()
        print(f"{count_finished(study)} of {config.count}: {state}{value}", flush=True)

    try:
        sweep = read_sweep(config.sweep)
        out.mkdir(parents=True, exist_ok=True)
        study = open_study(sweep, out, config.seed)
        try:
            study.optimize(
                lambda trial: run_trial(trial, sweep, out),
                n_trials=max(0, config.count - count_finished(study)),
                catch=(TrialFailed,), callbacks=[tell],
            )  # fmt: skip
        except KeyboardInterrupt:
            print(f"stopped; the same line goes on: python -m train.sweep {config.sweep}")
            return 130
        print(report(study, sweep, out))
    except (SweepError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(SweepConfig, prog="python -m train.sweep")))
