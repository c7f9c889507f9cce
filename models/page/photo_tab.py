"""Build the tab for one photo, and the API that answers the same question."""

import base64
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.components.label import LabelConfidence, LabelData

from models.model_file.verdict import Verdict
from models.page.answer_html import (
    shown_guesses,
    write_bars,
    write_error,
    write_headline,
    write_place,
)
from models.page.photo_svg import write_photo
from models.photos import MAX_BYTES, PHOTO_EXTENSIONS, PhotoError, read_photo
from models.photos.gps import Position, read_position
from models.places.landmarks import Place
from models.predictor import Answer, Predictor, weigh_position
from models.sources.served_model import ModelSource, Served

HERE = Path(__file__).parent
SHOWN_PX = 512  # short side of a photo on the page
# One pass of the network uses all cores, so more at once would only wait for each other.
SHARED = {"concurrency_limit": 2, "concurrency_id": "model"}
EXAMPLES = [
    {"file": f"{name}.jpg", "alt": f"A drawn {name}"}
    for name in ("bridge", "pyramid", "tower", "arch", "dome")
] + [{"file": "stones.jpg", "alt": "Drawn standing stones"}]
# The photo alone on the screen; a click on a bar shows what spoke for it.
ENLARGE = """element.onclick = (event) =>
    event.target.closest(".large") && element.querySelector("svg").requestFullscreen();"""
CHOOSE = """element.onclick = (event) => {
    const why = document.querySelector("#why input");
    if (event.target.name === "guess" && !why.checked) why.click();
}"""
WHY = """<label><input type="checkbox"><span>Show why</span>
<small>Bright: what speaks for it. Frame: the strongest part.</small></label>"""
WAITING = '<div class="waiting"><h2>Reading the photo …</h2><progress></progress></div>'


class AnswerData(LabelData):
    """What gradio's Label draws, and what else the API returns."""

    verdict: Verdict | None = None
    known: bool | None = None
    known_score: float | None = None
    place: dict[str, str | float] | None = None

    @classmethod
    def of(cls, answer: Answer, place: Place | None) -> "AnswerData":
        """Combine an answer and the place of its best label."""
        return cls(
            label=answer.label,
            confidences=[
                LabelConfidence(label=label, confidence=probability)
                for label, probability in answer.probabilities.items()
            ],
            verdict=answer.verdict,
            known=answer.known,
            known_score=answer.known_score,
            place=place and place.to_dict(),
        )


class Asked(NamedTuple):
    """What is known of a photo.

    Attributes:
        answer: The model's, in the light of the position.
        place: Of the best label, where the verdict is not none.
        position: From the photo's own GPS data.
        away_km: From there to the place.
    """

    answer: Answer
    place: Place | None
    position: Position | None
    away_km: float | None


class PhotoTab(NamedTuple):
    """What other parts of the page build on.

    Attributes:
        photo: Its value is the path of the photo that was given.
        says: The column of the answer.
        answered: The event that has answered a photo.
    """

    photo: gr.HTML
    says: gr.Column
    answered: Any


def ask(predictor: Predictor, photo: str | bytes) -> Asked:
    """Answer a photo, in doubt if it was taken far from the landmark.

    Args:
        predictor: Answers.
        photo: A path, or the bytes of a file.

    Raises:
        PhotoError: It cannot be read.
    """
    answer, position = predictor.answer(photo), read_position(photo)
    place = predictor.place(answer.label) if answer.known else None
    answer, away_km = weigh_position(answer, place, position)
    return Asked(answer, place, position, away_km)


