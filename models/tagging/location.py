"""Decide from a row where its photo is shown, and how certain that is."""

from dataclasses import dataclass
from typing import Any, Literal

Certainty = Literal["sure", "maybe", "estimated"]
Row = dict[str, Any]  # as models.tagging.table has it, which imports this


@dataclass(frozen=True)
class Location:
    """Where a photo was taken, as far as its row tells.

    Attributes:
        latitude: Degrees north, WGS 84.
        longitude: Degrees east, WGS 84.
        certainty: sure: the photo's own position, or a landmark that is sure; maybe: what looks
            like a landmark; estimated: from other photos of the album, or a track.
        source: Whose position it is, as a phrase that continues "position: ...".
        radius_km: Of an estimate: within this distance; None otherwise.
    """

    latitude: float
    longitude: float
    certainty: Certainty
    source: str
    radius_km: float | None = None


def locate(row: Row) -> Location | None:
    """Return where a row's photo is shown: the best position that it has, None without any.

    The photo's own position comes first, then a landmark that is sure, then an estimate, then what
    looks like a landmark, since many of these guesses are wrong.
    """
    own = (row["own_latitude"], row["own_longitude"])
    if None not in own:
        return Location(*own, "sure", "the photo's own")
    verdict = album_verdict(row)
    landmark = (row["latitude"], row["longitude"])
    if verdict == "sure" and None not in landmark:
        return Location(*landmark, "sure", "the landmark's")
    estimate = (row["estimated_latitude"], row["estimated_longitude"])
    if None not in estimate:
        source = f"estimated from {row['estimated_from'] or 'the album'}"
        return Location(*estimate, "estimated", source, row["estimated_radius_km"])
    if verdict == "maybe" and None not in landmark:
        return Location(*landmark, "maybe", "the landmark's")
    return None


def name_place(row: Row) -> tuple[str, str]:
    """Return what a photo shows, and city and country; each blank where it is not known."""
    looks = {"sure": "", "maybe": "Looks like "}.get(album_verdict(row))
    level = row["place_level"]
    city = row["city"] if looks is not None or level == "city" else None
    country = row["country"] if looks is not None or level in ("city", "country") else None
    title = "" if looks is None else f"{looks}{row['place'] or row['label_1']}"
    return title, ", ".join(filter(None, (city, country)))


def album_verdict(row: Row) -> str | None:
    """Return what the album makes of a photo, or what the photo says alone; None: unreadable."""
    return row["verdict_in_album"] or row["verdict"]
