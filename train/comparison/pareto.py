"""Find the models that nothing beats in accuracy against cost, and draw them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from train.evaluation.figure import new_figure

EQUAL = 0.05
"""Costs this close count as equal: two timings of one network differ by as much."""
FRONT, REST = "tab:blue", "0.45"
# Where a name may stand, relative to its point: near places first, then further up and down.
OFFSETS_PT = [
    (side, way * far) for far in (0, 9, *range(18, 130, 12)) for way in (1, -1) for side in (9, -9)
]


def dominates(
    accuracy: float, costs: Sequence[float], other: float, other_costs: Sequence[float]
) -> bool:
    """Tell whether a model is nowhere worse than another, and better in something.

    Args:
        accuracy: The model's; any difference counts.
        costs: The model's, at least 0; relative differences up to EQUAL do not count.
        other: The other's accuracy.
        other_costs: The other's costs, in the same order.
    """
    pairs = list(zip(costs, other_costs, strict=True))
    no_worse = accuracy >= other and all(ours <= theirs * (1 + EQUAL) for ours, theirs in pairs)
    better = accuracy > other or any(ours * (1 + EQUAL) < theirs for ours, theirs in pairs)
    return no_worse and better


def pareto_front(accuracies: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Return the positions of the models that no other dominates, the cheapest first."""
    models = range(len(costs))
    front = [
        model
        for model in models
        if not any(
            dominates(accuracies[each], [costs[each]], accuracies[model], [costs[model]])
            for each in models
        )
    ]
    return sorted(front, key=lambda model: (costs[model], accuracies[model]))


def draw_fronts(
    names: Sequence[str],
    accuracies: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    costs: dict[str, Sequence[float | None]],
) -> tuple[Figure, dict[str, list[str]]]:
    """Draw one panel per cost, on a log axis, with the Pareto front of each.

    Args:
        names: Names of M models.
        accuracies: M fractions.
        intervals: M lower and upper ends of the accuracies.
        costs: Axis label -> M costs above 0; a model without a cost is not in that panel.

    Returns:
        The picture, and axis label -> names on that front, the cheapest first.
    """
    figure = new_figure(figsize=(5 * len(costs), 4.8), layout="constrained")
    FigureCanvasAgg(figure)  # measures the names before anything is saved
    fronts = {}
    for axes, (label, values) in zip(
        figure.subplots(1, len(costs), sharey=True, squeeze=False)[0], costs.items(), strict=True
    ):
        shown = [model for model, value in enumerate(values) if value]
        found = pareto_front([accuracies[m] for m in shown], [values[m] for m in shown])
        front = [shown[each] for each in found]
        fronts[label] = [names[model] for model in front]
        _draw_panel(axes, label, shown, front, values, accuracies, intervals)
    figure.draw_without_rendering()
    for axes, (label, values) in zip(figure.axes, costs.items(), strict=True):
        points = {m: (value, 100 * accuracies[m]) for m, value in enumerate(values) if value}
        _write_names(axes, {names[model]: point for model, point in points.items()}, fronts[label])
    return figure, fronts


def _draw_panel(
    axes: Axes,
    label: str,
    shown: list[int],
    front: list[int],
    costs: Sequence[float | None],
    accuracies: Sequence[float],
    intervals: Sequence[tuple[float, float]],
) -> None:
    axes.set_xscale("log")
    for model in shown:
        colour, y = FRONT if model in front else REST, 100 * accuracies[model]
        reach = [[y - 100 * intervals[model][0]], [100 * intervals[model][1] - y]]
        axes.errorbar(costs[model], y, reach, ecolor=colour, elinewidth=0.8, alpha=0.5, zorder=1)
        face = colour if model in front else "white"
        axes.plot(costs[model], y, "o", color=colour, markerfacecolor=face, markersize=7, zorder=3)
    ends = sorted(costs[model] for model in shown) or [1]
    low, high = ends[0] / 2.2, ends[-1] * 2.2
    steps = sorted((costs[model], 100 * accuracies[model]) for model in front)
    if steps:
        axes.step(
            [*(x for x, _ in steps), high],
            [*(y for _, y in steps), steps[-1][1]],
            where="post",
            color=FRONT,
            linewidth=1.2,
            alpha=0.6,
            label="Pareto front",
        )
        axes.legend(loc="lower right", fontsize=8)
    axes.set(xlabel=label, xlim=(low, high))
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("validation top-1 (%), 95 % interval")
    axes.margins(y=0.12)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _write_names(axes: Axes, points: dict[str, tuple[float, float]], front: list[str]) -> None:
    """Write each name beside its point: in the panel, over no other name or point.

    Among such places the one over the fewest lines is taken. matplotlib has no placement of labels,
    so each place is tried and measured in pixels.
    """
    places = axes.transData.transform(list(points.values())) if points else []
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in places]
    taken += [legend.get_window_extent() for legend in [axes.get_legend()] if legend]
    lines = _segments(axes)
    for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
        on_front = name in front
        text = axes.annotate(
            name,
            point,
            (0, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            zorder=4,
            color=FRONT if on_front else "0.3",
            weight="bold" if on_front else "normal",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6},
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        text.set_in_layout(False)  # else the layout moves the panel that was just measured

        def stand(offset: tuple[int, int], text: Annotation = text) -> Bbox:
            text.set_position(offset)
            text.set_horizontalalignment("left" if offset[0] > 0 else "right")
            text.update_positions(axes.figure.canvas.get_renderer())
            return Text.get_window_extent(text)  # without the line to the point

        free = []
        for offset in OFFSETS_PT:
            box = stand(offset)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            inside = inside and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
            if inside and not any(map(box.overlaps, taken)):
                free.append((sum(map(box.overlaps, lines)), len(free), offset))
        taken.append(stand(min(free, default=(0, 0, OFFSETS_PT[0]))[2]))


def _segments(axes: Axes) -> list[Bbox]:
    """Return boxes around the parts of the front and of the error bars, in pixels."""
    paths = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    paths += [
        each.get_transform().transform_path(part)
        for each in axes.collections
        for part in each.get_paths()
    ]
    return [
        Bbox([np.minimum(first, last) - 1, np.maximum(first, last) + 1])
        for path in paths
        for first, last in pairwise(path.vertices)
    ]
