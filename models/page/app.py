"""Build the page, and the web application around it."""

import os
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from models.page.about_html import write_footer, write_landmarks
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


def build_page(source: ModelSource) -> gr.Blocks:
    """Build the page as Gradio Blocks.

    Args:
        source: Where the model comes from. Each request reads it once, and so keeps one model to
            its end, even if a newer one arrives meanwhile.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
        footer = gr.HTML(write_footer(source.served), elem_id="about", render=False)
        with gr.Tab("One photo"):
            add_photo_tab(source, footer)
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
            (page.load, lambda: write_footer(source.served), footer),
        ):
            event(write, None, shown, api_visibility="private", show_progress="hidden", queue=False)
    # Gradio makes a session of each call over HTTP and keeps 10,000; nothing here needs one.
    page.state_session_capacity = MAX_SESSIONS
    # api_open=False closes Gradio's direct routes, which bypass the queue and its limits.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
    return page


def build_app(source: ModelSource, auth: tuple[str, str] | None) -> RequestGuard:
    """Build the web application: guard, health endpoint, API and page.

    Args:
        source: Where the model comes from.
        auth: The user and password to ask for; None: everybody may enter.
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
        build_page(source),
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
