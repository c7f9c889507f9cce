"""Find coordinates and times in XMP: XML that anybody may have written, or made to explode."""

import codecs
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
}
META, RDF, EXIF, IPTC_EXT, PHOTOSHOP = (f"{{{uri}}}" for uri in NAMESPACES.values())
# Where the camera was, then what the photo shows: structures with coordinates of their own.
LOCATIONS = (f"{IPTC_EXT}LocationCreated", f"{IPTC_EXT}LocationShown")
AXES = (("GPSLatitude", "NS"), ("GPSLongitude", "EW"))
WANTED = {f"{EXIF}{name}{end}": name + end for name, _ in AXES for end in ("", "Ref")} | {
    f"{EXIF}DateTimeOriginal": "DateTimeOriginal",
    f"{EXIF}GPSProcessingMethod": "GPSProcessingMethod",
    f"{PHOTOSHOP}DateCreated": "DateCreated",
}

# XMP is parsed inside an element of our own: it declares the usual prefixes, for writers that
# forgot to, and no document type, which could declare entities, is allowed in there.
START = "<packet {}>".format(" ".join(f'xmlns:{name}="{u}"' for name, u in NAMESPACES.items()))
END = "</packet>"
# What XMP wraps around properties.
SYNTAX = (META, RDF, "packet")
MAX_DEPTH = 64
MAX_LETTERS = 100
UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
XML_DECLARATION = re.compile(r"<\?xml\s[^>]*>")
# The longer starts first: those of UTF-16 begin some of UTF-32.
ENCODINGS = (
    ("utf-32-le", (codecs.BOM_UTF32_LE, b"<\0\0\0")),
    ("utf-32-be", (codecs.BOM_UTF32_BE, b"\0\0\0<")),
    ("utf-16-le", (codecs.BOM_UTF16_LE, b"<\0")),
    ("utf-16-be", (codecs.BOM_UTF16_BE, b"\0<")),
)

NUMBER = r"(\d{1,3}(?:\.\d{0,20})?)"
BETWEEN = r"(?:\s*,\s*|\s*(?:deg|[°º'\u2032])\s*|\s+)"
# 48,51.5N or 48,51,30N (Adobe); 48.8583 with the letter elsewhere (Apple) or a sign;
# 48 deg 51' 30" N (exiftool).
DEGREES = re.compile(
    rf"([+-]?){NUMBER}(?:{BETWEEN}{NUMBER})?(?:{BETWEEN}{NUMBER})?\s*(?:deg|[°º'\u2032\"\u2033])?\s*"
    r"(?:([NSEW])[a-z]*)?",
    re.IGNORECASE,
)
# Degrees, minutes and seconds as far as given; N, S, E or W, blank where nothing says it.
Coordinate = tuple[list[float], str]


def find_coordinates(xmp: bytes) -> Iterator[tuple[Coordinate, Coordinate]]:
    """Find where XMP says that its photo was taken: exif:GPS..., then IPTC's locations.

    Properties are told by namespace, as attributes or elements. Those of other photos, such as the
    ingredients of a montage, do not count. Damaged XMP counts up to the damage.

    Args:
        xmp: UTF-8, UTF-16 or UTF-32; the caller limits its length, and may cut it off.

    Yields:
        Latitude and longitude, not checked.
    """
    for place in (place for places in _collect(xmp).values() for place in places):
        if all(name in place for name, _ in AXES):
            latitude, longitude = (
                _coordinate(place[name], place.get(f"{name}Ref", ""), signs) for name, signs in AXES
            )
            yield latitude, longitude


def find_property(xmp: bytes, name: str) -> str:
    """Return what XMP says about its photo under one of the names of WANTED; else "".

    Args:
        xmp: As for find_coordinates.
        name: DateTimeOriginal, DateCreated or GPSProcessingMethod.
    """
    return _collect(xmp)[""][0].get(name, "")


def _collect(xmp: bytes) -> dict[str, list[dict[str, str]]]:
    """Return what _Collector.places holds after a packet."""
    collector = _Collector()
    parser = ET.XMLParser(target=collector)
    try:
        for text in (START, XML_DECLARATION.sub("", _decode(xmp), count=1), END):
            parser.feed(text)
        parser.close()
    except (ET.ParseError, ValueError):
        pass  # what came before the damage counts
    return collector.places


class _Collector:
    """Keep the properties that pass by: a tree of a million elements would fill the memory."""

    def __init__(self) -> None:
        self.path: list[str] = []
        # Owner ("": the photo itself) -> its places, each name -> text.
        self.places: dict[str, list[dict[str, str]]] = {owner: [{}] for owner in ("", *LOCATIONS)}
        self.open: tuple[int, str, str] | None = None  # depth, owner and name of a property
        self.text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.path.append(tag)
        if len(self.path) > MAX_DEPTH:
            raise ValueError("nested too deeply")
        owner, *inner = [name for name in self.path if not name.startswith(SYNTAX)] or [""]
        if owner in WANTED and not inner:
            owner, inner = "", [owner]
        if owner not in self.places or len(inner) > 1:
            return
        if inner and inner[0] in WANTED:
            self.open, self.text = (len(self.path), owner, inner[0]), []
        elif not inner:
            # A location, or the next of several.
            if owner and tag in (owner, f"{RDF}li") and self.places[owner][-1]:
                self.places[owner].append({})
            for name in WANTED.keys() & attributes.keys():
                self._keep(owner, name, attributes[name])

    def data(self, text: str) -> None:
        if self.open and len(self.text) < MAX_LETTERS:
            self.text.append(text[:MAX_LETTERS])

    def end(self, tag: str) -> None:
        if self.open and self.open[0] == len(self.path):
            self._keep(*self.open[1:], "".join(self.text))
            self.open = None
        self.path.pop()

    def _keep(self, owner: str, name: str, text: str) -> None:
        self.places[owner][-1].setdefault(WANTED[name], text[:MAX_LETTERS].strip())


def _decode(xmp: bytes) -> str:
    """Return the text from its first "<" on, less what XML cannot hold."""
    encoding = next((code for code, starts in ENCODINGS if xmp.startswith(starts)), "utf-8")
    text = xmp.decode(encoding, errors="replace")
    return UNREADABLE.sub(" ", text[max(text.find("<"), 0) :])


def _coordinate(text: str, reference: str, signs: str) -> Coordinate:
    match = DEGREES.fullmatch(text)
    if match is None:
        return [], ""
    sign, *numbers, letter = match.groups()
    numbers = [float(number) for number in numbers if number]
    letter = (letter or reference[:1]).upper()
    if sign == "-":  # with N or E it would be a riddle
        letter = signs[1] if letter in ("", signs[1]) else ""
    elif not letter and len(numbers) == 1:
        letter = signs[0]
    return numbers, letter
