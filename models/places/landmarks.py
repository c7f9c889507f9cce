"""Where landmarks are: class name -> display name, kind, city, country and coordinates."""

import csv
import dataclasses
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale

LANDMARKS = Path(__file__).with_suffix(".csv")
COLUMNS = ("class_name", "latitude", "longitude")
TEXTS = ("name", "kind", "city", "country", "wikidata")
MAX_LENGTH = 100
EARTH_RADIUS_KM = 6371.0088  # mean radius (IUGG)
# Two-letter codes of the Unicode CLDR that are no country of ISO 3166-1. XK stays: ISO leaves it to
# its users, and all of them mean Kosovo.
NO_COUNTRIES = frozenset(
    ("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ")
)


class PlaceError(ValueError):
    """A place that cannot be right; the message names file, line and fix where there are any."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a landmark is. Texts are plain: escape them before they go into HTML.

    Attributes:
        name: Display name, with its accents.
        kind: castle, temple, bridge, ...; blank where unknown, as all that follow but coordinates.
        city: City or region.
        country: ISO 3166-1 alpha-2 code.
        latitude: Degrees north, WGS 84.
        longitude: Degrees east, WGS 84.
        wikidata: Item, such as Q243.
    """

    name: str
    kind: str
    city: str
    country: str
    latitude: float
    longitude: float
    wikidata: str

    def to_dict(self) -> dict[str, str | float]:
        """JSON-ready; how a place travels in a model file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Place":
        """A place from anybody's values: a model file or a line of a table.

        Args:
            values: name, latitude and longitude; the others may be absent. Texts lose what cannot
                be printed and are cut to 100 characters; more keys are ignored.

        Raises:
            PlaceError: Text that is no text, a coordinate that is no number or out of range, an
                unknown country, an item that is none.
        """
        if not isinstance(values, Mapping):
            raise PlaceError(f"a place is a table of values, not {type(values).__name__}")
        texts = {key: _clean(key, values.get(key)) for key in TEXTS}
        texts["country"] = texts["country"].upper()
        if not texts["name"]:
            raise PlaceError("the name is blank; write one")
        if texts["country"] and texts["country"] not in country_names():
            raise PlaceError(
                f"{texts['country']!r} is no country; write its ISO 3166 code of two letters, such "
                "as FR, or leave it blank"
            )
        if not re.fullmatch(r"(Q[1-9][0-9]{0,11})?", texts["wikidata"]):
            raise PlaceError(
                f"{texts['wikidata']!r} is no Wikidata item; write it as Q243, or leave it blank"
            )
        latitude = _degrees("latitude", values.get("latitude"), 90)
        return cls(
            **texts, latitude=latitude,
            longitude=_degrees("longitude", values.get("longitude"), 180),
        )  # fmt: skip


def read_places(path: Path) -> dict[str, Place]:
    """The places of a table: UTF-8, separated by commas, lines and columns in any order.

    Args:
        path: A CSV file with the columns class_name, latitude and longitude; name, kind, city,
            country and wikidata may be there too. A blank name becomes the class name.

    Returns:
        Class name -> place, in the file's order.

    Raises:
        PlaceError: The file is not like that; one line with file, line and fix.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a mark
    except UnicodeDecodeError as error:
        raise PlaceError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from error
    except OSError as error:
        raise PlaceError(f"{path} cannot be read; check its path and permissions") from error
    reader = csv.DictReader(io.StringIO(text), strict=True)
    places: dict[str, Place] = {}
    first_lines: dict[str, int] = {}

    def here() -> int:
        return max(1, reader.reader.line_num)  # the outer one does not count blank lines

    try:
        reader.fieldnames = _column_names(reader.fieldnames or ())
        for row in reader:
            if None in row:
                raise PlaceError("more cells than columns; put quotes around text with commas")
            label = _clean("class_name", row["class_name"]).replace("_", " ")
            if not label:
                raise PlaceError("class_name is blank; write the class, or delete the line")
            first = first_lines.setdefault(_match_key(label), here())
            if first != here():
                raise PlaceError(f"{label!r} is on line {first} already; delete one")
            places[label] = Place.from_dict({**row, "name": row.get("name") or label})
    except csv.Error as error:
        message = f"not CSV ({error}); look for a quote that is not closed"
        raise PlaceError(f"{path}, line {here()}: {message}") from error
    except PlaceError as error:
        raise PlaceError(f"{path}, line {here()}: {error}") from None
    return places


