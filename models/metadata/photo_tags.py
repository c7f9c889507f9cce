"""Say what is written about a photo: keywords and a place, also under exiftool's names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from babel.core import get_global

from models.files import clean_text
from models.metadata.exiftool import Tags, texts_of
from models.photos.gps import ESTIMATED
from models.places.landmarks import Place, country_name

# The CLDR also maps codes of former states; XKX is what people use for Kosovo.
FORMER_COUNTRIES = ("BUR", "DDR", "FXX", "TMP", "XKK", "YMD", "ZAR")
KEYWORD_BYTES = 64
# Place name -> its XMP tag, its IPTC tag, and the most bytes that IPTC takes (IIM 4.2).
NAMES = {
    "City": ("XMP-photoshop:City", "IPTC:City", 32),
    "Country": ("XMP-photoshop:Country", "IPTC:Country-PrimaryLocationName", 64),
    "CountryCode": ("XMP-iptcCore:CountryCode", "IPTC:Country-PrimaryLocationCode", 3),
    "Location": ("XMP-iptcCore:Location", "IPTC:Sub-location", 32),
}
POSITION = re.compile(r"(GPS|XMP-exif):GPS(Latitude|Longitude)")
BLOCKS = ("GPS", "XMP-exif")
# What a camera said about a position, which is wrong of the one that is written; its clock stays.
STALE = [
    f"{block}:GPS{name}"
    for block in BLOCKS
    for name in ("Altitude", "AltitudeRef", "DOP", "HPositioningError", "AreaInformation")
]
# What also goes with a position that is replaced. Without one, a direction still says something.
_REPLACED = (
    *("DestBearing", "DestBearingRef", "DestDistance", "DestDistanceRef", "DestLatitude"),
    *("DestLongitude", "Differential", "ImgDirection", "ImgDirectionRef", "MeasureMode"),
    *("ProcessingMethod", "Satellites", "Speed", "SpeedRef", "Status", "Track", "TrackRef"),
)
STALE_IF_REPLACED = [
    *(f"{block}:GPS{name}" for block in BLOCKS for name in _REPLACED),
    *("GPS:GPSDestLatitudeRef", "GPS:GPSDestLongitudeRef", "XMP-exif:GPSMapDatum"),
]
CLOCK = frozenset({"GPSTimeStamp", "GPSDateStamp", "GPSDateTime", "GPSVersionID"})
# IPTC's structures, and what goes from inside them.
LOCATIONS = ("LocationCreated", "LocationShown")
LOCATION_GPS = ("GPSLatitude", "GPSLongitude", "GPSAltitude")
STALE_IN_LOCATIONS = [f"XMP-iptcExt:{name}{gps}" for name in LOCATIONS for gps in LOCATION_GPS]
# Lists of keywords as paths, which darktable and digiKam read instead of the plain list where a
# photo has them -> exiftool's name and what separates the parts.
KEYWORD_TREES = {
    "lr:hierarchicalSubject": ("XMP-lr:HierarchicalSubject", "|"),
    "digiKam:TagsList": ("XMP-digiKam:TagsList", "/"),
}
UTF8 = "\x1b%G"  # as IPTC declares it


@dataclass(frozen=True)
class PhotoTags:
    """What is written about a photo.

    Attributes:
        keywords: Any text; each becomes one line, blank ones and repetitions are left out.
        place: Where it was taken; None: only keywords are written.
        probability: Of the landmark, in [0, 1].
        model: Name and digest of the model file that said so.
        radius_km: Of a place that is only estimated, how far off it may be; None: it is not.
    """

    keywords: tuple[str, ...]
    place: Place | None
    probability: float
    model: str
    radius_km: float | None = None

    def __post_init__(self) -> None:
        """Refuse an impossible place: it would be believed for years."""
        place = self.place
        if place and not (abs(place.latitude) <= 90 and abs(place.longitude) <= 180):
            raise ValueError(f"{place.latitude}, {place.longitude} is not a point on earth")
        clean = dict.fromkeys(clean_text(keyword) for keyword in self.keywords)
        object.__setattr__(self, "keywords", tuple(keyword for keyword in clean if keyword))

    def place_names(self) -> dict[str, str]:
        """Return City, Country, CountryCode (three letters) and Location, as far as known."""
        if self.place is None:
            return {}
        names = {
            "City": self.place.city,
            "Country": country_name(self.place.country),
            "CountryCode": three_letters().get(self.place.country, ""),
            "Location": self.place.name,
        }
        return {name: text for name, value in names.items() if (text := clean_text(value))}

    def describe(self, with_names: bool) -> str:
        """Say in one line what is written."""
        parts = []
        if self.place is not None and self.radius_km is not None:
            where = f"{self.place.latitude:.5f}, {self.place.longitude:.5f}"
            return f"estimated position {where}, within {self.radius_km:.1f} km"
        if self.place is not None:
            parts = [f"position {self.place.latitude:.5f}, {self.place.longitude:.5f}"]
            parts += ["place names" if with_names else "its place names stay"]
        return "; ".join([*parts, f"keywords {', '.join(self.keywords)}"])


@cache
def three_letters() -> dict[str, str]:
    """Map ISO 3166-1 codes of two letters to those of three, which IPTC wants."""
    aliases = get_global("territory_aliases").items()
    codes = {
        new[0]: old
        for old, new in aliases
        if re.fullmatch("[A-Z]{3}", old) and len(new) == 1 and old not in FORMER_COUNTRIES
    }
    return {**codes, "XK": "XKX"}


def has_position(before: Tags) -> bool:
    """Tell whether a photo says where it was taken, in EXIF or XMP."""
    return any(map(POSITION.fullmatch, before))


def without_location_gps(before: Tags) -> Tags:
    """Return tags less the positions in IPTC's locations, as STALE_IN_LOCATIONS removes them."""
    after = dict(before)
    for key in (f"XMP-iptcExt:{name}" for name in LOCATIONS):
        kept = []
        for value in before.get(key, ()):
            places = [
                {name: each for name, each in place.items() if name not in LOCATION_GPS}
                for place in (value if isinstance(value, list) else [value])
            ]
            if places := [place for place in places if place]:
                kept.append(places if isinstance(value, list) else places[0])
        after[key] = kept
    return {key: values for key, values in after.items() if values}


