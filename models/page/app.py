"""What the page does, and the web application around it."""

import base64
import html
import os
import tempfile
from pathlib import Path
from typing import Any

# Before gradio is imported: nothing leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import numpy as np
from fastapi import FastAPI
from gradio.components.label import LabelConfidence, LabelData

from models.page.answer_html import write_answers, write_evidence, write_headline, write_place
from models.page.request_guard import CLEAN_EVERY_SECONDS, KEEP_SECONDS, RequestGuard
from models.photos import MAX_BYTES, PHOTO_EXTENSIONS, PhotoError, read_photo
from models.photos.position import read_position
from models.places.landmarks import Place
from models.predictor import Answer, Predictor
from models.sources.served_model import ModelSource, Served
from models.tagging.table import printable, write_table
from models.tagging.tagger import Tagger

MAX_WAITING = 32
MAX_SESSIONS = 200
CSS = Path(__file__).with_name("page.css")


class AnswerData(LabelData):
    """What gradio's Label draws, and beside it what the API tells."""

    known: bool | None = None
    known_score: float | None = None
    place: dict[str, str | float] | None = None

    @classmethod
    def of(cls, answer: Answer, place: Place | None) -> "AnswerData":
        """An answer, and the place of its best label."""
        return cls(
            label=answer.label,
            confidences=[
                LabelConfidence(label=label, confidence=probability)
                for label, probability in answer.probabilities.items()
            ],
            known=answer.known,
            known_score=answer.known_score,
            place=place and place.to_dict(),
        )


def describe_model(served: Served) -> str:
    """One line on which model answers: name, version, source and measured accuracy."""
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
        if (origin.run_url or "").startswith(("https://", "http://")):
            place += f', <a href="{html.escape(origin.run_url)}" target="_blank">its training</a>'
    return (
        f"Model **{name}**, version {predictor.digest[:12]}, from {place} · "
        f"{len(predictor.class_names)} landmarks · {' · '.join(figures) or 'accuracy not measured'}"
    )


def describe_service(served: Served) -> str:
    """The model, what it does with other photos, and how long photos are kept."""
    refuses = (
        "It says when a photo looks like none of them; the threshold lets 19 of 20 photos of known "
        "landmarks pass."
        if served.predictor.manifest["known_threshold"] is not None
        else "It names one of its landmarks for every photo, also where none of them is shown."
    )
    keep = (KEEP_SECONDS + CLEAN_EVERY_SECONDS) // 60
    return (
        f"{describe_model(served)}  \n{refuses} Photos stay on this server, for {keep} minutes at "
        "most, and are then deleted."
    )


