"""Write an answer as HTML: headline, place and evidence, or a table of several photos.

Labels and places come from a model file, which anybody may have made: everything is escaped.
"""

import base64
import html

import cv2
import numpy as np

from models.model_file.evidence import find_box, spread
from models.photos.gps import Position
from models.places.landmarks import Place, country_name, distance_km, map_url
from models.places.world_map import draw_map
from models.predictor import Answer
from models.tagging.table import Row

SURE = 0.8  # below this probability, more than one match in five is wrong
UNKNOWN = "Not one of the landmarks I know"
COLUMNS = ("Photo", "Landmark", "Probability", "Known", "Place", "Latitude", "Longitude")
OVERLAY_PX = 160  # long side; the network's own maps are coarser
STRENGTH = 0.8  # opacity of the strongest evidence


def write_headline(answer: Answer, place: Place | None, count: int) -> str:
    """Write the answer in a line or two.

    Args:
        answer: The model's.
        place: Place of its best label; None shows only the label.
        count: Number of landmarks that the model knows.
    """
    if not answer.known:
        return (
            f'<div class="unknown"><h2>{UNKNOWN}</h2><p>This does not look like one of the '
            f"{count:,} landmarks that this model knows; the bars show only its nearest guesses."
            "</p></div>"
        )
    name, facts = answer.label, ""
    if place is not None:
        name = place.name
        where = ", ".join(filter(None, (place.city, country_name(place.country))))
        facts = " in ".join(filter(None, (place.kind, where)))
    if answer.probabilities[answer.label] < SURE:
        name = f"Perhaps {name}"
    return (
        f"<div><h2>{html.escape(name)}</h2>"
        f"<p>{html.escape(facts[:1].upper() + facts[1:]) or 'Most likely'}</p></div>"
    )


def write_place(place: Place | None, position: Position | None) -> str:
    """Write where the landmark is, with a map, and where the photo was taken.

    Args:
        place: The landmark's, if known.
        position: From the photo's own GPS data, if it has any.

    Returns:
        An empty text if there is neither.
    """
    parts = []
    if place is not None:
        url = html.escape(map_url(place.latitude, place.longitude))
        parts.append(
            f'{draw_map(place.latitude, place.longitude)}<p class="where">'
            f'{describe_point(place)}<a href="{url}" target="_blank" '
            'rel="noopener noreferrer">Open in OpenStreetMap</a></p>'
        )
    if position is not None:
        away = f", {describe_distance(position, place)} from the landmark" if place else ""
        parts.append(
            "<p>According to its GPS data, this photo was taken at "
            f"{describe_point(position)}{away}. "
            "<small>This position stays on this server.</small></p>"
        )
    return "".join(parts)


def describe_point(point: Place | Position) -> str:
    """Write a position, such as 48.8584° N, 2.2945° E."""
    north, east = "NS"[point.latitude < 0], "EW"[point.longitude < 0]
    return f"{abs(point.latitude):.4f}° {north}, {abs(point.longitude):.4f}° {east}"


def describe_distance(point: Place | Position, other: Place | Position) -> str:
    """Write a distance as 650 m, 3.2 km or 1,234 km: a landmark's coordinates are no finer."""
    km = distance_km(point.latitude, point.longitude, other.latitude, other.longitude)
    if km < 0.995:  # what would round to 1000 m is 1.0 km
        return f"{round(100 * km) * 10} m"
    return f"{km:.1f} km" if km < 9.95 else f"{km:,.0f} km"


def write_evidence(answer: Answer, height_px: int, width_px: int) -> str:
    """Draw an overlay for the photo: the evidence for the best label in colour, and a frame.

    Args:
        answer: The model's.
        height_px: Height of the upright photo; only its shape matters.
        width_px: Its width.

    Returns:
        An inline SVG element with nothing to fetch, transparent where there is no evidence.
    """
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
    label = row["label_1"] if row["known"] else f"not a known landmark (nearest: {row['label_1']})"
    where = ", ".join(filter(None, (row["city"], row["country"])))
    degrees = (
        "" if row[name] is None else f"{row[name]:.4f}" for name in ("latitude", "longitude")
    )
    known = "yes" if row["known"] else "no"
    cells = (row["photo"], label, f"{row['probability_1']:.0%}", known, where, *degrees)
    return [f"<td>{html.escape(cell)}</td>" for cell in cells]
