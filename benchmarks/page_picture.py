"""Take the picture of the page that the README shows, with a photo that this script draws.

python benchmarks/page_picture.py; needs chromium. Writes models/bundled/page.png.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]


def draw_tower(path: Path) -> None:
    """Draw an iron lattice tower in front of an evening sky, in a few polygons."""
    image = Image.new("RGB", (1200, 900))
    draw = ImageDraw.Draw(image)
    for y in range(900):
        part = y / 900
        colour = (int(110 + 120 * part), int(160 + 40 * part), int(215 - 30 * part))
        draw.line([(0, y), (1200, y)], fill=colour)
    draw.rectangle((0, 780, 1200, 900), fill=(88, 118, 70))
    iron = (92, 72, 58)

    def half_width(y: float) -> float:
        return 8 + 190 * max(0.0, (y - 60) / 740) ** 2.3

    for side in (-1, 1):
        outer = [(600 + side * half_width(y), y) for y in range(60, 801, 10)]
        inner = [(600 + side * half_width(y) * 0.55, y) for y in range(800, 59, -10)]
        draw.polygon(outer + inner, fill=iron)
    for y in range(90, 780, 18):
        width, below = half_width(y), half_width(y + 18)
        draw.line([(600 - width, y), (600 + below, y + 18)], fill=iron, width=4)
        draw.line([(600 + width, y), (600 - below, y + 18)], fill=iron, width=4)
    for y, extra in ((330, 14), (560, 22)):
        width = half_width(y) + extra
        draw.rectangle((600 - width, y - 10, 600 + width, y + 10), fill=iron)
    draw.line([(600, 10), (600, 70)], fill=iron, width=6)
    draw.chord((480, 690, 720, 930), 180, 360, fill=(212, 192, 186))
    draw.rectangle((0, 800, 1200, 900), fill=(88, 118, 70))
    image.filter(ImageFilter.GaussianBlur(1.2)).save(path, quality=92)


def main() -> None:
    """Start the page, upload the drawing, take the picture."""
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = Path(folder) / "tower.jpg"
        draw_tower(photo)
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
            tab = browser.new_page(viewport={"width": 1100, "height": 800})
            tab.goto(f"{url}/?__theme=light")
            tab.set_input_files("#photo input[type=file]", photo)
            tab.wait_for_selector("#place svg", state="attached")  # not if the verdict is none
            if tab.locator("#place summary").count():  # maybe: the map is folded
                tab.click("#place summary")
            tab.wait_for_timeout(1000)  # the bars grow
            tab.screenshot(path=ROOT / "models" / "bundled" / "page.png")
            browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
