"""Advise which of several models to choose when, from their figures."""

from collections.abc import Callable, Sequence

from torch import Tensor

from train.comparison.compared_model import ComparedModel
from train.comparison.pareto import EQUAL, dominates
from train.evaluation.phrases import percent

NEAR = 0.02
"""Top-1 that a cheaper model may give up and still stand in for the best."""
SIGNIFICANT = 0.05
"""A lead with a lower p-value is more than noise."""
Cost = Callable[[ComparedModel], float]


def mcnemar(correct: Tensor, other: Tensor) -> float:
    """Return the p-value of McNemar's exact test (1947): are two models equally good?

    Photos that both get right or wrong say nothing about which is better: only those on which they
    disagree count, and these would be a fair coin's throws.

    Args:
        correct: (N,) bool, which photos one model gets right.
        other: (N,) bool, which of the same photos another model gets right.

    Returns:
        Two-sided, in (0, 1].
    """
    from scipy.stats import binomtest

    ahead, behind = int((correct & ~other).sum()), int((other & ~correct).sum())
    return float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0


def find_mismatch(models: Sequence[ComparedModel]) -> str | None:
    """Say which models were validated on which photos, if these differ; else return None."""
    splits: dict[str | None, list[str]] = {}
    for each in models:
        splits.setdefault(each.split, []).append(each.name)
    if len(splits) == 1 and None not in splits:
        return None
    groups = "; ".join(
        f"{', '.join(names)}: " + (f"split {split[:12]}" if split else "no split recorded")
        for split, names in splits.items()
    )
    return (
        f"these models were not validated on the same photos, so their accuracies do not compare "
        f"({groups}); train them on one split, as of python -m train.prepare"
    )


def advise(models: Sequence[ComparedModel]) -> str:
    """Return a paragraph on which model to choose when; all saw the same validation photos."""
    best = max(models, key=lambda each: (each.top1, -each.speed.latency_ms))
    others = [each for each in models if each is not best]
    sentences = [
        f"Most accurate on the {best.photos} validation photos: **{best.name}**, "
        f"{percent(best.top1)}.",
        _judge_lead(best, others),
        _name_cheapest("fast", best, models, lambda each: each.speed.latency_ms, "ms"),
        _name_cheapest("small", best, models, lambda each: each.size.file_bytes / 1e6, "MB"),
        _name_random_start(best, models),
        _name_quickest_training(best, models),
        _name_dominated(models),
    ]
    return " ".join(filter(None, sentences))


def _points(best: ComparedModel, other: ComparedModel) -> str:
    return f"{100 * (best.top1 - other.top1):.1f} points"


def _judge_lead(best: ComparedModel, others: Sequence[ComparedModel]) -> str:
    """Say whether the lead over the next is more than noise, and over whom else it is not."""
    ranked = sorted(others, key=lambda each: -each.top1)
    tested = [
        (each, mcnemar(best.correct, each.correct))
        for each in ranked
        if best.correct is not None and each.correct is not None
    ]
    # Every model is tested, not only the next: a model further down may have been right on other
    # photos, and then its distance is as easily noise.
    noise = [(each, p) for each, p in tested if p >= SIGNIFICANT]
    if noise:
        names = [f"**{each.name}** ({percent(each.top1)}, p = {p:.2f})" for each, p in noise]
        return (
            f"Its lead over {' and over '.join(names)} is within the noise of these photos (exact "
            "McNemar test)."
        )
    following = ranked[0]
    if not tested or tested[0][0] is not following:
        return (
            f"Whether its lead over **{following.name}** ({percent(following.top1)}) is noise "
            "cannot be said: the photos were not there to score both."
        )
    shown = f"= {tested[0][1]:.3f}" if tested[0][1] >= 0.001 else "< 0.001"
    return (
        f"Its lead over the next, **{following.name}** ({percent(following.top1)}), is more than "
        f"noise (exact McNemar test, p {shown})."
    )


def _name_cheapest(
    less: str, best: ComparedModel, models: Sequence[ComparedModel], cost: Cost, unit: str
) -> str:
    """Name the cheapest of those near the best, and the cheapest of all.

    Args:
        less: "fast" or "small".
        best: The most accurate model.
        models: All models.
        cost: Returns a model's cost.
        unit: The unit of that cost.
    """

    def find_cheapest(models: Sequence[ComparedModel]) -> ComparedModel:
        least = min(map(cost, models))  # of models that cost about the same, the best one
        equal = [each for each in models if cost(each) <= least * (1 + EQUAL)]
        return max(equal, key=lambda each: (each.top1, each is best))

    near = [each for each in models if best.top1 - each.top1 <= NEAR]
    choice, least = find_cheapest(near), find_cheapest(models)
    limit = f"within {100 * NEAR:g} points of it"
    if choice is best:
        text = f"None {limit} is {less}er ({cost(best):.1f} {unit})."
    else:
        text = (
            f"The {less}est {limit}: **{choice.name}**, {cost(choice):.1f} against "
            f"{cost(best):.1f} {unit}, for {_points(best, choice)} less."
        )
    if least is not choice:
        text += (
            f" The {less}est of all, **{least.name}** ({cost(least):.1f} {unit}), gives up "
            f"{_points(best, least)}."
        )
    return text


def _name_random_start(best: ComparedModel, models: Sequence[ComparedModel]) -> str:
    """Name the model to take where pretrained weights may not be used."""
    random = [each for each in models if not each.pretrained]
    if len(random) == len(models):
        return "All of them began from random weights."
    if not random:
        return "All of them began from pretrained weights."
    choice = max(random, key=lambda each: each.top1)
    if choice is best:
        return f"**{best.name}** needs no pretrained weights."
    return (
        f"Where pretrained weights may not be used: **{choice.name}**, {percent(choice.top1)}, "
        f"{_points(best, choice)} less."
    )


def _name_quickest_training(best: ComparedModel, models: Sequence[ComparedModel]) -> str:
    """Name the model to take where there is little time to train."""
    timed = [each for each in models if each.minutes is not None]
    if len(timed) < 2:
        return ""
    choice = min(timed, key=lambda each: each.minutes)
    if choice is best:
        return f"**{best.name}** also took the least time to train ({best.minutes:.1f} minutes)."
    against = "" if best.minutes is None else f" against {best.minutes:.1f}"
    return (
        f"Least time to train: **{choice.name}**, {choice.minutes:.1f} minutes{against}, for "
        f"{percent(choice.top1)}."
    )


def _name_dominated(models: Sequence[ComparedModel]) -> str:
    """Name the models that another one beats or equals in everything."""
    beaten = []
    for each in models:
        better = [
            other
            for other in models
            if dominates(other.top1, other.costs(each), each.top1, each.costs(other))
        ]
        if better:
            victor = max(better, key=lambda other: other.top1)
            beaten.append(f"**{each.name}** (**{victor.name}**)")
    if not beaten:
        return ""
    return (
        "Dominated, since another (in brackets) is nowhere worse in accuracy, latency, file size, "
        f"training time or need of pretrained weights: {', '.join(beaten)}."
    )