def build_page(source: ModelSource) -> gr.Blocks:
    """The Gradio Blocks around a source of models; each request keeps the model it began with."""

    def photo_error(message: str) -> gr.Error:
        """Shown until closed, as HTML, and a file's name is anybody's text; no traceback."""
        return gr.Error(html.escape(message), duration=None, print_exception=False)

    def photo_source(payload: Any) -> str | bytes | None:
        """The upload itself: Image would open it before our reader, and drop its EXIF."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return base64.b64decode(payload.url.partition(",")[2], validate=True)
            except ValueError as error:
                raise photo_error("the data: URL is not valid base64") from error
        return payload.path

    def ask(predictor: Predictor, photo: str | bytes) -> tuple[np.ndarray, Answer, Place | None]:
        """What the model is given, what it says, and the place if it knows the landmark."""
        try:
            image = read_photo(photo, predictor.side_px)
        except PhotoError as error:
            raise photo_error(str(error)) from error
        answer = predictor.answer(image)
        return image, answer, predictor.place(answer.label) if answer.known else None

    def classify(photo: str | bytes | None) -> AnswerData | None:
        """The most likely landmarks of one photo, best first; known says if it is one of them."""
        if photo is None:
            return None
        _, answer, place = ask(source.served.predictor, photo)
        return AnswerData.of(answer, place)

    def show(photo: str | bytes | None) -> tuple[str, AnswerData | None, str, str]:
        """The same for people: headline, bars, place and evidence."""
        if photo is None:
            return "", None, "", ""
        predictor = source.served.predictor
        image, answer, place = ask(predictor, photo)
        return (
            write_headline(answer, place, len(predictor.class_names)),
            AnswerData.of(answer, place),
            write_place(place, read_position(photo)),
            write_evidence(answer, *image.shape[:2]),
        )

    def show_many(
        paths: list[str] | None,
        progress: Any = gr.Progress(),  # noqa: B008 - how gradio asks for it
    ) -> tuple[str, str | None]:
        """A table and a CSV of several photos; a bad one gets its reason, the others go on."""
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
            "# Which landmark is this?\nGive a photo of a landmark and see the most likely ones, "
            "best first.",
            elem_id="title",
        )
        with gr.Tab("One photo"), gr.Row():
            with gr.Column(min_width=300, elem_id="given"):
                photo = gr.Image(
                    label="Photo", type="filepath", image_mode=None, height=380, elem_id="photo",
                    sources=["upload", "webcam", "clipboard"], buttons=["fullscreen"],
                    placeholder="# Drop a photo here\nor click to choose one; "
                    "the webcam and the clipboard are below",
                    # Not mirrored: the flip would reach the model. The rear camera, if any.
                    webcam_options=gr.WebcamOptions(
                        mirror=False,
                        constraints={"video": {"facingMode": {"ideal": "environment"}}},
                    ),
                )  # fmt: skip
                photo.preprocess = photo_source
                evidence = gr.HTML(elem_id="evidence")
                gr.Checkbox(
                    label="Show why", elem_id="why",
                    info="Yellow: what spoke for the best guess. The frame: its strongest part.",
                )  # fmt: skip
            with gr.Column(min_width=300, elem_id="says"):
                with gr.Column(elem_id="verdict"):
                    headline = gr.HTML(
                        elem_id="headline",
                        js_on_load="element.setAttribute('role', 'status')",  # read aloud
                    )
                    answer = gr.Label(
                        label="Most likely landmarks", show_label=False, show_heading=False,
                        container=False, elem_id="answer",
                    )  # fmt: skip
                # Not a subclass of Label: gradio would write a file of stubs beside this one.
                answer.data_model, answer.postprocess = AnswerData, lambda data: data or {}
                place = gr.HTML(elem_id="place")
        with gr.Tab("Several photos"):
            files = gr.File(
                label="Photos", file_count="multiple", type="filepath", height=180,
                file_types=["image", *sorted(PHOTO_EXTENSIONS)], elem_id="files",
            )  # fmt: skip
            table = gr.HTML(elem_id="table")
            download = gr.File(label="All answers as CSV", interactive=False, elem_id="csv")
        footer = gr.Markdown(describe_service(source.served), elem_id="about")
        # One forward pass uses all cores, so more at once would only wait for each other.
        shared = {"concurrency_limit": 2, "concurrency_id": "model"}
        gr.on([], classify, photo, answer, api_name="classify", **shared)
        parts = [headline, answer, place, evidence]
        # What was said of the photo before goes at once, also where the new one cannot be read.
        photo.change(None, None, parts, js="() => ['', {}, '', '']")
        one = photo.change(
            show, photo, parts, api_visibility="private", show_progress_on=answer, **shared
        )
        several = files.change(
            show_many, files, [table, download], api_visibility="private", concurrency_limit=1
        )
        # Another model may have come from W&B meanwhile.
        for event in (page.load, one.then, several.then):
            event(
                lambda: describe_service(source.served), None, footer, api_visibility="private",
                show_progress="hidden", queue=False,
            )  # fmt: skip
    # Each call over HTTP is a session of Gradio, which keeps 10,000; nothing here has state.
    page.state_session_capacity = MAX_SESSIONS
    # Closed: Gradio's direct routes, which pass by the queue and its limits.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
    return page


def build_app(source: ModelSource, auth: tuple[str, str] | None) -> RequestGuard:
    """The web application: guard, health endpoint, page."""
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
        app, build_page(source), "/", auth=auth, max_file_size=MAX_BYTES, show_error=False,
        theme=theme, css_paths=CSS, ssr_mode=False, run_history=False, footer_links=["api"],
        enable_monitoring=False, auth_message="This page asks for a user and a password.",
    )  # fmt: skip
    return RequestGuard(app, Path(os.environ["GRADIO_TEMP_DIR"]))
