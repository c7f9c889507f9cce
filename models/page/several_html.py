"""Write the answers about several photos as HTML: a summary, a map, a card for each.

Names of files and labels are anybody's text: everything is escaped.
"""

import html
from collections import Counter

from models.places.world_map import draw_pins
from models.tagging.location import locate, name_place
from models.tagging.table import Row

CHIPS = {"sure": "sure", "maybe": "maybe", "none": "none", None: "not read"}


def write_answers(rows: list[Row], thumbnails: list[str]) -> str:
    """Write the answers in the order of the photos.

    Args:
        rows: From models.tagging.tagger; for a photo that cannot be read, its error is shown.
        thumbnails: Of each, a data: URL, or blank.
    """
    counts = Counter(row["verdict"] for row in rows)
    parts = (f"{counts[verdict]:,} {chip}" for verdict, chip in CHIPS.items() if counts[verdict])
    photos = "1 photo" if len(rows) == 1 else f"{len(rows):,} photos"
    located = [(row, locate(row)) for row in rows]
    pins = [
        (place.latitude, place.longitude, f"{name_place(row)[0] or 'Photo'}: {row['photo']}")
        for row, place in located
        if place is not None
    ]
    cards = "".join(map(_write_card, rows, thumbnails))
    return (
        f'<p role="status">{photos}: {", ".join(parts)}</p>'
        f"{draw_pins(pins) if pins else ''}<ul>{cards}</ul>"
    )


def _write_card(row: Row, thumbnail: str) -> str:
    """Write a card: picture, verdict, what it shows and where, the name of the file."""
    verdict, name = row["verdict"], html.escape(row["photo"])
    picture = f'<img src="{thumbnail}" alt="{name}" loading="lazy">' if thumbnail else "<div></div>"
    title, where = name_place(row)
    share = ""
    if row["error"]:
        title, where = "No answer", row["error"]
    elif verdict == "none":
        title, where = "None of the landmarks", f"Nearest: {row['label_1']}"
    else:
        share = f", {row['probability_1']:.0%}"
    return (
        f'<li>{picture}<div><span class="chip {verdict or "error"}">{CHIPS[verdict]}{share}</span>'
        f"<b>{html.escape(title)}</b><p>{html.escape(where)}</p><small>{name}</small></div></li>"
    )
