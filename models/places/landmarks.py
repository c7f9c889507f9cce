"""Say where landmarks are: class name -> display name, kind, city, country and coordinates."""

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
# Two-letter codes in the Unicode CLDR that are not countries in ISO 3166-1. XK stays: ISO leaves it
# to its users, who all mean Kosovo.
NO_COUNTRIES = frozenset(
    ("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ")
)


class PlaceError(ValueError):
    """A place that cannot be right; the message names file, line and fix where it can."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a landmark is. Texts are plain: escape them before they go into HTML.

    Every text but the name is blank where it is unknown.

    Attributes:
        name: Display name, with its accents.
        kind: castle, temple, bridge, ...
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
        """Return a JSON-ready dictionary, as model files hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Place":
        """Make a place from untrusted values: of a model file or a line of a table.

        Args:
            values: name, latitude and longitude; the others may be absent. Texts lose unprintable
                characters and are cut to 100; unknown keys are ignored.

        Raises:
            PlaceError: A text that is not text, a coordinate that is not a number or out of range,
                an unknown country or Wikidata item.
        """
        if not isinstance(values, Mapping):
            raise PlaceError(f"a place is a table of values, not {type(values).__name__}")
        texts = {key: _clean(key, values.get(key)) for key in TEXTS}
        texts["country"] = texts["country"].upper()
        if not texts["name"]:
            raise PlaceError("the name is blank; write one")
        if texts["country"] and texts["country"] not in country_names():
            raise PlaceError(
                f"{texts['country']!r} is no country; write its two-letter ISO 3166 code, such "
                "as FR, or leave it blank"
            )
        if not re.fullmatch(r"(Q[1-9][0-9]{0,11})?", texts["wikidata"]):
            raise PlaceError(
                f"{texts['wikidata']!r} is no Wikidata item; write it as Q243, or leave it blank"
            )
        latitude = _degrees("latitude", values.get("latitude"), 90)
        longitude = _degrees("longitude", values.get("longitude"), 180)
        return cls(**texts, latitude=latitude, longitude=longitude)


def read_places(path: Path) -> dict[str, Place]:
    """Read the places of a table: UTF-8, separated by commas, lines and columns in any order.

    Args:
        path: A CSV file with the columns class_name, latitude and longitude, and perhaps name,
            kind, city, country and wikidata. A blank name becomes the class name.

    Returns:
        Class name -> place, in the file's order.

    Raises:
        PlaceError: The file is not such a table; the message is one line with file, line, fix.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        raise PlaceError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from error
    except OSError as error:
        raise PlaceError(f"{path} cannot be read; check its path and permissions") from error
    reader = csv.DictReader(io.StringIO(text), strict=True)
    places: dict[str, Place] = {}
    first_lines: dict[str, int] = {}

    def here() -> int:
        return max(1, reader.reader.line_num)  # reader.line_num does not count blank lines

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


def merge_places(tables: Iterable[Path]) -> dict[str, Place]:
    """Read the places of several tables; of a class in two of them, the first says where it is.

    Raises:
        PlaceError: See read_places.
    """
    merged: dict[str, tuple[str, Place]] = {}
    for table in tables:
        for label, place in read_places(table).items():
            merged.setdefault(_match_key(label), (label, place))
    return dict(merged.values())


def find_places(class_names: Iterable[str], data: Path | None = None) -> dict[str, Place]:
    """Find the places of these classes, as far as they are known.

    Args:
        class_names: Labels of a model.
        data: What --data names, a folder or a table. A landmarks.csv in that folder, or beside
            that table, takes precedence over the project's own.

    Returns:
        Class name, as given -> place; classes without one are left out.

    Raises:
        PlaceError: See read_places.
    """
    known = read_places(LANDMARKS)
    if data is not None:
        own = (data if data.is_dir() else data.parent) / LANDMARKS.name
        if own.is_file() and own != data:  # the photos' table may have this name
            known |= read_places(own)
    by_key = {_match_key(label): place for label, place in known.items()}
    found = {label: by_key.get(_match_key(label)) for label in class_names}
    return {label: place for label, place in found.items() if place is not None}


def distance_km(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """Return the kilometres along the surface between two points, given in degrees.

    Haversine formula on a sphere (Sinnott 1984): at most 0.5 % off, as the earth is flattened.
    """
    lat, other = math.radians(latitude), math.radians(other_latitude)
    half_turn = math.radians(other_longitude - longitude) / 2
    chord = math.sin((other - lat) / 2) ** 2
    chord += math.cos(lat) * math.cos(other) * math.sin(half_turn) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


@cache
def country_names() -> dict[str, str]:
    """Map ISO 3166-1 codes to English names, as the Unicode CLDR has them."""
    names = Locale("en").territories
    return {
        code: names[code]
        for code in sorted(names)
        if re.fullmatch("[A-Z]{2}", code) and code not in NO_COUNTRIES
    }


def country_name(code: str) -> str:
    """Return a country's English name; blank for a blank code.

    Raises:
        PlaceError: No country has this code.
    """
    if code and code not in country_names():
        raise PlaceError(f"{code!r} is no country; give an ISO 3166 code, such as FR")
    return country_names()[code] if code else ""


def map_url(latitude: float, longitude: float) -> str:
    """Return a link to OpenStreetMap with a marker there; nothing is fetched."""
    where = f"{latitude:.5f}", f"{longitude:.5f}"
    return "https://www.openstreetmap.org/?mlat={0}&mlon={1}#map=14/{0}/{1}".format(*where)


def _clean(name: str, value: object) -> str:
    """Return text in one line with single spaces, cut; blank for None."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PlaceError(f"{name} must be text, not {type(value).__name__}")
    line = " ".join(value[: 10 * MAX_LENGTH].split())
    # Two characters that join letters in Persian or Malayalam count as unprintable.
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
    if not abs(degrees) <= limit:  # not >, which is false for NaN
        raise PlaceError(f"{name} {degrees:g} is out of range; {advice}")
    return degrees


def _column_names(cells: Iterable[str]) -> list[str]:
    """Return the header's names, after checking that all needed ones are there, each once."""
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
    """Return what spellings of a class share: no case, accents, underscores, double spaces."""
    letters = unicodedata.normalize("NFKD", class_name.replace("_", " ").casefold())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())
