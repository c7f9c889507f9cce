"""The trials of a search: which settings come next, one training each, and the report.

A study lives in its folder, so that a search that was interrupted or killed continues there:

    study.log                  Optuna's journal of all trials
    000/, 001/, ...            run folder of each trial
    000.log, 001.log, ...      what its training printed
    trials.csv, importance.png the report
"""

import csv
import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from train.search.sweep_file import Choice, Range, Sweep, SweepError

POLL_SECONDS = 0.5


class TrialFailed(Exception):
    """A trial that ended with an error of its own; the search continues."""


def open_study(sweep: Sweep, out: Path, seed: int) -> optuna.Study:
    """Open the study of a folder, new or as it was left; trials that were cut off are queued again.

    Args:
        sweep: What to search.
        out: The folder; it must exist.
        seed: Of the search.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # run_trial says why one failed
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if sweep.min_iter is not None:
        epochs = sweep.fixed.get("epochs", "auto")
        pruner = optuna.pruners.HyperbandPruner(sweep.min_iter, epochs, sweep.eta)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(out / "study.log"))),
        study_name=out.name,
        pruner=pruner,
        load_if_exists=True,
        direction="maximize" if sweep.maximize else "minimize",
    )
    study.sampler = build_sampler(sweep, seed, len(study.trials))
    for trial in last_tries(study):
        if trial.state is TrialState.RUNNING:  # the search itself was killed
            study.tell(trial.number, state=TrialState.FAIL)
        elif "cut" not in trial.user_attrs:
            continue
        folder = trial.user_attrs.get("run_dir")
        study.enqueue_trial(trial.params, user_attrs={"run_dir": folder} if folder else None)
    return study


def build_sampler(sweep: Sweep, seed: int, done: int) -> optuna.samplers.BaseSampler:
    """Build what chooses the settings of the next trial.

    Args:
        sweep: What to search.
        seed: Of the search.
        done: Trials so far; added to the seed, so that a continued search does not draw the same
            settings again.
    """
    if sweep.method == "random":
        return optuna.samplers.RandomSampler(seed=seed + done)
    if sweep.method == "bayes":
        return optuna.samplers.TPESampler(seed=seed + done)
    choices = {name: each.choices for name, each in sweep.searched.items()}
    return optuna.samplers.GridSampler(choices, seed=seed)


def last_tries(study: optuna.Study) -> list[FrozenTrial]:
    """Return one trial per run folder, the newest: one that was cut off is tried again there."""
    trials = study.get_trials(deepcopy=False)
    return list({trial.user_attrs.get("run_dir"): trial for trial in trials}.values())


def count_finished(study: optuna.Study) -> int:
    """Count the trials that ended by themselves: complete, stopped early, or with an error."""
    return sum(
        trial.state.is_finished() and "cut" not in trial.user_attrs for trial in last_tries(study)
    )


def has_results(study: optuna.Study) -> bool:
    """Tell whether any trial gave a figure: it is complete, or was stopped early as a worse one."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return bool(study.get_trials(deepcopy=False, states=states))


def suggest(trial: optuna.Trial, name: str, searched: Choice | Range) -> Any:
    """Draw a value for one setting."""
    if isinstance(searched, Choice):
        return trial.suggest_categorical(name, searched.choices)
    low, high, step = searched.low, searched.high, searched.step
    if isinstance(low, int):
        return trial.suggest_int(name, low, high, step=step)
    return trial.suggest_float(name, low, high, step=step, log=searched.log)


def run_trial(trial: optuna.Trial, sweep: Sweep, out: Path) -> float:
    """Train once, in a process of its own; stop early if other trials are clearly better.

    Returns:
        The metric after the last epoch.

    Raises:
        TrialPruned: It was stopped early.
        TrialFailed: It ended with an error.
        KeyboardInterrupt: After the training has saved itself.
    """
    settings = {name: suggest(trial, name, each) for name, each in sweep.searched.items()}
    folder = Path(trial.user_attrs.get("run_dir", str(out / f"{trial.number:03}")))
    trial.set_user_attr("run_dir", str(folder))
    if (folder / "config.json").is_file():  # it was cut off after it had begun
        flags = ["--resume", str(folder)]
    else:
        flags = [f"--{name}={value}" for name, value in (sweep.fixed | settings).items()]
        flags += ["--run-dir", str(folder), "--group", out.name]
    log = out / f"{folder.name}.log"
    print(f"trial {trial.number}: {describe(settings)}; its output: {log}", flush=True)
    values: list[float] = []
    pruned, ended = False, None
    with log.open("ab") as output:
        command = training_command(sweep.command)
        process = subprocess.Popen([*command, *flags], stdout=output, stderr=output)
        try:
            while ended is None:
                time.sleep(POLL_SECONDS)
                ended = process.poll()  # before the file is read, so that nothing is missed
                seen, values = len(values), read_values(folder, sweep)
                for epoch, value in enumerate(values[seen:], seen + 1):
                    trial.report(value, epoch)
                if ended is None and not pruned and values and trial.should_prune():
                    pruned = True
                    # Not a kill: the training saves itself and closes its W&B run. It may also
                    # finish first, and then counts as complete.
                    process.send_signal(signal.SIGTERM)
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


def training_command(module: str) -> list[str]:
    """Return the start of the command line of a training, on this interpreter."""
    return [sys.executable, "-m", module]


def read_values(folder: Path, sweep: Sweep) -> list[float]:
    """Read the metric after each epoch so far.

    Raises:
        SweepError: The training logs no such figure.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    # The last line may be half written.
    records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    if records and sweep.metric not in records[0]:
        raise SweepError(f"runs log no {sweep.metric}; they log {', '.join(records[0])}")
    return [record[sweep.metric] for record in records]


def describe(settings: dict[str, Any]) -> str:
    """Write settings in one line."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )


def report(study: optuna.Study, sweep: Sweep, out: Path) -> str:
    """Write trials.csv and importance.png, and return a table of the best trials."""
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
    if len({trial.value for trial in complete}) > 1:  # else there is no variance to explain
        importances = optuna.importance.get_param_importances(study)
        plot_importances(importances, sweep.metric, len(complete), out / "importance.png")
        lines.append(f"which settings matter: {out / 'importance.png'}")
    return "\n".join(lines)


def plot_importances(importances: dict[str, float], metric: str, trials: int, path: Path) -> None:
    """Plot how much of the metric's variance each setting explains.

    Args:
        importances: Setting -> share, adding up to 1.
        metric: Name of the figure.
        trials: How many trials it was estimated from.
        path: The .png to write.
    """
    from train.evaluation.figure import new_figure

    names = sorted(importances, key=importances.__getitem__)
    figure = new_figure(figsize=(7, 1 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlabel="share of the variance", title=f"{metric}, {trials} trials")
    figure.savefig(path, dpi=110)
