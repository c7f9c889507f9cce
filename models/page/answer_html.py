"""Write an answer as HTML: headline, place and evidence, or a table of several photos.

Labels and places come from a model file, which anybody may have made: everything is escaped.
"""

import base64
import dataclasses
import html

import cv2
import numpy as np

from models.model_file.evidence import find_box, spread
from models.model_file.verdict import Thresholds, doubt, is_far
from models.photos.gps import Position
from models.places.landmarks import Place, country_name, distance_km, map_url
from models.places.world_map import draw_map
from models.predictor import Answer
from models.tagging.table import Row

UNMEASURED = "This model file was not measured on photos of other things, so it is never sure."
COLUMNS = ("Photo", "Landmark", "Probability", "Verdict", "Place", "Latitude", "Longitude")
OVERLAY_PX = 160  # long side; the network's own maps are coarser
STRENGTH = 0.8  # opacity of the strongest evidence


def describe_refusals(thresholds: Thresholds) -> str:
    """Describe what a model does with photos of other things, with what was measured of it."""
    if thresholds.maybe is None:
        return (
            "It names one of its landmarks for every photo, even if the photo shows none of them. "
            f"{UNMEASURED}"
        )
    if thresholds.sure is None:
        return (
            "It says so when a photo looks like none of them; the threshold accepts 19 of 20 "
            f"photos of known landmarks. {UNMEASURED}"
        )
    says = "It says so when a photo looks like none of them."
    passes = thresholds.passes or {}
    if not (passes.get("sure") and passes.get("maybe")):
        return says
    sure, maybe = max(passes["sure"].values()), max(passes["maybe"].values())
    count = sum((thresholds.outside_photos or {}).values())
    return (
        f"{says} Measured on {count:,} photos of other things: of each kind, at most {sure:.1%} "
        f"were named for sure, and at most {maybe:.1%} were named at all."
    )


def weigh_position(
    answer: Answer, place: Place | None, position: Position | None
) -> tuple[Answer, float | None]:
    """Doubt an answer if the photo was taken far from the landmark.

    Args:
        answer: The model's.
        place: Place of its best label, if known.
        position: From the photo's own GPS data, if it has any.

    Returns:
        The answer, no longer sure if so, and the distance in km; None if either is unknown.
    """
    if place is None or position is None:
        return answer, None
    away_km = _distance_km(position, place)
    return dataclasses.replace(answer, verdict=doubt(answer.verdict, away_km)), away_km


def write_headline(
    answer: Answer,
    place: Place | None,
    count: int,
    thresholds: Thresholds,
    away_km: float | None = None,
) -> str:
    """Write the answer in a line or two, and what speaks against it in a third.

    Args:
        answer: The model's, after weigh_position.
        place: Place of its best label; None shows only the label.
        count: Number of landmarks that the model knows.
        thresholds: The model's, which say how often it is wrong.
        away_km: How far from the landmark the photo was taken, if known.
    """
    if answer.verdict == "none":
        return (
            f'<div class="none"><h2>None of the {count:,}</h2><p>This does not look like one of '
            "the landmarks that this model knows; the bars show only its nearest guesses.</p></div>"
        )
    name, facts = answer.label, ""
    if place is not None:
        name = place.name
        where = ", ".join(filter(None, (place.city, country_name(place.country))))
        facts = " in ".join(filter(None, (place.kind, where)))
    # The word of the verdict is for screen readers only; on the page the wording shows it.
    word, title, note = "Sure", name, ""
    if answer.verdict == "maybe":
        word, title, note = "Maybe", f"Looks like {name}", _write_note(thresholds, away_km)
    return (
        f'<div class="{answer.verdict}"><span class="heard">{word}: </span>'
        f"<h2>{html.escape(title)}</h2>"
        f"<p>{html.escape(facts[:1].upper() + facts[1:]) or 'Most likely'}</p>{note}</div>"
    )


def _write_note(thresholds: Thresholds, away_km: float | None) -> str:
    """Write why an answer is not sure, the strongest reason only."""
    share = thresholds.wrong_share
    if is_far(away_km):
        note = f"But its GPS data says that it was taken {away_km:,.0f} km away."
        return f'<p class="far">{note}</p>'
    if share is None:
        return f"<p>{UNMEASURED}</p>" if thresholds.sure is None else ""
    if share == 0:
        return ""
    if share > 2 / 3:  # "1 in 1"
        return "<p>Most photos like this are something else.</p>"
    return f"<p>About 1 in {round(1 / share):,} photos like this is something else.</p>"


