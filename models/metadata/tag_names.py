"""What is written about a photo, under the names that exiftool has for it."""

import re
from typing import Any

from models.metadata.exiftool import Tags, texts_of
from models.metadata.photo_tags import PhotoTags

KEYWORD_BYTES = 64
# Place name -> XMP, IPTC, and its longest there in bytes (IPTC IIM 4.2).
NAMES = {
    "City": ("XMP-photoshop:City", "IPTC:City", 32),
    "Country": ("XMP-photoshop:Country", "IPTC:Country-PrimaryLocationName", 64),
    "CountryCode": ("XMP-iptcCore:CountryCode", "IPTC:Country-PrimaryLocationCode", 3),
    "Location": ("XMP-iptcCore:Location", "IPTC:Sub-location", 32),
}
POSITION = re.compile(r"(GPS|XMP-exif):GPS(Latitude|Longitude)")
# What a camera said of the position that is replaced; its clock stays.
STALE = [
    f"{block}:GPS{name}"
    for block in ("GPS", "XMP-exif")
    for name in ("Altitude", "AltitudeRef", "DOP", "HPositioningError", "AreaInformation")
]
UTF8 = "\x1b%G"


def has_position(before: Tags) -> bool:
    """Whether a photo says where it was taken, in EXIF or XMP."""
    return any(map(POSITION.fullmatch, before))


def has_place_names(before: Tags) -> bool:
    """Whether a photo names a place, in XMP or IPTC."""
    return any(key in before for keys in NAMES.values() for key in keys)


def tags_to_add(before: Tags, tags: PhotoTags, with_iptc: bool) -> dict[str, Any]:
    """Position, place names and keywords that a photo lacks.

    Args:
        before: What it says now.
        tags: What it shall say.
        with_iptc: Whether its format has room for IPTC.

    Returns:
        Name -> text, degrees, or a list of what joins the list that is there.
    """
    # Text of ours cannot join IPTC text in an unknown code: it would declare that to be UTF-8.
    own = [text for key in before if key.startswith("IPTC:") for text in texts_of(before, key)]
    is_utf8 = UTF8 in texts_of(before, "IPTC:CodedCharacterSet")
    with_iptc = with_iptc and (is_utf8 or "".join(own).isascii())
    added: dict[str, Any] = {}
    if place := tags.place:
        north, east = "NS"[place.latitude < 0], "EW"[place.longitude < 0]
        added = {
            "GPS:GPSLatitude": abs(place.latitude), "GPS:GPSLatitudeRef": north,
            "GPS:GPSLongitude": abs(place.longitude), "GPS:GPSLongitudeRef": east,
            "GPS:GPSMapDatum": "WGS-84",
            "XMP-exif:GPSLatitude": place.latitude, "XMP-exif:GPSLongitude": place.longitude,
        }  # fmt: skip
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
    return added


def settings_to_add(before: Tags, added: dict[str, Any]) -> dict[str, str]:
    """What IPTC needs beside its text: its code, and a digest where a program left one."""
    if not any(key.startswith("IPTC:") for key in added):
        return {}
    digest = {"Photoshop:IPTCDigest": "new"} if "Photoshop:IPTCDigest" in before else {}
    return {"IPTC:CodedCharacterSet": UTF8} | digest


def _cut(text: str, length: int) -> str:
    """The longest start that has at most this many bytes."""
    return text.encode()[:length].decode(errors="ignore").strip()
