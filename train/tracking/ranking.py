"""Decide which model is the best and which old versions may go: pure functions, no network."""

from dataclasses import dataclass, field
from typing import Any

LOWER_IS_BETTER = "loss"


@dataclass(frozen=True)
class Candidate:
    """One version of the model artifact.

    Attributes:
        version: v0, v1, ...
        run: Name of the run that logged it.
        split: Fingerprint of its split.
        classes: Hash of its class list.
        metrics: Its figures: val/top1, val/loss, ...
        aliases: Names that point to it.
    """

    version: str
    run: str
    split: str
    classes: str
    metrics: dict[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @classmethod
    def of(cls, artifact: Any) -> "Candidate":
        """Make one from the record that W&B's API gives."""
        known = artifact.metadata
        figures = {
            name: float(value)
            for name, value in known.items()
            if name.startswith(("val/", "test/")) and isinstance(value, int | float)
        }
        run, split, classes = (str(known.get(key, "")) for key in ("run", "split", "classes"))
        return cls(artifact.version, run, split, classes, figures, tuple(artifact.aliases))

    @property
    def index(self) -> int:
        """Number of the version: 3 for v3."""
        return int(self.version.removeprefix("v"))

    def is_best(self) -> bool:
        """Tell whether the alias best points to it."""
        return "best" in self.aliases


def comparable(candidates: list[Candidate], split: str | None = None) -> list[Candidate]:
    """Return the candidates that were validated on the same photos with the same classes.

    Args:
        candidates: All versions.
        split: Start of a split's fingerprint; none: the split and classes of today's best, or
            of the newest version where nothing is best yet.

    Raises:
        ValueError: No version has that split, or several splits start with it.
    """
    if split is not None:
        found = [each for each in candidates if each.split.startswith(split)]
        groups = {(each.split, each.classes) for each in found}
        if len(groups) != 1:
            known = ", ".join(sorted({each.split[:12] for each in candidates})) or "none"
            raise ValueError(f"--split {split} matches {len(groups)} splits; there are: {known}")
        return found
    # Figures on other photos or of other classes are not comparable, however high they are.
    today = next((each for each in candidates if each.is_best()), None)
    today = today or max(candidates, key=lambda each: each.index, default=None)
    return [
        each
        for each in candidates
        if today and (each.split, each.classes) == (today.split, today.classes)
    ]


def rank(candidates: list[Candidate], metric: str = "val/top1") -> list[Candidate]:
    """Sort candidates, best first.

    Ties are broken by the lower validation loss, then the older version wins: an equal newcomer
    does not take the alias away.

    Args:
        candidates: Those that may be compared.
        metric: Validation figure; one whose name ends in loss is better when lower.

    Raises:
        ValueError: The metric is no validation figure, or no candidate has it.
    """
    # Choosing on test photos would make the test figures optimistic.
    if not metric.startswith("val/"):
        raise ValueError(f"--metric {metric}: models are chosen on validation figures (val/...)")
    known = {name for each in candidates for name in each.metrics if name.startswith("val/")}
    if candidates and metric not in known:
        raise ValueError(f"no candidate has {metric}; there are: {', '.join(sorted(known))}")
    sign = 1 if metric.endswith(LOWER_IS_BETTER) else -1

    def key(each: Candidate) -> tuple[float, float, int]:
        worst = float("inf")  # a candidate without the figure comes last
        figure = sign * each.metrics[metric] if metric in each.metrics else worst
        return figure, each.metrics.get("val/loss", worst), each.index

    return sorted(candidates, key=key)


def to_prune(candidates: list[Candidate], keep: int) -> list[Candidate]:
    """Return the versions that may be deleted, newest first.

    Args:
        candidates: All versions.
        keep: How many of the newest stay.

    Returns:
        All others, except those that somebody gave an alias. Aliases that W&B (latest, v3) and
        the training (run-ID) set do not count.
    """
    automatic = ("latest", "run-")  # what log_artifact sets in wandb_run.py
    old = sorted(candidates, key=lambda each: -each.index)[keep:]
    return [
        each
        for each in old
        if all(alias.startswith(automatic) or alias == each.version for alias in each.aliases)
    ]


def format_table(ranked: list[Candidate], metric: str, limit: int = 15) -> str:
    """Lay out the comparison for people: one line per version, best first.

    Args:
        ranked: As rank returns them.
        metric: Figure of the second column.
        limit: Lines at most; the rest is counted.
    """
    lines = [f"{'version':<8} {metric:>10} {'val/loss':>9}  {'aliases':<16} run"]
    for each in ranked[:limit]:
        figures = [each.metrics.get(name, float("nan")) for name in (metric, "val/loss")]
        named = ",".join(alias for alias in each.aliases if not alias.startswith("run-"))
        lines.append(
            f"{each.version:<8} {figures[0]:>10.4f} {figures[1]:>9.4f}  {named:<16} {each.run}"
        )
    if len(ranked) > limit:
        lines.append(f"and {len(ranked) - limit} more")
    return "\n".join(lines)
