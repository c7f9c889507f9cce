"""A small album by hand: drawn photos, and rows as models.tag makes them."""

from pathlib import Path

from models.tagging.table import COLUMNS, Row
from tests.support.drawing import draw_landmark

ROME = {"place": "Colosseum", "label_1": "Colosseum", "city": "Rome", "country": "Italy"} | {
    "latitude": 41.8902,
    "longitude": 12.4922,
}


def album_row(photo: str, verdict: str | None = "none", **values: object) -> Row:
    """The row of a photo; by default nothing is known of its place."""
    assert set(values) <= set(COLUMNS)
    row = dict.fromkeys(COLUMNS) | {"photo": photo, "verdict": verdict}
    return row | {"known": verdict in ("sure", "maybe"), "model": "toy"} | values


def estimate(latitude: float, longitude: float, radius_km: float, source: str) -> Row:
    """What a row says of an estimated position."""
    return {
        "estimated_latitude": latitude,
        "estimated_longitude": longitude,
        "estimated_radius_km": radius_km,
        "estimated_from": source,
    }


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>'\"&#x.jpg"
SYDNEY = {"place": "Sydney Opera House", "label_1": "Sydney Opera House"} | {
    **{"city": "Sydney", "country": "Australia", "latitude": -33.8568, "longitude": 151.2153}
}
# Of one day in Rome: two sure, one maybe, one by its neighbours, one unknown, one impossible, one
# that cannot be read.
TRIP: dict[str, tuple[str | None, Row]] = {
    "1.jpg": ("sure", ROME | {"taken": "2024-05-06T09:00:00+02:00"}),
    "2.jpg": ("sure", ROME | {"taken": "2024-05-06T10:00:00+02:00"}),
    "3.jpg": (
        "maybe",
        ROME | {"latitude": 43.7, "longitude": 11.3, "taken": "2024-05-07T08:00:00"},
    ),
    "4.jpg": (
        "none",
        estimate(41.5, 13.9, 30.0, "2.jpg (1.5 h before)") | {"taken": "2024-05-06T11:30:00+02:00"},
    ),
    "5.jpg": ("none", {}),
    "6.jpg": ("sure", SYDNEY | {"verdict_in_album": "none", "taken": "2024-05-06T09:30:00+02:00"}),
    HOSTILE: ("none", {"own_latitude": 45.4, "own_longitude": 9.2, "taken": "2024-05-08T09:00:00"}),
    "7.jpg": (None, {"error": "7.jpg is empty (0 bytes); choose another photo"}),
}


def draw_album(folder: Path, rows: dict[str, tuple[str | None, Row]]) -> list[tuple[Path, Row]]:
    """Draw the photos of rows; those with an error are empty files."""
    found = []
    for number, (name, (verdict, values)) in enumerate(rows.items()):
        path = folder / "photos" / name.replace("/", "_")
        path.parent.mkdir(exist_ok=True)
        if "error" in values:
            path.touch()
        else:
            draw_landmark(number % 6, number, (160, 120)).save(path)
        found.append((path, album_row(f"photos/{name}", verdict, **values)))
    return found
