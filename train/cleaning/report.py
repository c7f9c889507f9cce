"""Show the data set as one HTML page with its pictures inside; opens without a network."""

import html
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from models.model_file.preprocess import Preprocess
from models.photos import read_photo
from train.cleaning.duplicate_policy import Duplicate
from train.cleaning.scan import PhotoRecord
from train.data.transforms import build_train_transform
from train.evaluation.figure import new_figure
from train.evaluation.html import encode_figure, encode_image, show_photo, write_page

SIDE_PX = 160


def draw_sheet(images: Sequence[np.ndarray], columns: int) -> Image.Image:
    """Lay equal squares, (S, S, 3) uint8, side by side, columns to a row."""
    side = images[0].shape[0]
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for position, image in enumerate(images):
        sheet.paste(Image.fromarray(image), (position % columns * side, position // columns * side))
    return sheet


def augment(data: Path, draws: Sequence[tuple[str, int]]) -> list[np.ndarray]:
    """Return photos as training sees them, (S, S, 3) uint8.

    Args:
        data: The data folder.
        draws: (path, draw): another draw augments the same photo differently.
    """
    # Mean 0 and std 1 leave the values in [0, 1], ready to be shown.
    transform = build_train_transform(Preprocess(SIDE_PX, SIDE_PX, mean=(0.0,) * 3, std=(1.0,) * 3))
    squares = []
    for path, draw in draws:
        square = transform(read_photo(data / path, SIDE_PX), (0, draw, 0)) * 255
        squares.append(square.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
    return squares


def plot_classes(photos: dict[str, tuple[str, str]], split: dict[str, list[str]]) -> Figure:
    """Plot photos per class, stacked by part."""
    names = sorted({label for _, label in photos.values()})
    figure = new_figure(figsize=(10, 1 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(names))
    for part, paths in split.items():
        counts = np.zeros(len(names))
        for path in paths:
            counts[names.index(photos[path][1])] += 1
        axes.barh(names, counts, left=left, label=part)
        left += counts
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set(xlabel="photos")
    axes.legend()
    return figure


def plot_sizes(records: list[PhotoRecord]) -> Figure:
    """Plot width against height, and the aspect ratios."""
    widths = np.array([record.width_px for record in records])
    heights = np.array([record.height_px for record in records])
    figure = new_figure(figsize=(10, 4), layout="constrained")
    sizes, aspects = figure.subplots(1, 2)
    sizes.scatter(widths, heights, s=6, alpha=0.3)
    sizes.set(xlabel="width (px)", ylabel="height (px)")
    aspects.hist(np.log2(widths / heights), bins=40)
    aspects.set(xlabel="log2 of width / height", ylabel="photos")
    return figure


def plot_channels(summary: dict[str, Any]) -> Figure:
    """Plot mean and standard deviation of the training photos, per channel."""
    figure = new_figure(figsize=(5, 2.6), layout="constrained")
    axes = figure.subplots()
    colours = ["firebrick", "seagreen", "royalblue"]
    axes.barh(["red", "green", "blue"], summary["mean"], xerr=summary["std"], color=colours)
    axes.set(xlabel="mean, and one standard deviation to each side", xlim=(0, 1))
    return figure


def plot_suspicions(suspicious: list[dict[str, Any]]) -> Figure:
    """Plot suspicious labels per class, most first, for at most 30 classes."""
    counts = Counter(each["label"] for each in suspicious).most_common(30)
    figure = new_figure(figsize=(10, 1 + 0.22 * len(counts)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in counts], [count for _, count in counts])
    axes.invert_yaxis()
    axes.set(xlabel="labels that look wrong")
    return figure


def write_report(
    path: Path,
    data: Path,
    photos: dict[str, tuple[str, str]],
    split: dict[str, list[str]],
    records: list[PhotoRecord],
    judged: Sequence[Duplicate],
    summary: dict[str, Any],
) -> None:
    """Write report.html.

    Args:
        path: The file.
        data: The data folder.
        photos: Path -> (part, label) of the kept photos.
        split: Part -> paths.
        records: Of all readable photos.
        judged: The photos that have duplicates; group by group.
        summary: All findings, as in statistics.json.
    """
    rng = np.random.default_rng(0)  # the same data always give the same page
    training = split["train"]
    groups = defaultdict(list)
    for each in judged:
        groups[each.group].append(each)
    largest = sorted(groups.values(), key=lambda group: (-len(group), group[0].path))[:12]
    counts = ", ".join(f"{part} {count:,}" for part, count in summary["parts"].items())
    left_out = ", ".join(f"{count} {why}" for why, count in summary["left_out"].items())
    figures = "; ".join(
        ", ".join(f"{value:.4f}" for value in summary.get(key, [])) for key in ("mean", "std")
    )
    found = f"{counts}; fingerprint {(summary['fingerprint'] or '')[:12]}"
    rows = {
        "Photos": f"{summary['photos']:,} in {len(summary['class_photos'])} classes",
        "Split": f"none: {summary['problem']}" if "problem" in summary else found,
        "Mean, standard deviation (training photos, red green blue, 0 to 1)": figures,
        "Groups of duplicates": f"{summary['duplicate_groups']}; left out: {left_out or 'none'}",
        "Other files": ", ".join(summary["not_photos"][:20]) or "none",
        "Empty classes": ", ".join(summary["empty_classes"]) or "none",
        "Classes that differ by case or spaces": str(summary["alike_classes"] or "none"),
    }
    parts = [f"<h1>{html.escape(data.resolve().name)}</h1><table>"]
    if len(summary["folders"]) > 1:
        rows = {"Folders": ", ".join(summary["folders"])} | rows
    parts += [f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items()]
    parts.append("</table>")
    for title, found in (("Cannot be read", summary["unreadable"]), ("Noted", summary["noted"])):
        if found:
            parts.append(f"<h2>{title} ({len(found)})</h2><table>")
            parts += [
                f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(why))}</td></tr>"
                for name, why in list(found.items())[:200]
            ]
            parts.append("</table>")
    parts += ["<h2>Photos per class</h2>", encode_figure(plot_classes(photos, split))]
    parts += ["<h2>Sizes</h2>", encode_figure(plot_sizes(records))]
    if training:
        batch = [(training[i], draw) for draw, i in enumerate(rng.integers(0, len(training), 32))]
        parts += ["<h2>Channels</h2>", encode_figure(plot_channels(summary))]
        parts += [
            "<h2>A batch as the model sees it</h2>",
            encode_image(draw_sheet(augment(data, batch), 8)),
        ]
        one = training[int(rng.integers(len(training)))]
        draws = [(one, draw) for draw in range(24)]
        sheet = encode_image(draw_sheet(augment(data, draws), 8))
        parts += ["<h2>One photo, 24 draws of the augmentation</h2>", sheet]
    if largest:
        parts.append("<h2>The largest groups of duplicates</h2><p>Pale: left out.</p>")
    for group in largest:
        shown = [
            show_photo(
                data / each.path,
                f"{each.path}: {each.kind}, {each.why}",
                "" if each.kept else "gone",
            )
            for each in group[:12]
        ]
        parts.append(f'<h3>Group {group[0].group}</h3><div class="row">{"".join(shown)}</div>')
    suspicious = summary.get("suspicious_labels", [])
    if suspicious:
        parts.append(f"<h2>Labels that look wrong ({len(suspicious)}, the most suspicious)</h2>")
        parts.append(encode_figure(plot_suspicions(suspicious)))
        shown = [
            show_photo(data / each["path"], f"{each['path']}: {each['instead']}?")
            for each in suspicious[:32]
        ]
        parts.append(f'<div class="row">{"".join(shown)}</div>')
    write_page(path, "Data set", parts)