def find_places(class_names: Iterable[str], data: Path | None = None) -> dict[str, Place]:
    """The places of these classes, as far as they are known.

    Args:
        class_names: Labels of a model.
        data: What --data names. A landmarks.csv in that folder, or in a table's folder, goes
            before the project's own.

    Returns:
        Class name, as given -> place; classes with none are left out.

    Raises:
        PlaceError: See read_places.
    """
    known = read_places(LANDMARKS)
    if data is not None:
        own = (data if data.is_dir() else data.parent) / LANDMARKS.name
        if own.is_file() and own != data:  # the photos' own table may be called so
            known |= read_places(own)
    by_key = {_match_key(label): place for label, place in known.items()}
    found = {label: by_key.get(_match_key(label)) for label in class_names}
    return {label: place for label, place in found.items() if place is not None}


def distance_km(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """Kilometres along the surface between two points, in degrees; 0.5 % off at most.

    Haversine formula on a sphere (Sinnott 1984): the earth's flattening makes the difference.
    """
    lat, other = math.radians(latitude), math.radians(other_latitude)
    half_turn = math.radians(other_longitude - longitude) / 2
    chord = math.sin((other - lat) / 2) ** 2
    chord += math.cos(lat) * math.cos(other) * math.sin(half_turn) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


@cache
def country_names() -> dict[str, str]:
    """ISO 3166-1 code -> English name, as the Unicode CLDR has them."""
    names = Locale("en").territories
    return {
        code: names[code]
        for code in sorted(names)
        if re.fullmatch("[A-Z]{2}", code) and code not in NO_COUNTRIES
    }


def country_name(code: str) -> str:
    """A country's English name; blank for a blank code.

    Raises:
        PlaceError: If no country has this code.
    """
    if code and code not in country_names():
        raise PlaceError(f"{code!r} is no country; give an ISO 3166 code, such as FR")
    return country_names()[code] if code else ""


def map_url(latitude: float, longitude: float) -> str:
    """A link to OpenStreetMap with a marker there; nothing is fetched."""
    where = f"{latitude:.5f}", f"{longitude:.5f}"
    return "https://www.openstreetmap.org/?mlat={0}&mlon={1}#map=14/{0}/{1}".format(*where)


def _clean(name: str, value: object) -> str:
    """Text in one line with single spaces, cut; blank for None."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PlaceError(f"{name} must be text, not {type(value).__name__}")
    line = " ".join(value[: 10 * MAX_LENGTH].split())
    # Two characters that join letters, in Persian or Malayalam, count as not printable.
    kept = (letter for letter in line if letter.isprintable() or letter in "\u200c\u200d")
    return "".join(kept)[:MAX_LENGTH].strip()


def _degrees(name: str, value: object, limit: int) -> float:
    advice = f"write decimal degrees with a point, between -{limit} and {limit}"
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError
        degrees = float(value)
    except (ValueError, OverflowError) as error:
        shown = repr(value)[:40] if value else "blank"
        raise PlaceError(f"{name} is {shown}, not a number; {advice}") from error
    if not abs(degrees) <= limit:  # also where it is not a number
        raise PlaceError(f"{name} {degrees:g} is out of range; {advice}")
    return degrees


def _column_names(cells: Iterable[str]) -> list[str]:
    """The header's names, with all that are needed, each once."""
    names = [_clean("a column", cell).casefold() for cell in cells]
    if missing := [name for name in COLUMNS if name not in names]:
        raise PlaceError(
            f"no column {', '.join(missing)}; the first line must name "
            f"{', '.join(COLUMNS)}, separated by commas"
        )
    if doubled := next((name for name in names if name and names.count(name) > 1), None):
        raise PlaceError(f"the column {doubled} is there twice; delete one")
    return names


def _match_key(class_name: str) -> str:
    """What spellings of a class share: no case, accents, underscores or doubled spaces."""
    letters = unicodedata.normalize("NFKD", class_name.replace("_", " ").casefold())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())