def write_place(answer: Answer, place: Place | None, position: Position | None) -> str:
    """Write where the landmark is, with a map, and where the photo was taken.

    The map of a mere guess is folded, unless it shows how far away the photo was taken.

    Args:
        answer: The model's, after weigh_position.
        place: The landmark's, if known.
        position: From the photo's own GPS data, if it has any.

    Returns:
        An empty text if there is neither.
    """
    parts, away, pin = [], "", ""
    if place is not None:
        taken_at = None
        if position is not None:
            away = f", {describe_distance(position, place)} from the landmark"
            if is_far(_distance_km(position, place)):
                taken_at, pin = (position.latitude, position.longitude), " (amber pin)"
        url = html.escape(map_url(place.latitude, place.longitude))
        shown = (
            f'{draw_map(place.latitude, place.longitude, taken_at)}<p class="where">'
            f'{describe_point(place)}<a href="{url}" target="_blank" '
            'rel="noopener noreferrer">Open in OpenStreetMap</a></p>'
        )
        if answer.verdict == "maybe":
            start = "<details open>" if taken_at else "<details>"
            shown = f"{start}<summary>Where {html.escape(place.name)} is</summary>{shown}</details>"
        parts.append(shown)
    if position is not None:
        parts.append(
            "<p>According to its GPS data, this photo was taken at "
            f"{describe_point(position)}{pin}{away}. "
            "<small>This position stays on this server.</small></p>"
        )
    return "".join(parts)


def describe_point(point: Place | Position) -> str:
    """Write a position, such as 48.8584° N, 2.2945° E."""
    north, east = "NS"[point.latitude < 0], "EW"[point.longitude < 0]
    return f"{abs(point.latitude):.4f}° {north}, {abs(point.longitude):.4f}° {east}"


def describe_distance(point: Place | Position, other: Place | Position) -> str:
    """Write a distance as 650 m, 3.2 km or 1,234 km: a landmark's coordinates are no finer."""
    km = _distance_km(point, other)
    if km < 0.995:  # what would round to 1000 m is 1.0 km
        return f"{round(100 * km) * 10} m"
    return f"{km:.1f} km" if km < 9.95 else f"{km:,.0f} km"


def _distance_km(point: Place | Position, other: Place | Position) -> float:
    return distance_km(point.latitude, point.longitude, other.latitude, other.longitude)


def write_evidence(answer: Answer, height_px: int, width_px: int) -> str:
    """Draw an overlay for the photo: the evidence for the best label in colour, and a frame.

    Args:
        answer: The model's.
        height_px: Height of the upright photo; only its shape matters.
        width_px: Its width.

    Returns:
        An inline SVG element with nothing to fetch, transparent where there is no evidence. An
        empty text where the verdict is none: nothing speaks for a guess that is refused.
    """
    if answer.verdict == "none":
        return ""
    scale = OVERLAY_PX / max(height_px, width_px)
    height, width = max(1, round(scale * height_px)), max(1, round(scale * width_px))
    levels = spread(answer.evidence[0], answer.region, height, width)
    # Cividis looks the same to the colour-blind (Nunez et al. 2018).
    colours = cv2.applyColorMap((255 * levels).astype(np.uint8), cv2.COLORMAP_CIVIDIS)
    layer = np.dstack([colours, (255 * STRENGTH * levels).astype(np.uint8)])
    png = base64.b64encode(cv2.imencode(".png", layer)[1]).decode()
    description, frame = f"Evidence for {answer.label}", ""
    # Not answer.boxes, which would find those of all five labels.
    box = find_box(answer.evidence[0], answer.region)
    if box is not None:
        right, bottom = box.left + box.width, box.top + box.height
        description += (
            f", strongest from {box.left:.0%} to {right:.0%} of the photo's width and from "
            f"{box.top:.0%} to {bottom:.0%} of its height"
        )
        # White on black, so that the frame shows on any photo.
        frame = "".join(
            f'<rect x="{box.left * width:.1f}" y="{box.top * height:.1f}" fill="none" '
            f'width="{box.width * width:.1f}" height="{box.height * height:.1f}" stroke="{colour}" '
            f'stroke-width="{line}" vector-effect="non-scaling-stroke"/>'
            for colour, line in (("#000", 6), ("#fff", 2))
        )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(description)}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{png}"/>'
        f"{frame}</svg>"
    )


def write_answers(rows: list[Row]) -> str:
    """Write a table of several photos.

    Args:
        rows: From models.tagging.tagger; for a photo that cannot be read, its error is shown.
    """
    lines = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows)
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    return (
        '<div role="region" aria-label="Answers" tabindex="0"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _cells(row: Row) -> list[str]:
    """Write the cells of a row; an error spans all columns but the first."""
    if row["error"]:
        return [
            f"<td>{html.escape(row['photo'])}</td>",
            f'<td colspan="{len(COLUMNS) - 1}">{html.escape(row["error"])}</td>',
        ]
    wording = {"maybe": "looks like {}", "none": "none of those known (nearest: {})"}
    label = wording.get(row["verdict"], "{}").format(row["label_1"])
    where = ", ".join(filter(None, (row["city"], row["country"])))
    degrees = (
        "" if row[name] is None else f"{row[name]:.4f}" for name in ("latitude", "longitude")
    )
    probability = f"{row['probability_1']:.0%}"
    cells = (row["photo"], label, probability, row["verdict"], where, *degrees)
    return [f"<td>{html.escape(cell)}</td>" for cell in cells]
