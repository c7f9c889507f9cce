"""Write tables that maps open: GeoJSON, KML and GPX; read their rows back.

Each file holds all rows, also of photos without a place, so that a run resumes from it as from any
table. Links to the photos are relative to its folder.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from models.files import clean_text, relative_url
from models.tagging.location import Location, Row, locate, name_place

# As Landmarks names its own data in XMP, too.
NAMESPACE = "urn:landmarks:1.0/"
ROW = f"{{{NAMESPACE}}}row"
GEOJSON_START = '{"type":"FeatureCollection","features":['
KML_START = f"""<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:landmarks="{NAMESPACE}">
<Document>
"""
# Coordinates have 7 digits, a centimetre: XML's decimals have no exponent.
# Opacity, blue, green, red: the colours of album.html.
KML_STYLES = {"sure": "ff3d8015", "maybe": "ff0677d9", "estimated": "ffeb6325"}
GPX_START = f"""<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="Landmarks" xmlns="http://www.topografix.com/GPX/1/1" \
xmlns:landmarks="{NAMESPACE}">
"""


def write_geojson(path: Path, rows: Iterable[Row]) -> None:
    """Write a feature per row (RFC 7946), one a line; those without a place have no geometry."""
    with path.open("w", newline="\n", encoding="utf-8") as file:
        end = f"{GEOJSON_START}\n"
        for row in rows:
            location = locate(row)
            point = location and [location.longitude, location.latitude]
            properties = row | {
                "certainty": location and location.certainty,
                "link": _link(row, path),
            }
            feature = {
                "type": "Feature",
                "geometry": point and {"type": "Point", "coordinates": point},
                "properties": properties,
            }
            file.write(end + json.dumps(feature, ensure_ascii=False, allow_nan=False))
            end = ",\n"
        file.write("\n]}\n")


def read_geojson(path: Path) -> Iterator[Row]:
    """Read the rows of a file that write_geojson wrote.

    Raises:
        ValueError, KeyError, TypeError: It is another one.
    """
    with path.open(encoding="utf-8", newline="\n") as file:
        if file.readline() != f"{GEOJSON_START}\n":
            raise ValueError("another GeoJSON")
        for line in file:
            if line != "]}\n":
                yield json.loads(line.removesuffix("\n").removesuffix(","))["properties"]


def write_kml(path: Path, rows: Iterable[Row]) -> None:
    """Write a placemark per row (OGC KML 2.2), which shows and links the photo."""
    with path.open("w", newline="\n", encoding="utf-8") as file:
        file.write(KML_START)
        for kind, colour in KML_STYLES.items():
            icon = f"<IconStyle><color>{colour}</color></IconStyle>"
            file.write(f'<Style id="{kind}">{icon}</Style>\n')
        for row in rows:
            location, link = locate(row), escape(_link(row, path))
            picture = f'<a href="{link}"><img src="{link}" width="320"></a>'
            text = "<br>".join((picture, *map(_text, _describe(row, location))))
            point = location and f"{location.longitude:.7f},{location.latitude:.7f}"
            parts = (
                _tag("name", _text(_name(row))),
                _tag("description", escape(text)),
                _tag("TimeStamp", _tag("when", _text(row["taken"] or ""))),
                _tag("styleUrl", location and f"#{location.certainty}"),
                _tag("ExtendedData", _row(row)),
                _tag("Point", _tag("coordinates", point)),
            )
            file.write(_tag("Placemark", "".join(parts)) + "\n")
        file.write("</Document>\n</kml>\n")


def write_gpx(path: Path, rows: Iterable[Row]) -> None:
    """Write a waypoint per photo that has a place (GPX 1.1), then the rows of the others.

    GPX has times in UTC only, so a photo that does not say its time zone has none here.
    """
    elsewhere: list[str] = []
    with path.open("w", newline="\n", encoding="utf-8") as file:
        file.write(GPX_START)
        for row in rows:
            location = locate(row)
            if location is None:
                elsewhere.append(_row(row))
                continue
            parts = (
                _tag("time", _utc(row["taken"])),
                _tag("name", _text(_name(row))),
                _tag("desc", "; ".join(map(_text, _describe(row, location)))),
                f'<link href="{escape(_link(row, path))}"/>',
                _tag("type", location.certainty),
                _tag("extensions", _row(row)),
            )
            at = f'lat="{location.latitude:.7f}" lon="{location.longitude:.7f}"'
            file.write(f"<wpt {at}>{''.join(parts)}</wpt>\n")
        if elsewhere:
            file.write("<extensions>\n" + "\n".join(elsewhere) + "\n</extensions>\n")
        file.write("</gpx>\n")


def read_xml(path: Path) -> Iterator[Row]:
    """Read the rows of a file that write_kml or write_gpx wrote.

    Raises:
        ValueError: It is another one, or damaged.
    """
    found = False
    try:
        for _, element in ET.iterparse(path):
            if element.tag == ROW:
                found = True
                yield json.loads(element.text or "")
            element.clear()  # memory does not depend on how many rows there are
    except ET.ParseError as error:
        raise ValueError(str(error)) from error
    if not found:  # a track or a map that somebody else made
        raise ValueError("no rows")


def _row(row: Row) -> str:
    # ASCII: the escapes of JSON stand for what XML cannot hold.
    return _tag("landmarks:row", escape(json.dumps(row, allow_nan=False), quote=False))


def _tag(name: str, content: str | None) -> str:
    return f"<{name}>{content}</{name}>" if content else ""


def _text(text: str) -> str:
    return escape(clean_text(text))


def _link(row: Row, path: Path) -> str:
    # A row of the page has its own: the photos it names lie on another machine.
    return row.get("link") or relative_url(Path(row["photo"]), path.parent)


def _name(row: Row) -> str:
    title, _ = name_place(row)
    return title or Path(row["photo"]).name


def _describe(row: Row, location: Location | None) -> Iterator[str]:
    """Yield what a person wants to know of a photo."""
    if location:
        radius = location.radius_km
        within = "" if radius is None else f", within {radius:.3g} km"
        yield f"{location.certainty}{within}; position: {location.source}"
    yield from filter(None, (name_place(row)[1], row["taken"], row["error"], row["photo"]))


def _utc(taken: str | None) -> str | None:
    time = taken and datetime.fromisoformat(taken)
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time and time.tzinfo else None
