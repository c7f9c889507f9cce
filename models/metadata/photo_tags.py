"""What is written about a photo: keywords and a place, in words that metadata can hold."""

import re
from dataclasses import dataclass
from functools import cache

from babel.core import get_global

from models.places.landmarks import Place, country_name

# Not of XML 1.0, or of no use in a line: control characters, lone halves of pairs.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# The CLDR also maps codes of states that are gone; XKX is what people use for Kosovo.
FORMER_COUNTRIES = ("BUR", "DDR", "FXX", "TMP", "XKK", "YMD", "ZAR")


@dataclass(frozen=True)
class PhotoTags:
    """What is written about a photo.

    Attributes:
        keywords: Any text; each becomes one line, blank ones and repetitions are left out.
        place: Where it was taken; None: keywords alone.
        probability: Of the landmark, in [0, 1].
        model: Name and digest of the model file that said so.
    """

    keywords: tuple[str, ...]
    place: Place | None
    probability: float
    model: str

    def __post_init__(self) -> None:
        """Refuse a place that cannot be: it would be believed for years."""
        place = self.place
        if place and not (abs(place.latitude) <= 90 and abs(place.longitude) <= 180):
            raise ValueError(f"{place.latitude}, {place.longitude} is not a point on earth")
        clean = dict.fromkeys(clean_text(keyword) for keyword in self.keywords)
        object.__setattr__(self, "keywords", tuple(keyword for keyword in clean if keyword))

    def place_names(self) -> dict[str, str]:
        """City, Country, CountryCode (three letters) and Location, as far as known."""
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
        """What is written, in one line."""
        parts = []
        if self.place is not None:
            parts = [f"position {self.place.latitude:.5f}, {self.place.longitude:.5f}"]
            parts += ["place names" if with_names else "its place names stay"]
        return "; ".join([*parts, f"keywords {', '.join(self.keywords)}"])


def clean_text(text: str) -> str:
    """One line with single spaces, of characters that XML can hold."""
    return UNWRITABLE.sub("", " ".join(text.split())).strip()


@cache
def three_letters() -> dict[str, str]:
    """ISO 3166-1 codes of two letters -> of three letters, which IPTC wants."""
    aliases = get_global("territory_aliases").items()
    codes = {
        new[0]: old
        for old, new in aliases
        if re.fullmatch("[A-Z]{3}", old) and len(new) == 1 and old not in FORMER_COUNTRIES
    }
    return {**codes, "XK": "XKX"}
