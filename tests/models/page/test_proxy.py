"""The page behind a proxy that gives it a path of its own: GRADIO_ROOT_PATH."""

import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import sync_playwright

from tests.support.commands import Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.proxy import proxied

CHROMIUM = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
USER = ("me", "secret:word")


@pytest.fixture(scope="module")
def address(toy_model: Path) -> Iterator[str]:
    """Where the page is to be found: under a path, with a login."""
    page = Page(
        "--model", toy_model, "--port", 7960, "--auth", ":".join(USER), GRADIO_ROOT_PATH="/a/page"
    )
    with proxied(page.url, "/a/page") as address:
        yield address
    assert "Traceback" not in page.stop()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    draw_landmark(1, 1).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_programs_reach_the_page_under_its_path(address: str, photo: Path) -> None:
    with urllib.request.urlopen(f"{address}/api", timeout=20) as response:
        assert f"photo=@photo.jpg {address}/api/classify<" in response.read().decode()
    client = Client(address, auth=USER, verbose=False)
    assert client.predict(handle_file(str(photo)), api_name="/classify")["label"] in TOY_CLASSES


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")
def test_browsers_reach_the_page_under_its_path(address: str, photo: Path) -> None:
    """Everything that the page loads, and every answer, lies under the path."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        asked: list[tuple[str, int]] = []
        tab.on("response", lambda answer: asked.append((answer.url, answer.status)))
        tab.goto(f"{address}/")
        tab.locator("input").nth(0).fill(USER[0])
        tab.locator("input").nth(1).fill(USER[1])
        tab.get_by_role("button").last.click()
        tab.locator("#photo input[type=file]").first.set_input_files(photo)
        tab.wait_for_selector("#headline .maybe")
        browser.close()
    assert any("/gradio_api/upload" in url for url, _ in asked)
    assert not [url for url, _ in asked if url.startswith("http") and not url.startswith(address)]
    assert not [entry for entry in asked if entry[1] >= 400]
