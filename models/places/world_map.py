"""Draw the world with pins, here: no map service learns about a photo."""

import html
import json
import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path

# TopoJSON of land and borders, 1:110 million; its head names the source (world-atlas 2.0.2, ISC
# licence; Natural Earth, public domain).
WORLD = Path(__file__).with_name("world.json")
UNITS = 10  # per degree: whole numbers are short, and a tenth is a pixel of the close view
TURN = 360 * UNITS
TOP, BOTTOM = 84, -58  # degrees: all land except Antarctica
SQUEEZE = math.cos(math.radians(36))  # equirectangular, true to shape at 36 degrees
CLOSE = 15 * UNITS  # from the pin to each edge of the close view
MIN_SQUEEZE = 0.1  # at the poles a degree east has no length
GAP = 50
PIN_DEGREES = 18  # how high a pin stands
# Gradio's colours, where the page defines them.
STYLE = (
    "width:100%;height:auto;display:block;overflow:visible;"
    "color:var(--body-text-color,currentColor);--pin:var(--primary-500,#e5484d);--amber:#d97706"
)
LINE = 'stroke="currentColor" stroke-width=".7" vector-effect="non-scaling-stroke"'
PIN = (
    '<g transform="translate({:.0f} {:.0f}){}" stroke="#fff" stroke-width="8">'
    '<path d="M0 0C-16-48-56-78-56-124a56 56 0 1 1 112 0C56-78 16-48 0 0z" fill="var(--{})"/>'
    '<circle cy="-124" r="{}" fill="#fff"/></g>'
)
SMALL = 0.5  # size of a pin among many
LEAN = 40  # degrees, by which the photo's pin leans away: even tips side by side show two pins


def draw_map(latitude: float, longitude: float, taken_at: tuple[float, float] | None = None) -> str:
    """Draw the world, and a closer view beside it, with a pin in both.

    Args:
        latitude: Degrees north, in [-90, 90].
        longitude: Degrees east, in [-180, 180].
        taken_at: Latitude and longitude of a second, amber pin, for where a photo was taken; the
            closer view has it if it lies there.

    Returns:
        An inline SVG element as wide as its container, about 60 kB, in the colours of the text
        around it; no script, nothing to fetch.

    Raises:
        ValueError: This is not a point on earth.
    """
    points = [(latitude, longitude), *([taken_at] if taken_at else [])]
    for north, east in points:
        if not (abs(north) <= 90 and abs(east) <= 180):
            raise ValueError(f"{north}, {east} is not a point on earth; check the coordinates")
    top = max(TOP, *(north + PIN_DEGREES for north, _ in points))
    bottom = BOTTOM if min(points)[0] > BOTTOM else -90
    height, width = (top - bottom) * UNITS, TURN * SQUEEZE
    x, y = longitude * UNITS, -latitude * UNITS
    # Degrees east grow shorter towards the poles, so more of them fit.
    half = CLOSE / max(MIN_SQUEEZE, math.cos(math.radians(latitude)))
    close = (x - half, y - CLOSE, 2 * half, 2 * CLOSE)
    frame = '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="none" '.format(*close)
    frame += 'stroke="var(--pin)" vector-effect="non-scaling-stroke"/>'
    # One more world on either side, for what crosses the date line.
    land, borders = (
        "".join(f'<use href="#map-{what}" x="{turn}"/>' for turn in (-TURN, 0, TURN))
        for what in ("land", "borders")
    )
    whole = (-TURN / 2, -top * UNITS, TURN, height)
    shown, pins = f"a pin at {_describe(latitude, longitude)}", ""
    if taken_at is not None:
        shown += f", and an amber pin where the photo was taken, at {_describe(*taken_at)}"
        pins = _amber_pins(latitude, longitude, taken_at, half, top, height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + GAP + height:.0f} '
        f'{height:.0f}" role="img" aria-label="Map of the world with {shown}" '
        f'style="{STYLE}"><defs>{_outlines()}</defs>'
        + _panel(0, width, height, whole, 30, land + frame)
        + _panel(width + GAP, height, height, close, 5, land + borders)
        + pins
        + PIN.format((longitude + 180) * UNITS * SQUEEZE, (top - latitude) * UNITS, "", "pin", 18)
        + PIN.format(width + GAP + height / 2, height / 2, "", "pin", 18)
        + "</svg>"
    )


def draw_pins(points: Sequence[tuple[float, float, str]]) -> str:
    """Draw the world with a small pin at each point, which says its name when pointed at.

    Args:
        points: Latitude, longitude and name of each, in degrees; at least one.

    Returns:
        An inline SVG element as draw_map returns it.
    """
    top = max(TOP, *(latitude + SMALL * PIN_DEGREES for latitude, _, _ in points))
    bottom = BOTTOM if min(points)[0] > BOTTOM else -90
    height, width = (top - bottom) * UNITS, TURN * SQUEEZE
    land = "".join(f'<use href="#map-land" x="{turn}"/>' for turn in (-TURN, 0, TURN))
    # From north to south, so that the tip of a pin is never hidden by one that stands behind it.
    pins = "".join(
        f"<g><title>{html.escape(name)}</title>"
        + PIN.format(
            (longitude + 180) * UNITS * SQUEEZE,
            (top - latitude) * UNITS,
            f" scale({SMALL})",
            "pin",
            18,
        )
        + "</g>"
        for latitude, longitude, name in sorted(points, reverse=True)
    )
    whole = (-TURN / 2, -top * UNITS, TURN, height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="Map of the world with {len(points)} pins" style="{STYLE}">'
        f"<defs>{_outlines()}</defs>{_panel(0, width, height, whole, 30, land)}{pins}</svg>"
    )


