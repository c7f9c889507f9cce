"""Give the page its own colours, its icon, and the card that chats and feeds show of its link."""

import html
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Request
from gradio.route_utils import get_root_url

STATIC = Path(__file__).with_name("static")
ICON = STATIC / "icon.png"
TITLE = "Which landmark is this?"
DESCRIPTION = "A photo in; the name of its landmark and its place on the map out."
TERRACOTTA = gr.themes.Color(
    name="terracotta",
    c50="#fdf3ef",
    c100="#fae1d8",
    c200="#f4c1b0",
    c300="#eda58d",
    c400="#e08566",
    c500="#c4512f",
    c600="#a43c26",
    c700="#86301e",
    c800="#6b271a",
    c900="#511f16",
    c950="#2f100b",
)
# Gradio's own tags name Gradio, and its manifest lies outside a path that a proxy gives the page.
OTHERS = re.compile(rb'<meta (?:property="og:|name="twitter:)[^>]*>|<link rel="manifest"[^>]*>')
HEAD = """<meta charset="utf-8" /><title>{title}</title>
<meta name="description" content="{description}" />
<meta property="og:title" content="{title}" /><meta property="og:type" content="website" />
<meta property="og:description" content="{description}" />
<meta property="og:image" content="{root}/page/card.jpg" />
<meta name="twitter:card" content="summary_large_image" />
<meta name="theme-color" content="#a43c26" />
<link rel="icon" href="page/icon.png" /><link rel="apple-touch-icon" href="page/icon.png" />
<link rel="manifest" href="manifest.json" />"""


def build_theme() -> gr.themes.Base:
    """Build the theme: warm paper and terracotta; texts have a contrast of 4.5 or more."""
    return gr.themes.Base(
        primary_hue=TERRACOTTA,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="#faf7f2",
        body_background_fill_dark="#191614",
        body_text_color="#2b2420",
        body_text_color_dark="#f1ebe4",
        body_text_color_subdued="#6b5f56",
        body_text_color_subdued_dark="#b5a89d",
        block_background_fill="#ffffff",
        block_background_fill_dark="#231f1c",
        border_color_primary="#e0d7cc",
        border_color_primary_dark="#453c36",
        color_accent="*primary_600",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="#ffffff",
        checkbox_background_color_selected="*primary_600",
        block_label_text_color="*body_text_color_subdued",
    )


class LinkCard:
    """ASGI middleware that writes title, icon and card into the head of the page's HTML.

    Args:
        app: The ASGI application behind it.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass everything on but the page itself, which is read to its end and changed."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        root = get_root_url(Request(scope), "/", os.environ.get("GRADIO_ROOT_PATH"))
        start, body = {}, b""

        async def collect(message: dict[str, Any]) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                changed = write_head(body, root)
                headers = [h for h in start["headers"] if h[0].lower() != b"content-length"]
                length = (b"content-length", b"%d" % len(changed))
                await send(start | {"headers": [*headers, length]})
                await send({"type": "http.response.body", "body": changed})

        await self.app(scope, receive, collect)


def write_head(page: bytes, root: str) -> bytes:
    """Replace what the head of Gradio's HTML says of Gradio.

    Args:
        page: The HTML.
        root: Address of the page, without a slash at its end: cards need absolute addresses.
    """
    texts = {"title": TITLE, "description": DESCRIPTION, "root": root}
    head = HEAD.format(**{name: html.escape(text) for name, text in texts.items()})
    return OTHERS.sub(b"", page).replace(b'<meta charset="utf-8" />', head.encode(), 1)
