import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from models.places.world_map import SQUEEZE, TOP, UNITS, draw_map, draw_pins

SVG = "{http://www.w3.org/2000/svg}"


def outlines(picture: ET.Element) -> list[Outline]:
    """The pieces of land, in degrees east and south."""
    data = next(path for path in picture.iter(f"{SVG}path") if path.get("id") == "map-land").get(
        "d"
    )
    pieces = []
    for piece in data.split("M")[1:]:
        points = np.array(re.findall(r"-?\d+", piece), int).reshape(-1, 2)
        pieces.append(Outline(points.cumsum(0) / 10))
    return pieces


def test_the_picture_says_what_it_shows_and_asks_nobody() -> None:
    text = draw_map(48.8584, 2.2945)
    assert len(text) < 60_000
    picture = ET.fromstring(text)
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "Map of the world with a pin at 48.86 N, 2.29 E"
    assert "22.95 S, 43.21 W" in draw_map(-22.9519, -43.2105)
    tags = {element.tag.removeprefix(SVG) for element in picture.iter()}
    assert tags <= {"svg", "defs", "g", "path", "rect", "circle", "use"}
    for element in picture.iter():
        assert not any(name.startswith("on") for name in element.keys())  # noqa: SIM118
        assert element.get("href", "#").startswith("#")
    assert "url(" not in text and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "width:100%" in picture.get("style") and "currentColor" in text


def test_land_is_where_land_is() -> None:
    pieces = outlines(ET.fromstring(draw_map(0, 0)))

    def is_land(latitude: float, longitude: float) -> bool:
        turns = [(longitude + turn, -latitude) for turn in (-360, 0, 360)]
        return sum(piece.contains_points(turns).sum() for piece in pieces) % 2 == 1

    land = {
        "Paris": (48.86, 2.29),
        "Agra": (27.18, 78.04),
        "Cusco": (-13.16, -72.54),
        "Chukotka, beyond the date line": (66.5, -175),
        "South Pole": (-89, 30),
        "Vanua Levu": (-16.6, 179.2),
    }
    sea = {
        "Atlantic": (30, -40),
        "Pacific": (0, -140),
        "Caspian Sea": (41, 51),
        "Arctic": (88, 0),
        "Bering Sea": (58, -178),
        "Southern Ocean": (-58, 100),
    }
    assert [name for name, point in land.items() if not is_land(*point)] == []
    assert [name for name, point in sea.items() if is_land(*point)] == []


@pytest.mark.parametrize(
    "point", [(48.86, 2.29), (-33.86, 151.21), (64.3, -20.1), (78, 15), (-77.8, 166.7), (90, 180)]
)
def test_the_pins_stand_at_the_point(point: tuple[float, float]) -> None:
    latitude, longitude = point
    picture = ET.fromstring(draw_map(*point))
    _, _, _, height = map(float, picture.get("viewBox").split())
    whole, close = picture.findall(f"{SVG}svg")
    pins = [
        tuple(map(float, re.findall(r"-?[\d.]+", group.get("transform"))))
        for group in picture.findall(f"{SVG}g")
    ]
    assert len(pins) == 2
    for panel, (x, y) in zip((whole, close), pins, strict=True):
        left, top, wide, high = map(float, panel.get("viewBox").split())
        east = left + (x - float(panel.get("x"))) / float(panel.get("width")) * wide
        south = top + y / float(panel.get("height")) * high
        assert east / 10 == pytest.approx(longitude, abs=0.2 * wide / 3600 + 0.05)
        assert south / 10 == pytest.approx(-latitude, abs=0.1)
        assert 0 <= y <= height


def amber_pins(text: str) -> list[tuple[float, ...]]:
    """Where the tips of the photo's pins are, and how they lean."""
    return [
        tuple(map(float, re.findall(r"-?[\d.]+", group.get("transform"))))
        for group in ET.fromstring(text).findall(f"{SVG}g")
        if group.find(f"{SVG}path").get("fill") == "var(--amber)"
    ]


def test_a_photo_from_afar_has_a_pin_in_the_world() -> None:
    text = draw_map(48.8584, 2.2945, (-33.8568, 151.2153))
    label = ET.fromstring(text).get("aria-label")
    assert label.endswith("E, and an amber pin where the photo was taken, at 33.86 S, 151.22 E")
    ((x, y, lean),) = amber_pins(text)
    assert x / UNITS / SQUEEZE - 180 == pytest.approx(151.2, abs=0.1)
    assert TOP - y / UNITS == pytest.approx(-33.9, abs=0.1)
    assert lean > 0
    assert len(ET.fromstring(text).findall(f"{SVG}g")) == 3
    assert amber_pins(draw_map(48.8584, 2.2945)) == []


def test_a_photo_from_the_region_has_a_pin_in_both_views() -> None:
    text = draw_map(-16.6, 179.2, (-13.8, -171.8))  # Fiji and Samoa: 9 degrees, over the date line
    (world_x, _, _), (x, y, lean) = amber_pins(text)
    assert world_x < 300
    _, close = ET.fromstring(text).findall(f"{SVG}svg")
    left, top, wide, high = map(float, close.get("viewBox").split())
    east = left + (x - float(close.get("x"))) / float(close.get("width")) * wide
    south = top + y / float(close.get("height")) * high
    assert (east / UNITS, south / UNITS) == pytest.approx((360 - 171.8, 13.8), abs=0.1)
    assert lean > 0  # away from the landmark, so that two pins show
    assert amber_pins(draw_map(0, 0, (0, -0.5)))[1][2] < 0


def test_the_world_reaches_as_far_south_as_the_photo() -> None:
    heights = [
        float(ET.fromstring(draw_map(0, 0, taken_at)).get("viewBox").split()[3])
        for taken_at in (None, (-77.8, 166.7), (80, 0))
    ]
    assert heights[0] < heights[2] < heights[1]


@pytest.mark.parametrize("point", [(91, 0), (0, 181), (math.nan, 0), (0, math.inf)])
def test_no_map_of_what_is_not_on_earth(point: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not a point on earth; check the coordinates"):
        draw_map(*point)
    with pytest.raises(ValueError, match="not a point on earth"):
        draw_map(0, 0, point)


def test_many_pins_say_their_names_and_stand_where_they_should() -> None:
    points = [(48.8584, 2.2945, "Tour <Eiffel>"), (-33.8568, 151.2153, "Opera")]
    picture = ET.fromstring(draw_pins(points))
    assert picture.get("aria-label") == "Map of the world with 2 pins"
    pins = picture.findall(f"{SVG}g")
    assert [pin.find(f"{SVG}title").text for pin in pins] == ["Tour <Eiffel>", "Opera"]
    for pin, (latitude, longitude, _) in zip(pins, points, strict=True):
        place = pin.find(f"{SVG}g").get("transform")
        x, y = map(int, re.findall(r"-?\d+", place)[:2])
        assert x == pytest.approx((longitude + 180) * UNITS * SQUEEZE, abs=1)
        assert y == pytest.approx((TOP - latitude) * UNITS, abs=1)
