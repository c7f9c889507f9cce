"""Show how well known landmarks are told from everything else: the report's section, and text."""

import html
from collections.abc import Iterator
from typing import Any

from train.evaluation.html import bullets, show_figure, table
from train.evaluation.open_set import SHARES
from train.evaluation.phrases import percent, plural, span


def show_open_set(known: dict[str, Any], figures: dict[str, bytes]) -> Iterator[str]:
    """Show how well known landmarks are told from everything else, and what is named wrongly."""
    kinds = ", ".join(f"{kind} ({count:,})" for kind, count in known["kinds"].items())
    yield "<h2>Not a known landmark</h2>"
    yield (
        f"<p>Against {plural(known['outside_photos'], 'photo')} of none of the landmarks, from "
        f"which the score learned nothing, by kind: {html.escape(kinds)}. All of them, the surest "
        "first: outside.csv.</p>"
    )
    if known["warnings"]:
        lines = [line[:1].upper() + line[1:] for line in known["warnings"]]
        yield f'<div class="bad"><h3>Too few photos</h3>{bullets(lines)}</div>'
    yield (
        "<p>R@5 is the share of landmark photos that get their right name at the threshold at "
        "which 5 of 1,000 other photos get any name, each kind counting the same. Intervals hold "
        "with 95 %, by resampling photos of both sorts.</p>"
    )
    yield '<div class="tiles">'
    for count, value in known["recall_at"].items():
        low, high = known["recall_at_interval_95"][count]
        yield f"<div>R@{count}<b>{percent(value)}</b>"
        yield f"<small>{percent(low)} to {percent(high)}</small></div>"
    yield "</div><h3>What gets a name</h3>"
    yield f"<p>{html.escape(explain_thresholds(known))}</p>"
    head, rows = threshold_rows(known)
    taken = [_most_taken(found["classes"]) for found in known["thresholds"].values()]
    yield table(
        [*head, "most often named"],
        [[*row, name] for row, name in zip(rows, taken, strict=True)],
    )
    yield "<h3>Right names against wrong names</h3>"
    yield show_figure(figures["open_set"], "Right names against wrong names")
    for name, found in known["thresholds"].items():
        yield f"<details><summary>By class, at {name}</summary>"
        yield named_classes(found["classes"])
        yield "</details>"
    yield "<h3>All kinds together</h3>"
    yield table(
        ["figure", "value"],
        [
            ["AUROC", f"{known['auroc']:.3f}"],
            ["others taken for known where 95 % of the known pass", percent(known["fpr95"])],
            ["known photos that the file's threshold lets pass", percent(known["accepted"])],
            ["others that it lets pass", percent(known["outside_accepted"])],
            ["top-1 on the known photos that pass", percent(known["top1_on_accepted"])],
        ],
    )
    yield (
        "<p>AUROC: how often a photo of a known landmark scores higher than one of something "
        "else.</p>"
    )


def describe_recalls(known: dict[str, Any]) -> str:
    """Say R@20, R@5 and R@2 with their intervals, in one line."""
    intervals = known["recall_at_interval_95"]
    return ", ".join(
        f"R@{count} {percent(value)} ({span(intervals[count])})"
        for count, value in known["recall_at"].items()
    )


def threshold_rows(known: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the table of what gets a name at each threshold; see explain_thresholds."""
    precisions = [f"prec. {percent(share, 0)}" for share in SHARES]
    head = ["threshold", "score", "right", "named", *known["kinds"], "mean", *precisions]
    rows = []
    for name, found in known["thresholds"].items():
        passes = [found["passes"][kind] for kind in known["kinds"]]
        cells = [
            name,
            "any" if found["threshold"] is None else f"{found['threshold']:.2f}",
            *(percent(found[key]) for key in ("right", "named")),
            *(f"{1000 * each:.1f}" for each in (*passes, found["mean_passes"])),
            *("-" if each is None else percent(each) for each in found["precision"].values()),
        ]
        rows.append(cells)
    return head, rows


def explain_thresholds(known: dict[str, Any]) -> str:
    """Say what the columns of threshold_rows mean."""
    shares = ", ".join(percent(share, 0) for share in SHARES)
    sure = "" if "sure" in known["thresholds"] else " This file calls nothing sure."
    return (
        "right, named: landmark photos that get their right name, and any name. Then the other "
        "photos of each kind that get a name, per 1,000, and their mean. prec.: how many of the "
        f"names are right where {shares} of all photos show a landmark. maybe and sure are the "
        f"file's thresholds.{sure}"
    )


def named_classes(classes: dict[str, dict[str, Any]]) -> str:
    """Show what gets the name of each class, those that most other photos get first."""
    rows = sorted(
        (item for item in classes.items() if item[1]["photos"] or item[1]["outside_photos"]),
        key=lambda item: (-item[1]["outside_photos"], item[1]["right"] or 0, item[0]),
    )
    return table(
        ["class", "photos", "right", "named", "other photos named so"],
        [
            [
                name,
                str(row["photos"]),
                *("" if row[key] is None else percent(row[key]) for key in ("right", "named")),
                str(row["outside_photos"]),
            ]
            for name, row in rows
        ],
    )


def _most_taken(classes: dict[str, dict[str, Any]]) -> str:
    """Say which class the other photos that get a name are taken for most."""
    counts = {name: row["outside_photos"] for name, row in classes.items()}
    most = max(counts, key=lambda name: counts[name])
    return f"{most} ({counts[most]} of {sum(counts.values())})" if counts[most] else ""