def add_classify(source: ModelSource) -> None:
    """Add /classify, the only endpoint that the API shows; its components are not on the page."""

    def photo_source(payload: Any) -> str | bytes | None:
        """Return the upload itself; gr.Image would open it first, and drop its EXIF data."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return base64.b64decode(payload.url.partition(",")[2], validate=True)
            except ValueError as error:
                raise _as_error("the data: URL is not valid base64") from error
        return payload.path

    def classify(photo: str | bytes | None) -> AnswerData | None:
        """Return the five best matches; verdict says if the photo shows a known landmark at all."""
        if photo is None:
            return None
        try:
            asked = ask(source.served.predictor, photo)
        except PhotoError as error:
            raise _as_error(str(error)) from error
        return AnswerData.of(asked.answer, asked.place)

    photo = gr.Image(label="Photo", type="filepath", image_mode=None, visible=False)
    photo.preprocess = photo_source
    answer = gr.Label(label="Most likely landmarks", visible=False)
    # Not a subclass of Label: gradio would write a file of stubs beside this one.
    answer.data_model, answer.postprocess = AnswerData, lambda data: data or {}
    gr.on([], classify, photo, answer, api_name="classify", **SHARED)


def _as_error(message: str) -> gr.Error:
    """Make an error without a traceback; gradio shows it as HTML, with the name of the file."""
    return gr.Error(html.escape(message), print_exception=False)


def find_path(payload: Any) -> str | None:
    """Return the path of the upload; the guard has refused any that is not one."""
    path = payload.get("path") if isinstance(payload, dict) else None
    return path if isinstance(path, str) else None


def add_photo_tab(source: ModelSource, footer: gr.HTML, about: Callable[[Served], str]) -> PhotoTab:
    """Add the tab's contents.

    Args:
        source: Each request reads its model once, and so keeps one to its end, even if a newer one
            arrives meanwhile.
        footer: Written again with each answer: a newer model may have arrived.
        about: Writes it.
    """

    def show(photo: str | None) -> tuple[str, str, str, str, str]:
        """Return photo, headline, bars, place and footer; an error instead of a headline."""
        served = source.served
        predictor = served.predictor
        if photo is None:  # only a program sends nothing
            return "", "", "", "", about(served)
        try:
            asked = ask(predictor, photo)
            # Again and larger, to be sharp on the page; the network gets what /classify gives it.
            image = read_photo(photo, SHOWN_PX)
        except PhotoError as error:
            return "", write_error(str(error)), "", "", about(served)
        answer, place, position, away_km = asked
        places = {label: predictor.place(label) for label in shown_guesses(answer)}
        names = {label: found.name if found else label for label, found in places.items()}
        count, thresholds = len(predictor.class_names), predictor.thresholds
        level = predictor.place_level(answer, away_km)
        return (
            write_photo(image, answer, list(names.values())),
            write_headline(answer, place, count, thresholds, away_km, level),
            write_bars(answer, names),
            write_place(answer, place, position),
            about(served),
        )

    with gr.Row(elem_id="one"):
        with gr.Column(min_width=300, elem_id="given"):
            shown = gr.HTML(elem_id="shown", js_on_load=ENLARGE)
            photo = gr.HTML(
                html_template=(HERE / "photo_input.html").read_text(encoding="utf-8"),
                js_on_load=(HERE / "photo_input.js").read_text(encoding="utf-8"),
                elem_id="photo",
                accept=",".join(["image/*", *sorted(PHOTO_EXTENSIONS)]),
                examples=EXAMPLES,
                max_bytes=MAX_BYTES,
                too_heavy=f"It is over {MAX_BYTES // 10**6} MB; make it smaller and try again.",
            )
        with gr.Column(min_width=300, elem_id="says") as says:
            with gr.Column(elem_id="verdict"):
                headline = gr.HTML(
                    elem_id="headline",
                    js_on_load="element.setAttribute('role', 'status')",  # read aloud
                )
                bars = gr.HTML(elem_id="answer", js_on_load=CHOOSE)
                gr.HTML(WHY, elem_id="why")
            place = gr.HTML(elem_id="place")
    photo.preprocess = find_path
    parts = [shown, headline, bars, place]
    # In the browser, so at once: the previous answer goes even if the new photo is unreadable.
    photo.input(None, None, parts, js=f"() => ['', {WAITING!r}, '', '']")
    reason = "${document.querySelector('[data-problem]').dataset.problem}"
    refused = write_error("REASON").replace("REASON", reason)
    photo.clear(None, None, parts, js=f"() => ['', `{refused}`, '', '']")
    answered = photo.upload(
        show,
        photo,
        [*parts, footer],
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="always_last",
        **SHARED,
    )
    lost = write_error("The page did not answer; choose the photo again.")
    answered.failure(None, None, parts, js=f"() => ['', {lost!r}, '', '']")
    return PhotoTab(photo, says, answered)
