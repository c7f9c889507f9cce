"""Build the page, and the web application around it."""

import os
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from models.page.about_html import write_footer, write_landmarks
from models.page.correction_panel import add_corrections
from models.page.corrections import Corrections
from models.page.gradio_import import gr
from models.page.http_api import build_api
from models.page.look import ICON, STATIC, TITLE, LinkCard, build_theme
from models.page.photo_tab import add_classify, add_photo_tab
from models.page.request_guard import RequestGuard
from models.page.several_tab import add_several_tab
from models.photos import MAX_BYTES
from models.sources.served_model import ModelSource

MAX_WAITING = 32  # requests in the queue; further ones are told to try again
MAX_SESSIONS = 200
CSS = Path(__file__).with_name("page.css")


def build_page(source: ModelSource, corrections: Corrections | None) -> gr.Blocks:
    """Build the page as Gradio Blocks.

    Args:
        source: Where the model comes from. Each request reads it once, and so keeps one model to
            its end, even if a newer one arrives meanwhile.
        corrections: Keeps what people say of answers; None: nobody is asked.
    """
    about = partial(write_footer, collects=corrections is not None)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
        footer = gr.HTML(about(source.served), elem_id="about", render=False)
        with gr.Tab("One photo"):
            tab = add_photo_tab(source, footer, about)
            if corrections is not None:
                add_corrections(tab, source, corrections)
        with gr.Tab("Several"):
            add_several_tab(source)
        with gr.Tab(f"{len(source.served.predictor.class_names):,} landmarks") as known:
            landmarks = gr.HTML(elem_id="landmarks")
        footer.render()
        add_classify(source)
        # When asked for, since the map is as large as the rest of the page; a newer model may have
        # arrived from W&B in the meantime.
        for event, write, shown in (
            (known.select, lambda: write_landmarks(source.served.predictor), landmarks),
            (page.load, lambda: about(source.served), footer),
        ):
            event(write, None, shown, api_visibility="private", show_progress="hidden", queue=False)
    # Gradio makes a session of each call over HTTP and keeps 10,000; nothing here needs one.
    page.state_session_capacity = MAX_SESSIONS
    # api_open=False closes Gradio's direct routes, which bypass the queue and its limits.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
    return page


def build_app(
    source: ModelSource, auth: tuple[str, str] | None, collect: Path | None = None
) -> RequestGuard:
    """Build the web application: guard, health endpoint, API and page.

    Args:
        source: Where the model comes from.
        auth: The user and password to ask for; None: everybody may enter.
        collect: The folder that keeps the photos of corrected answers; None: keep none.
    """
    # Relative, for a page under a path; the viewers of the document would load from elsewhere.
    app = FastAPI(
        title=TITLE,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        servers=[{"url": "."}],
    )
    app.include_router(build_api(source))

    @app.get("/health")
    def health() -> dict[str, str]:
        predictor = source.served.predictor
        name = str(predictor.manifest.get("name", "unnamed"))
        return {"status": "ok", "model": name, "digest": predictor.digest}

    # Drawings and icons, which need no password.
    app.mount("/page", StaticFiles(directory=STATIC))
    app = gr.mount_gradio_app(
        app,
        build_page(source, collect and Corrections(collect)),
        "/",
        auth=auth,
        auth_message="Enter your user name and password.",
        max_file_size=MAX_BYTES,
        show_error=False,  # what was not foreseen shows no details
        theme=build_theme(),
        favicon_path=str(ICON),
        pwa=True,
        css_paths=CSS,
        ssr_mode=False,  # it would need Node
        run_history=False,
        footer_links=[],  # its snippets do not work here: see api.html
        enable_monitoring=False,
    )
    return RequestGuard(LinkCard(app), Path(os.environ["GRADIO_TEMP_DIR"]), auth)
