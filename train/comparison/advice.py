"""Which of several models to choose when, said from their figures."""

from collections.abc import Callable, Sequence

from torch import Tensor

from train.comparison.compared_model import Contender, percent
from train.comparison.pareto import EQUAL, dominates

NEAR = 0.02  # of top-1: what a cheaper model may give up and still stand in for the best
SIGNIFICANT = 0.05
Cost = Callable[[Contender], float]


def mcnemar(correct: Tensor, other: Tensor) -> float:
    """Probability of so uneven a disagreement if both were equally good (McNemar 1947, exact).

    Args:
        correct: (N,) bool, which photos one model gets right.
        other: (N,) bool, of another model on the same photos.

    Returns:
        The two-sided p-value in (0, 1].
    """
    from scipy.stats import binomtest

    ahead, behind = int((correct & ~other).sum()), int((other & ~correct).sum())
    return float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0


def find_mismatch(contenders: Sequence[Contender]) -> str | None:
    """Says which models were validated on which photos, if these differ; else None."""
    splits: dict[str | None, list[str]] = {}
    for each in contenders:
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


def advise(contenders: Sequence[Contender]) -> str:
    """One paragraph: which model to choose when. All were validated on the same photos."""
    best = max(contenders, key=lambda each: (each.top1, -each.speed.latency_ms))
    others = [each for each in contenders if each is not best]
    sentences = [
        f"Most accurate on the {best.photos} validation photos: **{best.name}**, "
        f"{percent(best.top1)}.",
        _judge_lead(best, others),
        _name_cheapest("fast", best, contenders, lambda each: each.speed.latency_ms, "ms"),
        _name_cheapest("small", best, contenders, lambda each: each.size.file_bytes / 1e6, "MB"),
        _name_random_start(best, contenders),
        _name_quickest_training(best, contenders),
        _name_dominated(contenders),
    ]
    return " ".join(filter(None, sentences))


def _points(best: Contender, other: Contender) -> str:
    return f"{100 * (best.top1 - other.top1):.1f} points"


def _judge_lead(best: Contender, others: Sequence[Contender]) -> str:
    """Whether the lead over the next is more than noise, and over whom else it is not."""
    ranked = sorted(others, key=lambda each: -each.top1)
    tested = [
        (each, mcnemar(best.correct, each.correct))
        for each in ranked
        if best.correct is not None and each.correct is not None
    ]
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
            "cannot be told: the photos were not there to score both."
        )
    shown = f"= {tested[0][1]:.3f}" if tested[0][1] >= 0.001 else "< 0.001"
    return (
        f"Its lead over the next, **{following.name}** ({percent(following.top1)}), is more than "
        f"noise (exact McNemar test, p {shown})."
    )


def _name_cheapest(
    less: str, best: Contender, contenders: Sequence[Contender], cost: Cost, unit: str
) -> str:
    """The cheapest of those near the best, and the cheapest of all; less: "fast" or "small"."""

    def find_cheapest(models: Sequence[Contender]) -> Contender:
        least = min(map(cost, models))
        equal = [each for each in models if cost(each) <= least * (1 + EQUAL)]
        return max(equal, key=lambda each: (each.top1, each is best))

    near = [each for each in contenders if best.top1 - each.top1 <= NEAR]
    choice, least = find_cheapest(near), find_cheapest(contenders)
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


def _name_random_start(best: Contender, contenders: Sequence[Contender]) -> str:
    """What to take where pretrained weights may not be used."""
    random = [each for each in contenders if not each.pretrained]
    if len(random) == len(contenders):
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


def _name_quickest_training(best: Contender, contenders: Sequence[Contender]) -> str:
    """What to take where there is little time to train."""
    timed = [each for each in contenders if each.minutes is not None]
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


def _name_dominated(contenders: Sequence[Contender]) -> str:
    """Models that another one beats or equals in everything."""
    beaten = []
    for each in contenders:
        better = [
            other for other in contenders
            if dominates(other.top1, other.costs(each), each.top1, each.costs(other))
        ]  # fmt: skip
        if better:
            victor = max(better, key=lambda other: other.top1)
            beaten.append(f"**{each.name}** (**{victor.name}**)")
    if not beaten:
        return ""
    return (
        "Dominated, since another (in brackets) is nowhere worse in accuracy, latency, file size, "
        f"training time or need of pretrained weights: {', '.join(beaten)}."
    )
