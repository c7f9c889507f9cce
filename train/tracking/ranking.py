"""Which model is the best: the comparison that moves the alias, without any network."""

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
        """From the record that W&B's API gives."""
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
        """The number of the version."""
        return int(self.version.removeprefix("v"))

    def is_best(self) -> bool:
        """Whether the alias best points to it."""
        return "best" in self.aliases


def comparable(candidates: list[Candidate], split: str | None = None) -> list[Candidate]:
    """Those that were validated on the same photos.

    Args:
        candidates: All versions.
        split: Start of a split's fingerprint; none: the split and classes of today's best, or
            of the newest version where nothing is best yet.

    Raises:
        ValueError: No version has that split, or several splits start so.
    """
    if split is not None:
        found = [each for each in candidates if each.split.startswith(split)]
        groups = {(each.split, each.classes) for each in found}
        if len(groups) != 1:
            known = ", ".join(sorted({each.split[:12] for each in candidates})) or "none"
            raise ValueError(f"--split {split} names {len(groups)} splits; there are: {known}")
        return found
    today = next((each for each in candidates if each.is_best()), None)
    today = today or max(candidates, key=lambda each: each.index, default=None)
    return [
        each
        for each in candidates
        if today and (each.split, each.classes) == (today.split, today.classes)
    ]


def rank(candidates: list[Candidate], metric: str = "val/top1") -> list[Candidate]:
    """Best first; equal figures go by validation loss, then the older version stays ahead.

    Raises:
        ValueError: For a figure of the test photos, or one that no candidate has.
    """
    if not metric.startswith("val/"):
        raise ValueError(f"--metric {metric}: models are chosen on validation figures (val/...)")
    known = {name for each in candidates for name in each.metrics if name.startswith("val/")}
    if candidates and metric not in known:
        raise ValueError(f"no candidate has {metric}; there are: {', '.join(sorted(known))}")
    sign = 1 if metric.endswith(LOWER_IS_BETTER) else -1

    def key(each: Candidate) -> tuple[float, float, int]:
        worst = float("inf")
        figure = sign * each.metrics[metric] if metric in each.metrics else worst
        return figure, each.metrics.get("val/loss", worst), each.index

    return sorted(candidates, key=key)


def to_prune(candidates: list[Candidate], keep: int) -> list[Candidate]:
    """All but the newest keep versions, and never one that somebody gave a name.

    Names are all aliases but W&B's own (latest, v3) and the run's.
    """
    ours = ("latest", "run-")
    old = sorted(candidates, key=lambda each: -each.index)[keep:]
    return [
        each
        for each in old
        if all(alias.startswith(ours) or alias == each.version for alias in each.aliases)
    ]


def format_table(ranked: list[Candidate], metric: str, limit: int = 15) -> str:
    """The comparison, as people read it."""
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