def _describe(latitude: float, longitude: float) -> str:
    north, east = "NS"[latitude < 0], "EW"[longitude < 0]
    return f"{abs(latitude):.2f} {north}, {abs(longitude):.2f} {east}"


def _amber_pins(
    latitude: float,
    longitude: float,
    taken_at: tuple[float, float],
    half: float,
    top: float,
    height: float,
) -> str:
    """Draw where the photo was taken: in the world, and in the closer view if it lies there.

    Args:
        latitude: Of the landmark.
        longitude: Of the landmark.
        taken_at: Latitude and longitude of the photo.
        half: Half the width of the closer view, in UNITS.
        top: Latitude of the upper edge of the world.
        height: Of the picture.
    """
    # The short way round: from Fiji, Samoa is a little to the east, not far to the west.
    east = ((taken_at[1] - longitude + 180) % 360 - 180) * UNITS
    south = (latitude - taken_at[0]) * UNITS
    look = (f" rotate({LEAN if east >= 0 else -LEAN})", "amber", 34)
    pins = PIN.format((taken_at[1] + 180) * UNITS * SQUEEZE, (top - taken_at[0]) * UNITS, *look)
    if abs(east) <= half and abs(south) <= CLOSE:
        middle = TURN * SQUEEZE + GAP + height / 2
        x, y = middle + east / half * height / 2, height / 2 + south / CLOSE * height / 2
        pins += PIN.format(x, y, *look)
    return pins


def _panel(
    left: float, width: float, height: float, view: tuple[float, ...], step: int, content: str
) -> str:
    """Stretch a part of the world over a rectangle, with a line every step degrees."""
    box = "{:.1f} {:.1f} {:.1f} {:.1f}".format(*view)
    lines = "".join(f"M{x} -900V900" for x in range(-2 * TURN, 2 * TURN, step * UNITS))
    lines += "".join(f"M{-2 * TURN} {y}H{2 * TURN}" for y in range(-900, 901, step * UNITS))
    return (
        f'<svg x="{left:.0f}" width="{width:.0f}" height="{height:.0f}" viewBox="{box}" '
        f'preserveAspectRatio="none"><path d="{lines}" stroke-opacity=".15" {LINE}/>{content}'
        f'<rect x="{view[0]:.1f}" y="{view[1]:.1f}" width="{view[2]:.1f}" height="{view[3]:.1f}" '
        f'fill="currentColor" fill-opacity=".04" stroke-opacity=".5" {LINE}/></svg>'
    )


@cache
def _outlines() -> str:
    """Return SVG paths of land and of borders between countries, from TopoJSON.

    Arcs are steps in whole numbers, and ~i is arc i backwards
    (https://github.com/topojson/topojson-specification). An arc that bounds no land lies inside
    it, so it is a border.
    """
    world = json.loads(WORLD.read_text(encoding="utf-8"))
    (scale_x, scale_y), (start_x, start_y) = world["transform"].values()
    arcs = [
        [
            (round((start_x + scale_x * x) * UNITS), round(-(start_y + scale_y * y) * UNITS))
            for x, y in accumulate(arc, lambda a, b: (a[0] + b[0], a[1] + b[1]))
        ]
        for arc in world["arcs"]
    ]
    polygons = world["objects"]["land"]["geometries"][0]["arcs"]
    rings = [
        _unroll(chain.from_iterable(arcs[i] if i >= 0 else arcs[~i][::-1] for i in ring))
        for ring in chain.from_iterable(polygons)
    ]
    coasts = {max(i, ~i) for ring in chain.from_iterable(polygons) for i in ring}
    borders = [arc for i, arc in enumerate(arcs) if i not in coasts]
    return (
        f'<path id="map-land" d="{_path(rings, "z")}" fill="currentColor" fill-opacity=".18" '
        f'stroke-opacity=".6" {LINE}/><path id="map-borders" d="{_path(borders)}" fill="none" '
        f'stroke-opacity=".4" {LINE}/>'
    )


def _unroll(ring: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Remove a ring's jump from one edge of the map to the other at the date line."""
    points: list[tuple[int, int]] = []
    for x, y in ring:
        turns = round((points[-1][0] - x) / TURN) if points else 0
        points.append((x + turns * TURN, y))
    if points[-1][0] != points[0][0]:  # Antarctica surrounds the pole: close it there
        points += [(points[-1][0], 90 * UNITS), (points[0][0], 90 * UNITS)]
    return points


def _path(lines: Iterable[list[tuple[int, int]]], end: str = "") -> str:
    """Return SVG path data, each point relative to the one before, which is shorter."""
    data = []
    for line in lines:
        steps = ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(line))
        drawn = " ".join(f"{dx} {dy}" for dx, dy in steps if dx or dy).replace(" -", "-")
        data.append(f"M{line[0][0]} {line[0][1]}l{drawn or '0 0'}{end}")
    return "".join(data)
