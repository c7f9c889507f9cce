"""Write a scored test set as one HTML page for people: figures, sentences, photos."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from models.photos import read_photo
from train.evaluation.corruptions import SIDE_PX, corrupt, shrink
from train.evaluation.findings import NOTE, STRENGTH, WEAKNESS, find
from train.evaluation.html import bullets, show_figure, show_image, show_photo, table, write_page
from train.evaluation.open_set_report import show_open_set
from train.evaluation.phrases import percent, plural
from train.evaluation.predictions import Predictions
from train.evaluation.variants import SEED, ViewScores

PAIRS, SIDE_PHOTOS, MISTAKES = 8, 4, 32
MAIN_FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "macro_f1": "macro F1",
    "ece": "calibration error",
}
STYLE = """
body { max-width: 1240px; }
h2 { margin-top: 2.4rem; } h3 { margin: 1.4rem 0 .4rem; }
td, th { padding: .15rem 1rem .15rem 0; } td:last-child, th:last-child { padding-right: 0; }
.right td:nth-child(n+2), .right th:nth-child(n+2) { text-align: right; }
.right td:nth-child(n+2) { white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #8888; vertical-align: bottom; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; }
.tiles div { border: 1px solid #8886; border-radius: 8px; padding: .5rem 1rem; min-width: 150px; }
.tiles b { display: block; font-size: 1.7rem; line-height: 1.3; } small { opacity: .75; }
.sides { display: grid; gap: 8px 32px;
         grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); }
.good, .bad { border-left: 4px solid #3b8f4a; padding-left: 1rem; } .bad { border-color: #c8442f; }
.good h3, .bad h3 { margin-top: 0; } ul { padding-left: 1.1rem; } li { margin: .3rem 0; }
.scroll { overflow-x: auto; } .figure img { background: #fff; border-radius: 6px; }
.wide img { max-width: max(100%, 1200px); } .wide { margin: 0 calc(50% - min(50vw - 16px, 800px)); }
figure img { border: 3px solid transparent; box-sizing: border-box; border-radius: 4px; }
figure.wrong img { border-color: #c8442f; }
details { margin: .8rem 0; } summary { cursor: pointer; }
"""


def write_evaluation(
    path: Path,
    data: Path,
    predictions: Predictions,
    metrics: dict[str, Any],
    figures: dict[str, bytes],
    scores: ViewScores | None = None,
) -> None:
    """Write the page.

    Args:
        path: The .html file.
        data: What the predictions' paths are relative to.
        predictions: What the model says of all photos.
        metrics: What metrics.json holds.
        figures: Name -> PNG, as draw_figures names them.
        scores: What the model says of variants of the photos, for samples of them.
    """
    name = f"{metrics['name']} on {data.resolve().name}"
    parts = [f"<h1>{html.escape(name)}</h1>", *overview(metrics), *sentences(metrics)]
    parts += ["<h2>Classes</h2>", show_figure(figures["classes"], "Recall, precision, F1 by class")]
    parts += ["<details><summary>As a table, the lowest F1 first</summary>"]
    parts += [class_table(metrics["classes"]), "</details>", "<h2>Confusion</h2>"]
    parts.append(
        "<p>One row per class: what its photos were taken for. Classes that are confused stand "
        "side by side. Numbers are photos; the colour is the share of the row, blue right and red "
        "wrong. In a blue square without a number, all are right.</p>"
    )
    parts.append(show_figure(figures["confusion"], "Confusion matrix", "figure wide"))
    parts += pairs(data, predictions, metrics["confused_pairs"])
    parts += ["<h2>Confidence</h2>", '<div class="sides">']
    parts += [show_figure(figures["reliability"], "Accuracy by confidence")]
    parts += [show_figure(figures["rejection"], "Accuracy by rejected fraction"), "</div>"]
    parts.append(rejection_table(metrics["rejection"]))
    if "known" in metrics:
        parts += show_open_set(metrics["known"], figures)
    parts += mistakes(data, predictions)
    if "robustness" in metrics:
        parts += robustness(data, predictions, metrics["robustness"], figures, scores)
    if "tta" in metrics:
        parts += tta(metrics["tta"])
    if metrics["unreadable"]:
        parts.append(f"<h2>Cannot be read ({len(metrics['unreadable'])})</h2><ul>")
        parts += [f"<li>{html.escape(text)}</li>" for text in metrics["unreadable"][:200]]
        parts.append("</ul>")
    write_page(path, name, parts, STYLE)


def overview(metrics: dict[str, Any]) -> Iterator[str]:
    """Show the main figures with their intervals."""
    yield (
        f"<p>{plural(metrics['photos'], 'photo')}, "
        f"{plural(len(metrics['recall_per_class']), 'class')}; model file "
        f"<code>{metrics['model'][:12]}</code>. Intervals hold with 95 %, by resampling photos "
        "(bootstrap), for a single class Wilson's.</p>"
    )
    yield '<div class="tiles">'
    for key, name in MAIN_FIGURES.items():
        low, high = metrics["intervals_95"][key]
        yield (
            f"<div>{name}<b>{percent(metrics[key])}</b>"
            f"<small>{percent(low)} to {percent(high)}</small></div>"
        )
    yield (
        f"<div>mistakes<b>{metrics['mistakes']:,}</b>"
        f"<small>{metrics['confident_mistakes']:,} with 90 % confidence</small></div></div>"
    )


def sentences(metrics: dict[str, Any]) -> Iterator[str]:
    """Show strengths, weaknesses, and what else to know."""
    found = find(metrics)
    yield '<h2>Strengths and weaknesses</h2><div class="sides">'
    for kind, title, style in ((STRENGTH, "Strengths", "good"), (WEAKNESS, "Weaknesses", "bad")):
        lines = found[kind] or ["None that these figures show."]
        yield f'<div class="{style}"><h3>{title}</h3>{bullets(lines)}</div>'
    yield "</div>"
    if found[NOTE]:
        yield f"<h3>To bear in mind</h3>{bullets(found[NOTE])}"


def class_table(rows: list[dict[str, Any]]) -> str:
    """Show the figures of each class, the lowest F1 first."""
    return table(
        ["class", "photos", "recall", "95 % interval", "precision", "F1", "most often taken for"],
        [
            [
                row["class"],
                str(row["photos"]),
                percent(row["recall"]),
                "{:.0f} to {:.0f}".format(*(100 * end for end in row["recall_interval_95"])),
                percent(row["precision"]),
                percent(row["f1"]),
                f"{row['taken_for']} ({row['taken_for_photos']})" if row["taken_for"] else "",
            ]
            for row in sorted(rows, key=lambda row: row["f1"])
            if row["photos"]
        ],
    )


def rejection_table(rows: list[dict[str, float]]) -> str:
    """Show accuracy by rejected fraction."""
    return table(
        ["photos left unanswered", "confidence at least", "top-1 on the rest"],
        [
            [percent(row["rejected"]), percent(row["least_confidence"]), percent(row["accuracy"])]
            for row in rows
        ],
    )


def pairs(data: Path, predictions: Predictions, found: list[dict[str, Any]]) -> Iterator[str]:
    """Show the most confused pairs of classes: their photos side by side."""
    if not found:
        return
    yield "<h2>Most confused pairs</h2><p>Framed: wrong.</p>"
    for pair in found[:PAIRS]:
        (first, second), (there, back) = pair["classes"], pair["mistakes"]
        title = f"{first} taken for {second}: {there}; the other way round: {back}"
        yield f'<h3>{html.escape(title)}</h3><div class="sides">'
        # Both sides, each with its mistakes first: what do the confused photos share?
        for name, other in ((first, second), (second, first)):
            shown = [
                show_photo(data / predictions.photos[photo], *caption_guess(predictions, photo))
                for photo in predictions.of_class(name, other)[:SIDE_PHOTOS]
            ]
            none = "<small>no photos in this test</small>"
            yield f"<div><b>{html.escape(name)}</b>"
            yield f'<div class="row">{"".join(shown) or none}</div></div>'
        yield "</div>"


def caption_guess(predictions: Predictions, photo: int) -> tuple[str, str]:
    """Return the best guess on a photo with its confidence, and the style of its frame."""
    [(name, confidence)] = predictions.best(photo, 1)
    right = bool(predictions.right()[photo])
    return f"{name} {percent(confidence, 0)}", "" if right else "wrong"


def mistakes(data: Path, predictions: Predictions) -> Iterator[str]:
    """Show the mistakes that the model was surest of."""
    wrong = predictions.confident_mistakes()
    if not wrong:
        return
    yield (
        f"<h2>Confident mistakes</h2><p>The {min(len(wrong), MISTAKES)} with the highest "
        f"confidence, of {len(wrong)}. A photo with a wrong label looks the same.</p>"
    )
    shown = []
    for photo in wrong[:MISTAKES]:
        guess, _ = caption_guess(predictions, photo)
        truth = predictions.class_names[predictions.labels[photo]]
        path = data / predictions.photos[photo]
        shown.append(show_photo(path, f"{guess}; truly {truth} ({path.name})"))
    yield f'<div class="row">{"".join(shown)}</div>'


def robustness(
    data: Path,
    predictions: Predictions,
    measured: dict[str, Any],
    figures: dict[str, bytes],
    scores: ViewScores | None,
) -> Iterator[str]:
    """Show top-1 under each corruption, and what they look like."""
    yield (
        f"<h2>Bad photos</h2><p>The same {plural(measured['photos'], 'photo')} made worse, in the "
        "manner of ImageNet-C (Hendrycks and Dietterich 2019); severity 0 is the photo itself, "
        f"{percent(measured['clean']['top1'])}.</p>"
    )
    yield show_figure(figures["robustness"], "Top-1 by severity")
    rows = []
    for name, severities in measured["corruptions"].items():
        for severity, row in severities.items():
            low, high = (100 * end for end in row["top1_change_interval_95"])
            change = 100 * (row["top1"] - measured["clean"]["top1"])
            cells = {
                "corruption": name,
                "severity": severity,
                "strength": row["strength"],
                "top-1": percent(row["top1"]),
                "change, points": f"{change:+.1f}",
                "95 % interval": f"{low:+.1f} to {high:+.1f}",
                "top-5": percent(row["top5"]),
                "calibration error": percent(row["ece"]),
            }
            rows.append(list(cells.values()))
    yield f"<details><summary>As a table</summary>{table(list(cells), rows)}</details>"
    if scores is not None:
        yield samples(data, predictions, scores)


def samples(data: Path, predictions: Predictions, scores: ViewScores) -> str:
    """Show one photo under every corruption, with the model's answer."""
    labels = predictions.labels[scores.photos]
    right = (scores.clean.argmax(1) == labels).nonzero().flatten().tolist()
    place = right[0] if right else 0  # photos were scored in random order: any will do
    path = predictions.photos[scores.photos[place]]
    image = shrink(read_photo(data / path, SIDE_PX))

    def show(worse: np.ndarray, title: str, probabilities: Tensor) -> str:
        confidence, guess = probabilities[place].max(0)
        answer = f"{predictions.class_names[guess]} {percent(confidence.item(), 0)}"
        return show_image(worse, f"{title}: {answer}", "" if guess == labels[place] else "wrong")

    rows = {"": [show(image, "untouched", scores.clean)]}
    for (name, severity), probabilities in scores.corrupted.items():
        # The same seed and path as in score_views: what is shown is what was scored.
        worse = corrupt(image, name, severity, path, SEED)
        rows.setdefault(name, []).append(show(worse, f"{name} {severity}", probabilities))
    truth = predictions.class_names[labels[place]]
    lines = [f'<div class="row">{"".join(shown)}</div>' for shown in rows.values()]
    return (
        f"<h3>{html.escape(truth)}, made worse</h3><p>Framed: wrong.</p>"
        f'<div class="sides">{"".join(lines)}</div>'
    )


def tta(measured: dict[str, Any]) -> Iterator[str]:
    """Show what averaging views gains and costs."""
    yield (
        "<h2>Several views of a photo</h2><p>Probabilities averaged over "
        f"{measured['views']} views: the photo, its corners and its middle, each also mirrored; "
        f"{plural(measured['photos'], 'photo')}. The page and the model file do not do this.</p>"
    )
    one, averaged = measured["without"], measured["with"]
    rows = [
        [
            name,
            percent(one[key]),
            percent(averaged[key]),
            f"{100 * (averaged[key] - one[key]):+.1f} points",
        ]
        for key, name in MAIN_FIGURES.items()
    ]
    low, high = (100 * end for end in measured["top1_gain_interval_95"])
    # Only top-1 has an interval: the others would need resampling of both models together.
    rows[0][3] += f" (95 % interval {low:+.1f} to {high:+.1f})"
    times = [f"{milliseconds:.0f} ms" for milliseconds in measured["milliseconds"]]
    rows.append(["time per photo", *times, f"{measured['cost_factor']:.1f} times"])
    yield table(["", "one view", f"{measured['views']} views", "difference"], rows)
