"""Read a W&B sweep file and check it against the settings of the command that it runs.

Light: a missing file or a misspelt setting is reported before Optuna is imported.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from train.config import CONFIGS

METHODS = ("bayes", "random", "grid")


class SweepError(ValueError):
    """A sweep file that cannot be run; the message names the fix."""


@dataclass(frozen=True)
class Choice:
    """A setting that takes one of several values."""

    choices: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A setting that takes a number between two others, both included.

    Attributes:
        low: The lowest; of type int where only whole numbers are drawn.
        high: The highest, of the same type.
        step: Distance of the numbers that may be drawn; None: any.
        log: Whether drawn uniformly on a logarithmic scale.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False


@dataclass(frozen=True)
class Sweep:
    """A checked sweep file.

    Attributes:
        command: train.scratch or train.transfer.
        method: bayes, random or grid.
        metric: The figure of metrics.jsonl that decides.
        maximize: Whether more of it is better.
        fixed: Settings that all trials share.
        searched: Settings that differ between trials.
        min_iter: Epochs before a trial may be stopped early; None: none is stopped.
        eta: Of Hyperband: one in eta trials continues at each of its rounds.
    """

    command: str
    method: str
    metric: str
    maximize: bool
    fixed: dict[str, Any]
    searched: dict[str, Choice | Range]
    min_iter: int | None
    eta: int


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        SweepError: The file is missing, or holds something that a trial could not run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SweepError(f"no sweep file at {path}: {error.strerror}") from error
    try:
        content = yaml.safe_load(text)
        words = [str(word) for word in content["command"]]
        # W&B's own form is a list such as ${env}, python, -m, train.scratch, ${args}.
        command = next(word for word in words if word in CONFIGS)
        parameters, metric = content["parameters"], content["metric"]
    except (yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise SweepError(
            f"{path} is no sweep file with command (one of {', '.join(CONFIGS)}), parameters and "
            f"metric: {error}"
        ) from error
    # wandb agent passes an unknown setting on, and every trial would then fail.
    known = {field.name for field in fields(CONFIGS[command])}
    if unknown := sorted(set(parameters) - known):
        raise SweepError(f"{path}: python -m {command} has no setting {', '.join(unknown)}")
    method = content.get("method", "bayes")
    if method not in METHODS:
        raise SweepError(f"{path}: method {method!r}; there are bayes, random and grid")
    searched = {
        name: parse_distribution(name, spec)
        for name, spec in parameters.items()
        if "value" not in spec
    }
    if method == "grid" and any(isinstance(each, Range) for each in searched.values()):
        raise SweepError("a grid needs values for every parameter, not min and max")
    early = content.get("early_terminate") or {}
    return Sweep(
        command=command,
        method=method,
        metric=metric["name"],
        maximize=metric.get("goal", "minimize") == "maximize",
        fixed={name: spec["value"] for name, spec in parameters.items() if "value" in spec},
        searched=searched,
        min_iter=early.get("min_iter") if early.get("type") == "hyperband" else None,
        eta=early.get("eta", 3),
    )


def parse_distribution(name: str, spec: dict[str, Any]) -> Choice | Range:
    """Return what a parameter in W&B's format stands for.

    Args:
        name: Of the setting, for messages.
        spec: Its entry in the file: values, or min and max with an optional distribution.

    Raises:
        SweepError: A distribution that is not supported here, or an empty one.
    """
    if "values" in spec:
        if not spec["values"]:
            raise SweepError(f"parameter {name}: values is empty")
        return Choice(tuple(spec["values"]))
    if "min" not in spec or "max" not in spec:
        raise SweepError(f"parameter {name} needs value, values, or min and max")
    low, high, step = spec["min"], spec["max"], spec.get("q")
    for number in (low, high, *([] if step is None else [step])):
        # YAML 1.1 reads 1e-4, without a dot, as text.
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise SweepError(f"parameter {name}: {number!r} is no number; write 1.0e-4, not 1e-4")
    if low > high:
        raise SweepError(f"parameter {name}: min {low} is above max {high}")
    if step is not None and not step > 0:
        raise SweepError(f"parameter {name}: q must be above 0")
    # As in W&B, two integers without a distribution mean whole numbers.
    is_whole = isinstance(low, int) and isinstance(high, int)
    kind = spec.get("distribution", "int_uniform" if is_whole else "uniform")
    if kind in ("int_uniform", "q_uniform") and is_whole:
        if step is not None and step < 1:
            raise SweepError(f"parameter {name}: q must be at least 1 for whole numbers")
        return Range(low, high, int(step or 1))
    if kind in ("uniform", "q_uniform"):
        return Range(float(low), float(high), step)
    if kind == "log_uniform_values":
        if low <= 0:
            raise SweepError(f"parameter {name}: min must be above 0 for {kind}")
        return Range(float(low), float(high), log=True)
    raise SweepError(
        f"parameter {name}: distribution {kind} is not supported here; use uniform, int_uniform, "
        "q_uniform or log_uniform_values"
    )
