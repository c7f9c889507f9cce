"""Build the HTML that reports share: one page with its pictures inside, which needs no network."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from models.photos import read_photo

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
img { max-width: 100%; } table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0;
text-align: left; vertical-align: top; } .row { display: flex; flex-wrap: wrap; gap: 8px; }
figure { margin: 0; width: 130px; font-size: 12px; overflow-wrap: anywhere; }
.gone { opacity: .55; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } }
"""


def embed(data: bytes, kind: str, text: str = "") -> str:
    """Return an <img> with a file inside; the text says what it shows."""
    coded = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/{kind};base64,{coded}">'


def encode_image(image: Image.Image) -> str:
    """Return an <img> with the image inside, as a JPEG."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=82)
    return embed(buffer.getvalue(), "jpeg")


def encode_figure(figure: Figure) -> str:
    """Return an <img> with the figure inside, as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return embed(buffer.getvalue(), "png")


def show_image(image: np.ndarray, caption: str, kind: str = "") -> str:
    """Return a thumbnail of (H, W, 3) uint8 with its caption; the kind is a CSS class."""
    picture = Image.fromarray(image)
    picture.thumbnail((130, 130))  # a report of hundreds of photos stays at a few megabytes
    named = f' class="{kind}"' if kind else ""
    return f"<figure{named}>{encode_image(picture)}<br>{html.escape(caption)}</figure>"


def show_photo(path: Path, caption: str, kind: str = "") -> str:
    """Return a thumbnail of a photo with its caption.

    Raises:
        PhotoError: The photo cannot be read.
    """
    return show_image(read_photo(path, 130), caption, kind)


def show_figure(png: bytes, text: str, style: str = "figure") -> str:
    """Return a figure on white that scrolls where it is too wide; the text says what it shows."""
    return f'<div class="scroll {style}">{embed(png, "png", text)}</div>'


# Labels and file names in these texts may come from a model file or photos of anybody.
def bullets(lines: list[str]) -> str:
    """Return a list of lines of text."""
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table of text; cells are aligned right, but for the first of each row."""
    lines = [f"<tr><th>{'<th>'.join(html.escape(each) for each in head)}</tr></thead><tbody>"]
    lines += [f"<tr><td>{'<td>'.join(html.escape(each) for each in row)}</tr>" for row in rows]
    return f'<div class="scroll"><table class="right"><thead>{"".join(lines)}</table></div>'


def write_page(path: Path, title: str, parts: Sequence[str], style: str = "") -> None:
    """Write a page.

    Args:
        path: The .html file.
        title: The window's title, plain text.
        parts: HTML of the body, in order; text in it is escaped already.
        style: CSS after that of all reports.
    """
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style>"
    )
    path.write_text(head + "\n".join(parts), encoding="utf-8")
