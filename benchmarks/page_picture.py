"""Take the picture of the page that the README shows: a sure answer, a maybe and a none.

python benchmarks/page_picture.py; needs chromium. Writes models/bundled/page.png.
"""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
DRAWINGS = ("bridge", "tower", "stones")  # sure, maybe, none: see page_drawings.py
WIDTH, HEIGHT, GAP = 390, 760, 24


def take_picture(browser: Browser, url: str, drawing: str) -> Image.Image:
    """Let the page answer one of its drawings; return what a phone shows."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, has_touch=True)
    tab.goto(f"{url}/?__theme=light")
    tab.get_by_role("button", name=drawing).click()
    tab.wait_for_selector("#headline :is(.sure, .maybe, .none)")
    if tab.locator("#why").is_visible():
        tab.evaluate("document.querySelector('#why input').click()")
    tab.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(tab.screenshot()))
    tab.close()
    return picture


def main() -> None:
    """Start the page, take a picture of each answer, put them side by side."""
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    with sync_playwright() as playwright:
        server = subprocess.Popen(
            [sys.executable, "demo.py", "--port", "7990"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            url = server.stdout.readline().split()[-1]
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            pictures = [take_picture(browser, url, drawing) for drawing in DRAWINGS]
            browser.close()
        finally:
            server.terminate()
            server.wait()
    size = (len(pictures) * (WIDTH + GAP) - GAP, HEIGHT)
    row = Image.new("RGB", size, (255, 255, 255))
    for number, picture in enumerate(pictures):
        row.paste(picture, (number * (WIDTH + GAP), 0))
    row.save(ROOT / "models" / "bundled" / "page.png", optimize=True)


if __name__ == "__main__":
    main()
