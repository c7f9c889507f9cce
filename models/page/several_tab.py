"""Build the tab for several photos: cards, one map, and tables to take away."""

import base64
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import gradio as gr

from models.page.several_html import write_answers
from models.photos import PHOTO_EXTENSIONS, PhotoError, read_photo
from models.sources.served_model import ModelSource
from models.tagging.table import printable, write_table
from models.tagging.tagger import Tagger

THUMBNAIL_PX = 160  # short side, which a card shows twice as large at most
MAX_THUMBNAILS = 500  # 8 kB each: about 4 MB of page
TABLES = {"CSV": ".csv", "GeoJSON": ".geojson", "KML": ".kml"}


def add_several_tab(source: ModelSource) -> None:
    """Add the tab's contents.

    Args:
        source: Each request reads its model once, and so keeps one to its end.
    """

    def show_many(
        paths: list[str] | None,
        progress: Any = gr.Progress(),  # noqa: B008 - how gradio asks for it
    ) -> list[Any]:
        """Return the answers about several photos and their tables; a bad one gets its reason."""
        if not paths:
            return ["", *(gr.update(visible=False) for _ in TABLES)]
        served = source.served
        tagger = Tagger(served.predictor, served.origin and served.origin.version)
        rows, thumbnails = [], []
        for path in progress.tqdm(paths, unit="photo"):
            # Where somebody keeps the tables beside the photos, links lead to them.
            name = printable(Path(path).name)
            rows.append(tagger.tag(path) | {"photo": name, "link": quote(name)})
            is_shown = len(thumbnails) < MAX_THUMBNAILS and not rows[-1]["error"]
            thumbnails.append(draw_thumbnail(path) if is_shown else "")
        folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))
        files = [folder / f"landmarks{extension}" for extension in TABLES.values()]
        for file in files:
            write_table(file, rows)
        downloads = [gr.update(value=str(file), visible=True) for file in files]
        return [write_answers(rows, thumbnails), *downloads]

    files = gr.File(
        label="Photos",
        file_count="multiple",
        type="filepath",
        height=180,
        file_types=["image", *sorted(PHOTO_EXTENSIONS)],
        elem_id="files",
    )
    answers = gr.HTML(elem_id="answers")
    with gr.Row(elem_id="tables"):
        tables = [
            gr.DownloadButton(name, visible=False, elem_id=name.lower(), min_width=90)
            for name in TABLES
        ]
    files.change(
        show_many, files, [answers, *tables], api_visibility="private", concurrency_limit=1
    )


def draw_thumbnail(path: str) -> str:
    """Return a small JPEG of a photo as a data: URL; blank where it can no longer be read."""
    try:
        image = read_photo(path, THUMBNAIL_PX)
    except PhotoError:
        return ""
    scale = THUMBNAIL_PX / min(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
