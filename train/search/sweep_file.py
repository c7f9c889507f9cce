"""A W&B sweep file, read and checked against the settings of the command that it runs."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from train.config import CONFIGS


class SweepError(ValueError):
    """A sweep file that cannot be run; the message names the fix."""


@dataclass(frozen=True)
class Sweep:
    """A sweep file, checked.

    Attributes:
        command: train.scratch or train.transfer.
        method: bayes, random or grid.
        metric: The figure of metrics.jsonl that decides.
        maximize: Whether more of it is better.
        fixed: Settings of every trial.
        searched: Settings that differ.
        min_iter: Epochs before a trial may be stopped; None: none is stopped.
        eta: Of Hyperband: one in eta trials goes on.
    """

    command: str
    method: str
    metric: str
    maximize: bool
    fixed: dict[str, Any]
    searched: dict[str, BaseDistribution]
    min_iter: int | None
    eta: int


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        SweepError: Not there, or something in it that a trial could not run.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        words = [str(word) for word in content["command"]]
        command = next(word for word in words if word in CONFIGS)
        parameters, metric = content["parameters"], content["metric"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise SweepError(
            f"{path} is no sweep file with command (one of {', '.join(CONFIGS)}), parameters and "
            f"metric: {error}"
        ) from error
    known = {field.name for field in fields(CONFIGS[command])}
    if unknown := sorted(set(parameters) - known):
        raise SweepError(f"{path}: python -m {command} has no setting {', '.join(unknown)}")
    method = content.get("method", "bayes")
    if method not in ("bayes", "random", "grid"):
        raise SweepError(f"{path}: method {method!r}; there are bayes, random and grid")
    searched = {
        name: parse_distribution(name, spec)
        for name, spec in parameters.items()
        if "value" not in spec
    }
    early = content.get("early_terminate") or {}
    return Sweep(
        command,
        method,
        metric["name"],
        metric.get("goal", "minimize") == "maximize",
        {name: spec["value"] for name, spec in parameters.items() if "value" in spec},
        searched,
        early.get("min_iter") if early.get("type") == "hyperband" else None,
        early.get("eta", 3),
    )


def parse_distribution(name: str, spec: dict[str, Any]) -> BaseDistribution:
    """A parameter of W&B's format as Optuna's.

    Raises:
        SweepError: For a distribution that has no counterpart here.
    """
    if "values" in spec:
        return CategoricalDistribution(spec["values"])
    if "min" not in spec or "max" not in spec:
        raise SweepError(f"parameter {name} needs value, values, or min and max")
    low, high, step = spec["min"], spec["max"], spec.get("q")
    whole = isinstance(low, int) and isinstance(high, int)
    kind = spec.get("distribution", "int_uniform" if whole else "uniform")
    if kind in ("int_uniform", "q_uniform") and whole:
        return IntDistribution(low, high, step=int(step or 1))
    if kind in ("uniform", "q_uniform"):
        return FloatDistribution(low, high, step=step)
    if kind == "log_uniform_values":
        return FloatDistribution(low, high, log=True)
    raise SweepError(
        f"parameter {name}: distribution {kind} is not supported here; use uniform, int_uniform, "
        "q_uniform or log_uniform_values"
    )