def has_place_names(before: Tags) -> bool:
    """Tell whether a photo names a place, in XMP or IPTC."""
    return any(key in before for keys in NAMES.values() for key in keys)


def tags_to_add(before: Tags, tags: PhotoTags, with_iptc: bool) -> dict[str, Any]:
    """Return the position, place names and keywords that a photo lacks.

    Args:
        before: What it says now.
        tags: What it is to say.
        with_iptc: Whether its format has room for IPTC.

    Returns:
        exiftool's name -> text, degrees, or a list of what joins the list that is there.
    """
    # New text cannot join IPTC text in an unknown encoding: it would declare that to be UTF-8.
    own = [text for key in before if key.startswith("IPTC:") for text in texts_of(before, key)]
    is_utf8 = UTF8 in texts_of(before, "IPTC:CodedCharacterSet")
    with_iptc = with_iptc and (is_utf8 or "".join(own).isascii())
    added: dict[str, Any] = {}
    if place := tags.place:
        added = {
            # EXIF has no signs: it takes letters.
            "GPS:GPSLatitude": abs(place.latitude),
            "GPS:GPSLatitudeRef": "NS"[place.latitude < 0],
            "GPS:GPSLongitude": abs(place.longitude),
            "GPS:GPSLongitudeRef": "EW"[place.longitude < 0],
            "GPS:GPSMapDatum": "WGS-84",
            "XMP-exif:GPSLatitude": place.latitude,
            "XMP-exif:GPSLongitude": place.longitude,
        }
        for block in BLOCKS if tags.radius_km is not None else ():
            added |= {
                f"{block}:GPSProcessingMethod": ESTIMATED,
                f"{block}:GPSHPositioningError": round(1000 * tags.radius_km),
            }
    # All or none: the city that a person wrote and a country from here could contradict.
    names = {} if has_place_names(before) else tags.place_names()
    for name, text in names.items():
        xmp_key, iptc_key, limit = NAMES[name]
        added[xmp_key] = text
        if with_iptc:
            added[iptc_key] = _cut(text, limit)
    lists = {"XMP-dc:Subject": tags.keywords}
    if with_iptc:
        lists["IPTC:Keywords"] = tuple(_cut(keyword, KEYWORD_BYTES) for keyword in tags.keywords)
    for key, keywords in lists.items():
        known = texts_of(before, key)
        if fresh := [each for each in dict.fromkeys(keywords) if each not in known]:
            added[key] = fresh
    for key, separator in KEYWORD_TREES.values():
        fresh = missing_paths(tags.keywords, texts_of(before, key), separator)
        if fresh and key in before:
            added[key] = fresh
    return added


def missing_paths(keywords: Iterable[str], known: Iterable[str], separator: str) -> list[str]:
    """Return the keywords that end none of the known paths, such as Places|Norway|Oslo."""
    ends = {path.split(separator)[-1] for path in known}
    words = dict.fromkeys(keyword.replace(separator, " ") for keyword in keywords)
    return [word for word in words if word not in ends]


def settings_to_add(before: Tags, added: dict[str, Any]) -> dict[str, str]:
    """Return what IPTC needs beside its text: its encoding, and a digest if there was one."""
    if not any(key.startswith("IPTC:") for key in added):
        return {}
    digest = {"Photoshop:IPTCDigest": "new"} if "Photoshop:IPTCDigest" in before else {}
    return {"IPTC:CodedCharacterSet": UTF8} | digest


def _cut(text: str, length: int) -> str:
    """Return the longest start of a text that fits into this many bytes."""
    return text.encode()[:length].decode(errors="ignore").strip()
