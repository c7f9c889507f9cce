"""Write album.html: a map of the photos, a time line, and a list of what does not fit.

Names of files and places are anybody's text. They reach the page as JSON, which its script shows as
text only; a content security policy lets no other script run, and nothing be fetched.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from models.environment import cores
from models.files import atomic, relative_url
from models.model_file.verdict import is_far
from models.photos import PhotoError, read_photo
from models.photos.raw import photo_source
from models.tagging.location import album_verdict, locate, name_place
from models.tagging.table import Row

HERE = Path(__file__).parent
SCRIPTS = (
    "vendor/leaflet.js",
    "vendor/supercluster.min.js",
    "vendor/topojson-client.min.js",
    "map.js",
)
STYLES = ("vendor/leaflet.css", "map.css")
OUTLINES = "vendor/countries-50m.json"
THUMBNAIL_PX = 120  # long side
# 2 kB each: 16 MB, 21 MB as text in the page. Placed photos have the first claim.
MAX_THUMBNAILS = 8_000
RANKS = {None: 0, "none": 1, "maybe": 2, "sure": 3}


def write_map(path: Path, photos: Iterable[tuple[Path, Row]]) -> None:
    """Write the map of an album, whole or not at all.

    Args:
        path: The HTML file. It links the photos relative to its folder, so that both may move.
        photos: Each with its row.
    """
    folder = path.absolute().parent
    records = [(photo, describe(row, relative_url(photo, folder))) for photo, row in photos]
    readable = [(photo, record) for photo, record in records if not record["error"]]
    readable.sort(key=lambda each: each[1]["at"] is None)  # stable: else in the table's order
    del readable[MAX_THUMBNAILS:]
    with ThreadPoolExecutor(cores()) as pool:  # decoders run outside Python's lock
        drawn = pool.map(draw_thumbnail, (photo for photo, _ in readable))
        bar = tqdm(drawn, "drawing the map", len(readable), unit="photo", delay=1)
        try:
            for (_, record), thumbnail in zip(readable, bar, strict=True):
                record["thumbnail"] = thumbnail
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for thousands
            raise
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(_page(path.stem, (record for _, record in records)))


def describe(row: Row, href: str) -> dict[str, Any]:
    """Return what the page shows of a photo, ready for JSON, without a thumbnail.

    Args:
        row: Of the photo.
        href: Relative link to it.
    """
    location = locate(row)
    title, where = name_place(row)
    return {
        "photo": row["photo"],
        "href": href,
        "taken": str(row["taken"] or ""),
        "certainty": location.certainty if location else "unplaced",
        "at": [location.latitude, location.longitude] if location else None,
        "radius_km": location.radius_km if location else None,
        "source": location.source if location else "",
        "title": title,
        "where": where,
        "misfit": find_misfit(row),
        "error": row["error"] or "",
        "thumbnail": "",
    }


def find_misfit(row: Row) -> str:
    """Say why what a photo seems to show cannot be right; blank where nothing speaks against it."""
    name = row["place"] or row["label_1"]
    if is_far(row["distance_km"]):
        return f"was taken {row['distance_km']:,.0f} km from {name}"
    if RANKS[album_verdict(row)] < RANKS[row["verdict"]]:
        return f"{name} does not fit the photos around it"
    return ""


def draw_thumbnail(photo: Path) -> str:
    """Return a small WebP of a photo in base64; blank where it can no longer be read."""
    try:
        image = Image.fromarray(read_photo(photo_source(photo), THUMBNAIL_PX))
    except PhotoError:
        return ""
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    content = io.BytesIO()
    image.save(content, "WEBP", quality=60)
    return base64.b64encode(content.getvalue()).decode()


def _page(title: str, records: Iterable[dict[str, Any]]) -> Iterator[str]:
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    styles = "\n".join((HERE / name).read_text(encoding="utf-8") for name in STYLES)
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    licences = (HERE / "vendor" / "README.txt").read_text(encoding="utf-8")  # go with every copy
    shown = escape(title.encode("utf-8", "backslashreplace").decode())
    yield f"""<!doctype html>
<!--
{licences}-->
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{shown}</title>
<style>{styles}</style>
</head>
<body>
<header><h1>{shown}</h1><div id="kinds" role="group" aria-label="Photos to show"></div></header>
<main><div id="map"></div><aside id="panel" aria-live="polite" hidden></aside></main>
<footer id="time" role="group" aria-label="Time line"></footer>
<script type="application/json" id="world">{_json((HERE / OUTLINES).read_text())}</script>
<script type="application/json" id="photos">["""
    for index, record in enumerate(records):
        yield (",\n" if index else "\n") + _json(json.dumps(record, separators=(",", ":")))
    yield "\n]</script>\n"
    for script in scripts:
        yield f"<script>{script}</script>\n"
    yield "</body>\n</html>\n"


def _json(text: str) -> str:
    """Return JSON that cannot end the element that it is in."""
    return text.replace("<", "\\u003c")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
