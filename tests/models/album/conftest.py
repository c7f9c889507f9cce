"""Albums by hand: rows as the tag command makes them, and a model that knows four places."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from models.album.album import Album
from models.album.gpx import Track
from models.model_file.verdict import Thresholds
from models.places.landmarks import Place
from models.tagging.table import COLUMNS, Row

SURE, MAYBE, NONE = 3.0, 1.5, -4.0
SPOTS = {
    "Colosseum": (41.8902, 12.4922),
    "Pantheon": (41.8986, 12.4769),
    "Opera House": (-33.8568, 151.2153),
    "Date Line Cross": (-16.8, 179.99),
}
# Fifty landmarks, most of them nowhere: with two, no photo could make one much likelier.
LABELS = [*SPOTS, *(f"Landmark {number}" for number in range(46))]


@dataclass(frozen=True)
class Model:
    """What the trip asks of a Predictor."""

    thresholds: Thresholds = field(default_factory=lambda: Thresholds(maybe=-2.0, sure=2.0))
    class_names: list[str] = field(default_factory=lambda: LABELS)

    def place(self, label: str) -> Place | None:
        spot = SPOTS.get(label)
        return spot and Place(label, "", "", "", *spot, "")


def photo(
    taken: str | None,
    label: str = "Landmark 0",
    score: float | None = NONE,
    *,
    camera: str | None = "Canon",
    own: tuple[float, float] = (None, None),
    second: str = "Landmark 1",
    probability: float = 0.95,
    name: str | None = None,
) -> Row:
    """A row; without a label, a photo of something else."""
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "photo": name or f"{taken} {camera}.jpg",
        "taken": taken and f"2024-05-06T{taken}" if taken and len(taken) < 12 else taken,
        "camera": camera,
        "verdict": Model().thresholds.judge(score) if score is not None else None,
        "known_score": score,
        "own_latitude": own[0],
        "own_longitude": own[1],
    }
    labels = [label, second, "Landmark 2", "Landmark 3", "Landmark 4"]
    rest = (1 - probability) * 0.9
    chances = [probability, rest, *[(1 - probability - rest) / 3] * 3]
    for rank, (each, chance) in enumerate(zip(labels, chances, strict=True), 1):
        row |= {f"label_{rank}": each, f"probability_{rank}": chance}
    return row


@pytest.fixture
def place() -> Callable[..., list[Row]]:
    """Fill in the columns of the trip."""

    def place(rows: Sequence[Row], track: Track | None = None, **offsets: float) -> list[Row]:
        album = Album(rows, Model(), offsets, track)
        found = list(album.values())
        assert len(found) == len(rows)
        return [row | values for row, values in zip(rows, found, strict=True)]

    return place
