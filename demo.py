"""The page: a photo in, the five most likely landmarks out. python demo.py --help."""

import os

# Before gradio is imported: nothing leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import base64
import csv
import html
import signal
import sys
import tempfile
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from models.listen import PageError, listen, open_share_link, upload_folder

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


@dataclass(frozen=True)
class PageConfig:
    """Tell which landmark is in a photo, on a web page."""

    model: Path | None = None
    """A model file or a run folder (runs/ID); none: the bundled model."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """The next free port is taken when this one is in use."""
    share: bool = False
    """Also offer a public link, through Gradio's servers."""
    auth: str | None = None
    """user:password to ask for (or set LANDMARKS_AUTH, which other users of the machine cannot
    see in the process list)."""
    ssl_certfile: Path | None = None
    """Serve https with this certificate (PEM); a browser gives other machines no webcam without."""
    ssl_keyfile: Path | None = None
    """The certificate's key (PEM)."""


def check_config(config: PageConfig) -> tuple[str, str] | None:
    """The (user, password) asked for, if any.

    Raises:
        PageError: For what would fail later with a traceback.
    """
    if not 0 < config.port < 65536:
        raise PageError(f"--port {config.port} is not between 1 and 65535")
    for flag, path in (("certfile", config.ssl_certfile), ("keyfile", config.ssl_keyfile)):
        if path is not None and not path.is_file():
            raise PageError(f"no file at --ssl-{flag} {path}")
    if (config.ssl_certfile is None) != (config.ssl_keyfile is None):
        raise PageError("--ssl-certfile and --ssl-keyfile go together")
    auth = config.auth or os.environ.get("LANDMARKS_AUTH")
    if not auth:
        return None
    user, _, password = auth.partition(":")
    if not user or not password:
        raise PageError("--auth (or LANDMARKS_AUTH) must look like user:password")
    return user, password


def describe_model(predictor: Any) -> str:
    """One line on which model answers: name, version, source and measured accuracy."""
    manifest, metrics = predictor.manifest, predictor.manifest.get("metrics", {})
    figures = []
    for part, name in (("val", "validation"), ("test", "test")):
        if f"{part}/top1" in metrics:
            top1, top5 = metrics[f"{part}/top1"], metrics[f"{part}/top5"]
            count = metrics[f"{part}/photos"]
            figures.append(f"{name} top-1 {top1:.1%}, top-5 {top5:.1%} ({count:,} photos)")
    name = html.escape(str(manifest.get("name", "unnamed")))
    return (
        f"Model **{name}**, version {predictor.digest[:12]}, from "
        f"{html.escape(predictor.path.parent.name)}/{html.escape(predictor.path.name)} · "
        f"{len(predictor.class_names)} landmarks · {' · '.join(figures) or 'accuracy not measured'}"
    )


def build_page(predictor: Any) -> Any:
    """The Gradio Blocks around a loaded predictor."""
    import gradio as gr

    from models.photos import PHOTO_EXTENSIONS, PhotoError

    count = min(5, len(predictor.class_names))

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
            return predictor.classify(photo, count)
        except PhotoError as error:
            raise photo_error(str(error)) from error

    def classify_many(
        paths: list[str] | None,
        progress: Any = gr.Progress(),  # noqa: B008 - how gradio asks for it
    ) -> tuple[list[list[str]], str | None]:
        """A table and a CSV of several photos; a bad one gets its reason, the others go on."""
        if not paths:
            return [], None
        rows, table = [], []
        for path in progress.tqdm(paths, unit="photo"):
            name = Path(path).name
            try:
                answer, error = list(predictor.classify(path, count).items()), ""
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

    with gr.Blocks(
        title="Landmarks", analytics_enabled=False, delete_cache=(CLEAN_EVERY_SECONDS, KEEP_SECONDS)
    ) as page:
        gr.Markdown(
            f"# Which landmark is this?\nGive a photo of one of {len(predictor.class_names)} "
            "landmarks and see the most likely ones, best first.",
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
            answer = gr.Label(
                label="Most likely landmarks", num_top_classes=count, elem_id="answer"
            )
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
        keep = (KEEP_SECONDS + CLEAN_EVERY_SECONDS) // 60
        gr.Markdown(
            f"{describe_model(predictor)}  \nPhotos stay on this server, for {keep} minutes at "
            "most, and are then deleted. It names one of its landmarks for every photo, also "
            "where none of them is shown.",
            elem_id="about",
        )
        # One forward pass uses all cores, so more at once would only wait for each other.
        photo.change(classify, photo, answer, api_name="classify", concurrency_limit=2)
        files.change(
            classify_many, files, [table, download], api_visibility="private", concurrency_limit=1
        )
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2)
    return page


def build_app(predictor: Any, auth: tuple[str, str] | None) -> Any:
    """The web application: guard, health endpoint, page."""
    import gradio as gr
    from fastapi import FastAPI

    from models.guard import RequestGuard
    from models.photos import MAX_BYTES

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        name = str(predictor.manifest.get("name", "unnamed"))
        return {"status": "ok", "model": name, "digest": predictor.digest}

    theme = gr.themes.Soft(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    app = gr.mount_gradio_app(
        app, build_page(predictor), "/", auth=auth, max_file_size=MAX_BYTES, show_error=False,
        theme=theme, css=CSS, ssr_mode=False, run_history=False, footer_links=["api"],
        enable_monitoring=False, auth_message="This page asks for a user and a password.",
    )  # fmt: skip
    return RequestGuard(app, Path(os.environ["GRADIO_TEMP_DIR"]))


def show_in_browser(url: str) -> None:
    """Open the page where somebody sits in front of a screen."""
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY")
    if sys.stdout.isatty() and screen:
        threading.Timer(1.0, webbrowser.open, [url]).start()


def serve(config: PageConfig) -> None:
    """Load the model, open the page, and stay until Ctrl-C or SIGTERM."""
    auth = check_config(config)
    from models.predictor import Predictor
    from models.source import find_model

    predictor = Predictor.load(find_model(config.model))
    with listen(config.host, config.port) as server:
        import uvicorn

        port = server.getsockname()[1]
        settings = uvicorn.Config(
            build_app(predictor, auth), log_level="warning", timeout_graceful_shutdown=3,
            ssl_certfile=config.ssl_certfile, ssl_keyfile=config.ssl_keyfile,
        )  # fmt: skip
        scheme = "https" if config.ssl_certfile else "http"
        shown = f"[{config.host}]" if ":" in config.host else config.host
        print(f"Landmarks is open at {scheme}://{shown}:{port}", flush=True)
        if scheme == "http" and config.host not in ("127.0.0.1", "localhost", "::1"):
            print(
                "hint: over plain http a browser gives other machines no webcam; "
                "use --ssl-certfile and --ssl-keyfile"
            )
        show_in_browser(f"{scheme}://{shown}:{port}")
        if config.share:
            threading.Thread(target=open_share_link, args=(port,), daemon=True).start()
        # uvicorn stops cleanly and then raises the signal again, for us to end with status 0.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        uvicorn.Server(settings).run(sockets=[server])


def main(config: PageConfig) -> int:
    """Open the page."""
    from models.predictor import ModelFileError

    try:
        with upload_folder():
            serve(config)
    except (PageError, ModelFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(PageConfig)))
