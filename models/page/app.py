"""Build the page, and the web application around it."""

import base64
import html
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI

from models.model_file.verdict import Verdict
from models.page.answer_html import (
    describe_refusals,
    weigh_position,
    write_answers,
    write_evidence,
    write_headline,
    write_place,
)
from models.page.gradio_import import LabelConfidence, LabelData, gr
from models.page.request_guard import CLEAN_EVERY_SECONDS, KEEP_SECONDS, RequestGuard
from models.photos import MAX_BYTES, PHOTO_EXTENSIONS, PhotoError, read_photo
from models.photos.gps import Position, read_position
from models.places.landmarks import Place
from models.predictor import Answer, Predictor
from models.sources.served_model import ModelSource, Served
from models.tagging.table import printable, write_table
from models.tagging.tagger import Tagger

MAX_WAITING = 32  # requests in the queue; further ones are told to try again
MAX_SESSIONS = 200
CSS = Path(__file__).with_name("page.css")


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
        image: (H, W, 3) uint8, as read.
        answer: The model's, in the light of the position.
        place: Of the best label, where the verdict is not none.
        position: From the photo's own GPS data.
        away_km: From there to the place.
    """

    image: np.ndarray
    answer: Answer
    place: Place | None
    position: Position | None
    away_km: float | None


def describe_model(served: Served) -> str:
    """Describe in one line which model answers: name, version, source and measured accuracy."""
    predictor, origin = served.predictor, served.origin
    manifest, metrics = predictor.manifest, predictor.manifest.get("metrics", {})
    figures = []
    for part, name in (("val", "validation"), ("test", "test")):
        if f"{part}/top1" in metrics:
            top1, top5 = metrics[f"{part}/top1"], metrics[f"{part}/top5"]
            count = metrics[f"{part}/photos"]
            figures.append(f"{name} top-1 {top1:.1%}, top-5 {top5:.1%} ({count:,} photos)")
    name = html.escape(str(manifest.get("name", "unnamed")))
    place = html.escape(f"{predictor.path.parent.name}/{predictor.path.name}")
    if origin is not None:
        place = html.escape(f"W&B {origin.name} ({origin.version})")
        # Checked: an address from elsewhere could be a javascript: one.
        if (origin.run_url or "").startswith(("https://", "http://")):
            place += f', <a href="{html.escape(origin.run_url)}" target="_blank">its training</a>'
    return (
        f"Model **{name}**, version {predictor.digest[:12]}, from {place} · "
        f"{len(predictor.class_names)} landmarks · {' · '.join(figures) or 'accuracy not measured'}"
    )


def describe_service(served: Served) -> str:
    """Describe the model, what it does with other photos, and how long photos are kept."""
    refuses = describe_refusals(served.predictor.thresholds)
    keep = (KEEP_SECONDS + CLEAN_EVERY_SECONDS) // 60
    return (
        f"{describe_model(served)}  \n{refuses} Photos stay on this server and are deleted within "
        f"{keep} minutes."
    )


def build_page(source: ModelSource) -> gr.Blocks:
    """Build the page as Gradio Blocks.

    Args:
        source: Where the model comes from. Each request reads it once, and so keeps one model to
            its end, even if a newer one arrives meanwhile.
    """

    def photo_error(message: str) -> gr.Error:
        """Make the error that is shown until closed, without a traceback.

        Gradio shows it as HTML, and it may quote a file's name, which is anybody's text.
        """
        return gr.Error(html.escape(message), duration=None, print_exception=False)

    def photo_source(payload: Any) -> str | bytes | None:
        """Return the upload itself; gr.Image would open it first, and drop its EXIF data."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return base64.b64decode(payload.url.partition(",")[2], validate=True)
            except ValueError as error:
                raise photo_error("the data: URL is not valid base64") from error
        return payload.path

    def ask(predictor: Predictor, photo: str | bytes) -> Asked:
        """Answer a photo, in doubt if it was taken far from the landmark."""
        try:
            image = read_photo(photo, predictor.side_px)
        except PhotoError as error:
            raise photo_error(str(error)) from error
        answer, position = predictor.answer(image), read_position(photo)
        place = predictor.place(answer.label) if answer.known else None
        answer, away_km = weigh_position(answer, place, position)
        return Asked(image, answer, place, position, away_km)

    def classify(photo: str | bytes | None) -> AnswerData | None:
        """Return the five best matches; verdict says if the photo shows a known landmark at all."""
        if photo is None:
            return None
        asked = ask(source.served.predictor, photo)
        return AnswerData.of(asked.answer, asked.place)

    def show(photo: str | bytes | None) -> tuple[str, AnswerData | None, str, str]:
        """Return the same for people: headline, bars, place and evidence."""
        if photo is None:
            return "", None, "", ""
        predictor = source.served.predictor
        image, answer, place, position, away_km = ask(predictor, photo)
        count, thresholds = len(predictor.class_names), predictor.thresholds
        return (
            write_headline(answer, place, count, thresholds, away_km),
            AnswerData.of(answer, place),
            write_place(answer, place, position),
            write_evidence(answer, *image.shape[:2]),
        )

    def show_many(
        paths: list[str] | None,
        progress: Any = gr.Progress(),  # noqa: B008 - how gradio asks for it
    ) -> tuple[str, str | None]:
        """Return a table and a CSV of several photos; a bad one gets the reason why in its row."""
        if not paths:
            return "", None
        served = source.served
        tagger = Tagger(served.predictor, served.origin and served.origin.version)
        rows = [
            tagger.tag(path) | {"photo": printable(Path(path).name)}
            for path in progress.tqdm(paths, unit="photo")
        ]
        file = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"])) / "landmarks.csv"
        write_table(file, rows)
        return write_answers(rows), str(file)

    with gr.Blocks(title="Landmarks", analytics_enabled=False) as page:
        gr.Markdown(
            "# Which landmark is this?\nUpload a photo of a landmark to see the five best matches.",
            elem_id="title",
        )
        with gr.Tab("One photo"), gr.Row():
            with gr.Column(min_width=300, elem_id="given"):
                photo = gr.Image(
                    label="Photo",
                    type="filepath",
                    image_mode=None,  # as it is: no conversion before our own reader
                    height=380,
                    elem_id="photo",
                    sources=["upload", "webcam", "clipboard"],
                    buttons=["fullscreen"],
                    placeholder="# Drop a photo here\nor click to choose one; "
                    "webcam and clipboard are below",
                    # Not mirrored: the model would see the mirror image. A phone's rear camera
                    # faces the landmark.
                    webcam_options=gr.WebcamOptions(
                        mirror=False,
                        constraints={"video": {"facingMode": {"ideal": "environment"}}},
                    ),
                )
                photo.preprocess = photo_source
                evidence = gr.HTML(elem_id="evidence")
                gr.Checkbox(
                    label="Show why",
                    elem_id="why",
                    info="Yellow: what supports the best match. Frame: the strongest evidence.",
                )
            with gr.Column(min_width=300, elem_id="says"):
                with gr.Column(elem_id="verdict"):
                    headline = gr.HTML(
                        elem_id="headline",
                        js_on_load="element.setAttribute('role', 'status')",  # read aloud
                    )
                    answer = gr.Label(
                        label="Most likely landmarks",
                        show_label=False,
                        show_heading=False,
                        container=False,
                        elem_id="answer",
                    )
                # Not a subclass of Label: gradio would write a file of stubs beside this one.
                answer.data_model, answer.postprocess = AnswerData, lambda data: data or {}
                place = gr.HTML(elem_id="place")
        with gr.Tab("Several photos"):
            files = gr.File(
                label="Photos",
                file_count="multiple",
                type="filepath",
                height=180,
                file_types=["image", *sorted(PHOTO_EXTENSIONS)],
                elem_id="files",
            )
            table = gr.HTML(elem_id="table")
            download = gr.File(label="All answers as CSV", interactive=False, elem_id="csv")
        footer = gr.Markdown(describe_service(source.served), elem_id="about")
        # One pass of the network uses all cores, so more at once would only wait for each other.
        shared = {"concurrency_limit": 2, "concurrency_id": "model"}
        # Without a trigger: this is the API, and the only endpoint that it shows.
        gr.on([], classify, photo, answer, api_name="classify", **shared)
        parts = [headline, answer, place, evidence]
        # In the browser, so at once: the previous answer goes even if the new photo is unreadable.
        photo.change(None, None, parts, js="() => ['', {}, '', '']")
        one = photo.change(
            show, photo, parts, api_visibility="private", show_progress_on=answer, **shared
        )
        several = files.change(
            show_many, files, [table, download], api_visibility="private", concurrency_limit=1
        )
        # A newer model may have arrived from W&B in the meantime.
        for event in (page.load, one.then, several.then):
            event(
                lambda: describe_service(source.served),
                None,
                footer,
                api_visibility="private",
                show_progress="hidden",
                queue=False,
            )
    # Gradio makes a session of each call over HTTP and keeps 10,000; nothing here needs one.
    page.state_session_capacity = MAX_SESSIONS
    # api_open=False closes Gradio's direct routes, which bypass the queue and its limits.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
    return page


def build_app(source: ModelSource, auth: tuple[str, str] | None) -> RequestGuard:
    """Build the web application: guard, health endpoint and page.

    Args:
        source: Where the model comes from.
        auth: The user and password to ask for; None: everybody may enter.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        predictor = source.served.predictor
        name = str(predictor.manifest.get("name", "unnamed"))
        return {"status": "ok", "model": name, "digest": predictor.digest}

    theme = gr.themes.Soft(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    app = gr.mount_gradio_app(
        app,
        build_page(source),
        "/",
        auth=auth,
        auth_message="Enter your user name and password.",
        max_file_size=MAX_BYTES,
        show_error=False,  # what was not foreseen shows no details
        theme=theme,
        css_paths=CSS,
        ssr_mode=False,  # it would need Node
        run_history=False,
        footer_links=["api"],
        enable_monitoring=False,
    )
    return RequestGuard(app, Path(os.environ["GRADIO_TEMP_DIR"]))
