"""The page's own head, icon and drawings, which need no password."""

import io
import json
import re
import urllib.error
import urllib.request

import pytest
from PIL import Image

from models.page.look import ICON, STATIC, TITLE, write_head
from models.page.photo_tab import EXAMPLES
from tests.support.commands import Page


def get(page: Page, path: str) -> bytes:
    with urllib.request.urlopen(f"{page.url}/{path}", timeout=20) as response:
        return response.read()


def test_a_link_to_the_page_has_a_card(page: Page) -> None:
    head = get(page, "").decode().partition("</head>")[0]
    tags = dict(re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)"', head))
    assert tags["og:title"] == TITLE
    assert head.count('"og:title"') == head.count('"og:image"') == 1
    assert tags["og:image"] == f"{page.url}/page/card.jpg"
    assert Image.open(io.BytesIO(get(page, "page/card.jpg"))).size == (1200, 630)
    assert "Gradio" not in " ".join(tags.values())


def test_the_page_can_be_installed(page: Page) -> None:
    manifest = json.loads(get(page, "manifest.json"))
    assert manifest["name"] == TITLE
    assert manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        side = int(icon["sizes"].partition("x")[0])
        assert Image.open(io.BytesIO(get(page, icon["src"].lstrip("/")))).size == (side, side)
    assert get(page, "favicon.ico") == ICON.read_bytes()


def test_the_head_says_where_the_page_lies() -> None:
    page = b'<meta charset="utf-8" /><meta property="og:title" content="Gradio" />\n<body>'
    head = write_head(page, "https://example.org/a").decode()
    assert "https://example.org/a/page/card.jpg" in head
    assert "Gradio" not in head
    assert head.endswith("\n<body>")


def test_every_drawing_to_try_is_there() -> None:
    for example in EXAMPLES:
        with Image.open(STATIC / "drawn" / example["file"]) as drawing:
            assert drawing.size == (640, 480)


@pytest.mark.parametrize("path", ["page/../app.py", "page/..%2fapp.py", "page/", "page/drawn"])
def test_only_the_pictures_are_served(page: Page, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(page, path)
    with caught.value:
        assert caught.value.code in (404, 405)
