"""What the page shows and does, and the web application around it."""

import base64
import csv
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
from fastapi import FastAPI

from models.guard import RequestGuard
from models.photos import MAX_BYTES, PHOTO_EXTENSIONS, PhotoError
from models.source import ModelSource, Served

KEEP_SECONDS = 600
CLEAN_EVERY_SECONDS = 60
MAX_WAITING = 32
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#title h1 { font-size: 1.7rem; margin-bottom: .1rem; }
#title p, #about p { color: var(--body-text-color-subdued); }
#about p { font-size: .85rem; line-height: 1.5; }
#answer { min-height: 380px; }
#answer * { font-family: var(--font); }
#answer .output-class { padding-top: 2.2rem; }
"""


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


def build_page(source: ModelSource) -> gr.Blocks:
    """The Gradio Blocks around a source of models; each request keeps the model it began with."""

    def photo_error(message: str) -> gr.Error:
        """Shown as HTML, and a file's name is anybody's text; no traceback on the console."""
        return gr.Error(html.escape(message), print_exception=False)

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

    def classify(photo: str | bytes | None) -> dict[str, float] | None:
        """The most likely landmarks of one photo, best first."""
        if photo is None:
            return None
        try:
            return source.served.predictor.classify(photo)
        except PhotoError as error:
            raise photo_error(str(error)) from error

    def classify_many(
        paths: list[str] | None,
        progress: Any = gr.Progress(),  # noqa: B008 - how gradio asks for it
    ) -> tuple[list[list[str]], str | None]:
        """A table and a CSV of several photos; a bad one gets its reason, the others go on."""
        if not paths:
            return [], None
        predictor = source.served.predictor
        count = min(5, len(predictor.class_names))
        rows, table = [], []
        for path in progress.tqdm(paths, unit="photo"):
            name = Path(path).name
            try:
                answer, error = list(predictor.classify(path).items()), ""
            except PhotoError as problem:
                answer, error = [], str(problem)
            best = f"{answer[0][1]:.0%}" if answer else ""
            table.append([name, answer[0][0] if answer else error, best])
            padded = answer + [("", "")] * (count - len(answer))
            rows.append([name, *(cell for pair in padded for cell in pair), error])
        header = ["photo"] + [f"{what}_{i}" for i in range(1, count + 1) for what in
                              ("label", "probability")] + ["error"]  # fmt: skip
        folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))
        with (folder / "landmarks.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        return table, str(folder / "landmarks.csv")

    def about() -> str:
        keep = (KEEP_SECONDS + CLEAN_EVERY_SECONDS) // 60
        return (
            f"{describe_model(source.served)}  \nPhotos stay on this server, for {keep} minutes at "
            "most, and are then deleted. It names one of its landmarks for every photo, also "
            "where none of them is shown."
        )

    with gr.Blocks(
        title="Landmarks", analytics_enabled=False, delete_cache=(CLEAN_EVERY_SECONDS, KEEP_SECONDS)
    ) as page:
        gr.Markdown(
            "# Which landmark is this?\nGive a photo of a landmark and see the most likely ones, "
            "best first.",
            elem_id="title",
        )
        with gr.Tab("One photo"), gr.Row():
            photo = gr.Image(
                label="Photo", type="filepath", image_mode=None, height=380, elem_id="photo",
                sources=["upload", "webcam", "clipboard"], buttons=["fullscreen"],
                placeholder="# Drop a photo here\nor click to choose one; "
                "the webcam and the clipboard are below",
                # Not mirrored: the flip would reach the model. The rear camera, where there is one.
                webcam_options=gr.WebcamOptions(
                    mirror=False, constraints={"video": {"facingMode": {"ideal": "environment"}}}
                ),
            )  # fmt: skip
            photo.preprocess = photo_source
            answer = gr.Label(label="Most likely landmarks", num_top_classes=5, elem_id="answer")
        with gr.Tab("Several photos"):
            files = gr.File(
                label="Photos", file_count="multiple", type="filepath", height=180,
                file_types=["image", *sorted(PHOTO_EXTENSIONS)], elem_id="files",
            )  # fmt: skip
            table = gr.Dataframe(
                headers=["Photo", "Landmark", "Probability"], interactive=False, wrap=True,
                elem_id="table",
            )  # fmt: skip
            download = gr.File(label="All answers as CSV", interactive=False, elem_id="csv")
        footer = gr.Markdown(about(), elem_id="about")
        # One forward pass uses all cores, so more at once would only wait for each other.
        one = photo.change(classify, photo, answer, api_name="classify", concurrency_limit=2)
        several = files.change(
            classify_many, files, [table, download], api_visibility="private", concurrency_limit=1
        )
        # Another model may have come from W&B meanwhile.
        for event in (page.load, one.then, several.then):
            event(
                about, None, footer, api_visibility="private", show_progress="hidden", queue=False
            )
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2)
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
        theme=theme, css=CSS, ssr_mode=False, run_history=False, footer_links=["api"],
        enable_monitoring=False, auth_message="This page asks for a user and a password.",
    )  # fmt: skip
    return RequestGuard(app, Path(os.environ["GRADIO_TEMP_DIR"]))
