"""Show the app inside a notebook: choose a photo, see the verdict and the five best matches."""

import html
import io

import ipywidgets
import numpy as np
from PIL import Image

from models.page.answer_html import write_headline
from models.photos import PhotoError, read_photo
from models.photos.gps import read_position
from models.predictor import Predictor, weigh_position

SIDE_PX = 360
BAR = """<div style="margin:4px 0;min-width:280px"><div style="display:flex;
justify-content:space-between"><span>{label}</span><span>{share:.1%}</span></div>
<div style="height:6px;border-radius:3px;background:#8883"><div style="height:6px;border-radius:3px;
background:#2f6db3;width:{share:.1%}"></div></div></div>"""


class PhotoApp(ipywidgets.VBox):
    """A button to choose a photo, the photo, the verdict on it, and five bars.

    What it shows is saved with the notebook.

    Attributes:
        upload: The button; its value is what was chosen.
        picture: The photo, scaled down.
        answer: The landmarks as HTML, or the reason why the photo cannot be read.
    """

    def __init__(self, predictor: Predictor) -> None:
        """Lay out the parts; predictor answers."""
        self.predictor = predictor
        self.upload = ipywidgets.FileUpload(
            accept="image/*,.heic,.heif,.avif", description="Choose a photo"
        )
        self.picture = ipywidgets.Image(layout={"display": "none"})
        self.answer = ipywidgets.HTML()
        self.upload.observe(self._show_upload, "value")
        row = ipywidgets.HBox([self.picture, self.answer], layout={"align_items": "center"})
        super().__init__([self.upload, row])

    def _show_upload(self, change: dict) -> None:
        """Answer the chosen photo; ipywidgets calls this, also when the choice is cleared."""
        if change["new"]:
            self.classify(bytes(change["new"][0]["content"]))

    def classify(self, content: bytes) -> dict[str, float]:
        """Show a photo and its five best matches.

        Args:
            content: The bytes of the file.

        Returns:
            Label -> probability, best first; empty if the photo cannot be read.
        """
        try:
            # At least as large as the preview, so that one reading serves both.
            image = read_photo(content, max(self.predictor.side_px, SIDE_PX))
            answer = self.predictor.answer(image)
        except PhotoError as error:
            self.picture.layout.display = "none"
            self.answer.value = f"<p>{html.escape(str(error))}</p>"
            return {}
        self.picture.value = encode_preview(image)
        self.picture.layout.display = ""
        place = self.predictor.place(answer.label) if answer.known else None
        answer, away_km = weigh_position(answer, place, read_position(content))
        count, thresholds = len(self.predictor.class_names), self.predictor.thresholds
        level = self.predictor.place_level(answer, away_km)
        headline = write_headline(answer, place, count, thresholds, away_km, level)
        self.answer.value = f'<div role="status">{headline}</div>' + "".join(
            BAR.format(label=html.escape(label), share=share)
            for label, share in answer.probabilities.items()
        )
        return answer.probabilities


def encode_preview(image: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 as a PNG with sides of at most SIDE_PX pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
