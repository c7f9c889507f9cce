"""Recorded tracks: where they were at a time, and files that are none."""

from pathlib import Path

import numpy as np
import pytest

from models.album.album import Album
from models.album.gpx import Track, TrackError, read_tracks
from models.album.sphere import to_degrees
from tests.models.album.conftest import MAYBE, SURE, Model, photo

GPX = (
    '<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1" creator="test"><trk><trkseg>'
    "{}</trkseg></trk></gpx>"
)
POINT = '<trkpt lat="{}" lon="{}">{}</trkpt>'


def write(path: Path, *points: tuple[float, float, str]) -> Path:
    lines = (POINT.format(north, east, f"<time>{at}</time>") for north, east, at in points)
    path.write_text(GPX.format("".join(lines)))
    return path


@pytest.fixture
def walk(tmp_path: Path) -> Track:
    """Two walks in Rome, with a rest and a ride of an hour without points between them."""
    day = "2024-05-06T"
    return read_tracks(
        (
            write(
                tmp_path / "walk.gpx",
                (41.8902, 12.49, f"{day}08:00:00Z"),
                (41.9002, 12.49, f"{day}08:10:00Z"),
                (41.9003, 12.49, f"{day}10:10:00Z"),
            ),
            write(
                tmp_path / "later.gpx",
                (42.5, 12.49, f"{day}13:10:00+02:00"),
                (42.6, 12.49, f"{day}13:20:00+02:00"),
            ),
        )
    )


def at(track: Track, hour: float) -> tuple[float | None, str | None]:
    vectors, radius, source = track.at(np.array([hour + 24 * 19849]))
    if np.isnan(radius[0]):
        return None, None
    return float(to_degrees(vectors[0])[0]), track.names[source[0]]


def test_where_a_track_was(walk: Track) -> None:
    assert at(walk, 8 + 1 / 12) == (pytest.approx(41.8952, abs=1e-5), "walk.gpx")
    assert at(walk, 9) == (pytest.approx(41.9002, abs=2e-4), "walk.gpx")  # it rested
    assert at(walk, 10.7) == (None, None)  # nobody knows which way it went
    assert at(walk, 11.25) == (pytest.approx(42.55, abs=1e-4), "later.gpx")
    assert at(walk, 7.9) == at(walk, 12) == (None, None)


def test_a_track_places_photos_that_say_their_zone(walk: Track) -> None:
    rows = [
        photo("2024-05-06T10:05:00+02:00"),
        photo("2024-05-06T10:06:00+02:00", "Colosseum", MAYBE),
        photo("2024-05-06T10:07:00+02:00", "Opera House", SURE),
        photo("2024-05-06T10:08:00+02:00", own=(10.0, 10.0)),
        photo("2024-05-06T10:09:00", camera="Other"),
    ]
    album = Album(rows, Model(), {}, walk)
    found = list(album.values())
    assert [row["estimated_from"] for row in found] == [*["walk.gpx"] * 3, None, None]
    assert found[0]["estimated_latitude"] == pytest.approx(41.8952, abs=1e-4)
    assert [row["verdict_in_album"] for row in found[1:3]] == ["sure", "none"]
    assert album.notes == [
        "photos that say no time zone, so that no track places them: 1; give --clock-offset"
    ]
    placed = list(Album(rows, Model(), {"": 2.0}, walk).values())
    assert placed[4]["estimated_from"] == "walk.gpx"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no xml", "is no GPX track"),
        ("<html></html>", "has no two track points with a time|is no GPX track"),
        (GPX.format(""), "has no two track points with a time"),
        (GPX.format(POINT.format(1, 2, "")), "has no two track points with a time"),
        (None, "cannot be read|is no GPX track"),
    ],
)
def test_files_that_are_no_track(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.gpx"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrackError, match=said) as caught:
        read_tracks((path,))
    assert len(str(caught.value).splitlines()) == 1
