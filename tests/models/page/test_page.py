"""The page in a real browser: upload, clipboard, webcam, several photos, bad photos.

One page and one browser serve all tests; each test has a tab of its own.
"""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Dialog, sync_playwright
from playwright.sync_api import Page as Tab

from models.predictor import Predictor
from tests.support.bad_photos import encode
from tests.support.commands import Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.page_client import ONE_OF_EACH_KIND
from tests.support.placed_model import (
    HOSTILE,
    HOSTILE_PLACE,
    Judged,
    rename_classes,
    save_placed_model,
    with_position,
)

CHROMIUM = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
LABEL_ROWS = "#answer .bar"
PHOTO_INPUT = "#photo input[type=file] >> nth=0"
# What the webcam sees: of all pairs of plain colours, the model tells these from their mirror image
# most clearly.
HALVES = Image.new("RGB", (640, 480), "blue")
HALVES.paste("lime", (320, 0, 640, 480))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    film.write_bytes(encode(HALVES, "JPEG") * 10)
    camera = f"--use-file-for-fake-video-capture={film}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, camera])
        yield browser
        browser.close()


class Watched:
    """A tab that notes every console error and every request off this machine."""

    def __init__(self, browser: Browser, url: str, theme: str = "light", **options: object) -> None:
        self.context = browser.new_context(**options)
        self.tab: Tab = self.context.new_page()
        self.problems: list[str] = []
        self.tab.on("console", lambda m: m.type == "error" and self.problems.append(m.text))
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("dialog", self._refuse)
        self.tab.on("request", lambda request: self._check(request.url))
        self.tab.goto(f"{url}/?__theme={theme}")
        self.tab.wait_for_selector("#photo")

    def _check(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "ws://127.0.0.1:")):
            self.problems.append(f"request to {url}")

    def _refuse(self, dialog: Dialog) -> None:
        self.problems.append(f"a script ran: {dialog.message}")
        dialog.dismiss()

    def labels(self) -> list[str]:
        self.tab.wait_for_selector(LABEL_ROWS, timeout=15_000)
        return [row.inner_text() for row in self.tab.query_selector_all(f"{LABEL_ROWS} span")]

    def give(self, name: str, content: bytes) -> None:
        """Choose a photo; returns when it was uploaded and its answer is on the way."""
        with self.tab.expect_request("**/queue/join*"):
            self.tab.set_input_files(
                PHOTO_INPUT,
                {"name": name, "mimeType": "image/jpeg", "buffer": content},
            )

    def error(self) -> str:
        """What the answer card says instead of an answer."""
        return self.tab.wait_for_selector("#headline .error p", timeout=15_000).inner_text()


@dataclass(frozen=True)
class PlacedPage:
    """A page with a photo for each verdict; its model's labels and places are hostile."""

    url: str
    model: Path
    photos: Judged


@pytest.fixture(scope="module")
def placed(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacedPage]:
    path = tmp_path_factory.mktemp("placed") / "model.pt"
    photos = save_placed_model(toy_model, path, HOSTILE_PLACE)
    rename_classes(path, HOSTILE)
    running = Page("--model", path, "--port", 7980)
    yield PlacedPage(running.url, path, photos)
    output = running.stop()
    assert "Traceback" not in output, output
    assert "48.8" not in output  # where photos were taken is nobody's business


@pytest.fixture
def watched(browser: Browser, placed: PlacedPage) -> Iterator[Watched]:
    tab = Watched(browser, placed.url)
    yield tab
    tab.context.close()
    assert tab.problems == []


@pytest.fixture
def wide(browser: Browser, placed: PlacedPage) -> Iterator[Watched]:
    tab = Watched(browser, placed.url, viewport={"width": 1280, "height": 900})
    yield tab
    tab.context.close()
    assert tab.problems == []


def test_upload_shows_the_guesses_worth_a_bar(watched: Watched, placed: PlacedPage) -> None:
    content = encode(draw_landmark(1, 0, (400, 300)), "JPEG")
    predictor = Predictor.load(placed.model)
    guesses = predictor.classify(content)
    watched.give("castle.jpg", content)
    # By their display names, which are all the same here.
    assert watched.labels() == [HOSTILE for share in guesses.values() if share >= 0.01]
    assert watched.tab.get_by_role("img", name="Your photo").is_visible()
    about = watched.tab.inner_text("#about summary")
    assert "6 landmarks, right in 50 of 100 validation photos" in about
    assert "deleted after 11 minutes" in about
    watched.tab.click("#about summary")
    for part in ("toy", "validation top-1 50.0%", "(40 photos)", "deleted"):
        assert part in watched.tab.inner_text("#about details")


def test_empty_page_says_what_to_do(watched: Watched) -> None:
    assert "Drop a photo here" in watched.tab.inner_text("#photo")
    assert "Which landmark" in watched.tab.inner_text("#title")
    assert watched.tab.locator("#photo .examples img").count() == 6
    # No reasons without an answer, and the camera opens on a click, not before.
    assert not watched.tab.is_visible("#why")
    assert not watched.tab.is_visible("#photo video")
    assert watched.tab.evaluate("document.querySelector('#photo video').srcObject") is None


def test_a_drawing_to_try_is_answered(watched: Watched) -> None:
    with watched.tab.expect_request("**/queue/join*"):
        watched.tab.get_by_role("button", name="A drawn bridge").click()
    assert watched.labels()
    assert watched.tab.locator("#shown svg").get_attribute("viewBox") == "0 0 640 480"


def test_the_landmarks_are_on_a_map_and_in_a_list(watched: Watched) -> None:
    watched.tab.get_by_role("tab", name="6 landmarks").click()
    watched.tab.wait_for_selector("#landmarks li")
    assert watched.tab.locator("#landmarks li").count() == len(TOY_CLASSES)
    assert watched.tab.locator("#landmarks svg title").count() == len(TOY_CLASSES)
    assert HOSTILE in watched.tab.inner_text("#landmarks li >> nth=0")


def test_one_photo_is_one_request(watched: Watched, placed: PlacedPage) -> None:
    asked: list[str] = []
    watched.tab.on("request", lambda r: "/queue/join" in r.url and asked.append(r.url))
    for count, photo in enumerate((placed.photos.sure, b"no photo", placed.photos.sure), 1):
        watched.give("castle.jpg", photo)
        watched.tab.wait_for_selector("#headline :is(.sure, .error)")
        assert len(asked) == count


def test_paste_and_drop_replace_a_photo_that_is_shown(browser: Browser, placed: PlacedPage) -> None:
    origin = {"permissions": ["clipboard-read", "clipboard-write"]}
    watched = Watched(browser, placed.url, **origin)
    watched.give("castle.jpg", placed.photos.sure)
    watched.labels()
    watched.tab.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            canvas.width = 320; canvas.height = 200;
            const draw = canvas.getContext("2d");
            draw.fillStyle = "seagreen"; draw.fillRect(0, 0, 320, 200);
            const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }"""
    )
    with watched.tab.expect_request("**/queue/join*"):
        watched.tab.keyboard.press("Control+V")
    assert watched.labels()
    assert watched.tab.locator("#shown svg").get_attribute("viewBox").endswith(" 320 200")
    with watched.tab.expect_request("**/queue/join*"):
        watched.tab.evaluate(
            """async () => {
                const blob = await (await fetch("page/drawn/tower.jpg")).blob();
                const given = new DataTransfer();
                given.items.add(new File([blob], "tower.jpg", {type: "image/jpeg"}));
                document.body.dispatchEvent(
                    new DragEvent("drop", {dataTransfer: given, bubbles: true, cancelable: true}));
            }"""
        )
    assert watched.labels()
    assert watched.tab.locator("#shown svg").get_attribute("viewBox").endswith(" 640 480")
    watched.context.close()
    assert watched.problems == []


@pytest.mark.parametrize("format", ["HEIF", "TIFF"])
def test_formats_that_browsers_cannot_show_are_shown(watched: Watched, format: str) -> None:
    watched.give("photo.heic", encode(draw_landmark(1, 0, (400, 300)), format))
    watched.labels()
    picture = watched.tab.get_by_role("img", name="Your photo")
    assert picture.get_attribute("href").startswith("data:image/jpeg;base64,")
    assert watched.tab.evaluate(
        """async () => {
            const photo = new Image();
            photo.src = document.querySelector("#shown svg > image").getAttribute("href");
            await photo.decode();
            return [photo.width, photo.height];
        }"""
    ) == [400, 300]


def test_on_a_phone_the_answer_is_above_the_fold(browser: Browser, placed: PlacedPage) -> None:
    screen = {"viewport": {"width": 390, "height": 667}, "has_touch": True, "is_mobile": True}
    watched = Watched(browser, placed.url, **screen)
    assert not watched.tab.is_visible("#photo .drop")
    for name in ("Choose photo", "Take photo"):
        assert watched.tab.get_by_role("button", name=name).bounding_box()["height"] >= 44
    for photo in placed.photos:
        watched.give("castle.jpg", photo)
        watched.labels()
        picture = watched.tab.locator("#shown svg").bounding_box()
        headline = watched.tab.locator("#headline h2").bounding_box()
        assert picture["y"] + picture["height"] < headline["y"]
        assert headline["y"] + headline["height"] < 667
    assert watched.tab.get_by_role("button", name="Another photo").is_visible()
    watched.context.close()
    assert watched.problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_the_screen(browser: Browser, placed: PlacedPage, theme: str) -> None:
    watched = Watched(browser, placed.url, theme)
    for width in (1280, 390):
        watched.tab.set_viewport_size({"width": width, "height": 844})
        assert watched.tab.evaluate("document.documentElement.scrollWidth") <= width
        watched.give("castle.jpg", encode(draw_landmark(1, 0, (800, 600)), "JPEG"))
        assert watched.labels()
        assert watched.tab.evaluate("document.documentElement.scrollWidth") <= width
    is_dark = watched.tab.evaluate("document.body.classList.contains('dark')")
    assert is_dark == (theme == "dark")
    watched.context.close()
    assert watched.problems == []


def give_several(watched: Watched, contents: dict[str, bytes]) -> None:
    watched.tab.get_by_role("tab", name="Several").click()
    watched.tab.set_input_files(
        "#files input[type=file]",
        [
            {"name": name, "mimeType": "image/jpeg", "buffer": content}
            for name, content in contents.items()
        ],
    )
    watched.tab.wait_for_selector("#answers li", timeout=20_000)


def save_table(watched: Watched, name: str, path: Path) -> Path:
    with watched.tab.expect_download() as download:
        watched.tab.locator("#tables").get_by_text(name, exact=True).click()
    download.value.save_as(path)
    return path


def test_several_photos_and_their_tables(
    watched: Watched, placed: PlacedPage, tmp_path: Path
) -> None:
    watched.tab.get_by_role("tab", name="Several").click()
    # No empty boxes before there is an answer.
    assert not watched.tab.is_visible("#tables")
    contents = {f"{i}.jpg": encode(draw_landmark(i, 0), "JPEG") for i in range(3)}
    contents["broken.jpg"] = b"no photo"
    give_several(watched, contents)
    with save_table(watched, "CSV", tmp_path / "answers.csv").open(encoding="utf-8") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(contents)
    assert "a text file" in rows["broken.jpg"]["error"]
    predictor = Predictor.load(placed.model)
    for name in list(contents)[:3]:
        best = next(iter(predictor.classify(contents[name]).items()))
        assert rows[name]["label_1"] == best[0]
        assert float(rows[name]["probability_1"]) == pytest.approx(best[1], abs=1e-6)
        assert rows[name]["label_5"]
    cards = watched.tab.locator("#answers li")
    assert cards.count() == 4
    assert cards.nth(0).locator("img").get_attribute("alt") == "0.jpg"
    assert "not read" in cards.nth(3).inner_text()
    assert "a text file" in cards.nth(3).inner_text()
    features = json.loads(save_table(watched, "GeoJSON", tmp_path / "a.geojson").read_text())
    assert [f["properties"]["photo"] for f in features["features"]] == list(contents)
    # Nothing of this machine: the photos lie beside the table, if anywhere.
    assert [f["properties"]["link"] for f in features["features"]] == list(contents)
    kml = save_table(watched, "KML", tmp_path / "a.kml").read_text()
    assert kml.count("<Placemark>") == 4
    assert "../" not in kml and str(placed.model.parent) not in kml


def test_bad_photos_are_explained_and_the_next_is_answered(
    watched: Watched, placed: PlacedPage
) -> None:
    good = encode(draw_landmark(2, 0), "JPEG")
    for name, (content, message) in ONE_OF_EACH_KIND.items():
        watched.give("photo.jpg", placed.photos.sure)
        watched.labels()
        watched.give("photo.jpg", content)
        text = watched.error()
        assert any(part in text for part in message.split("|")), (name, text)
        assert "Traceback" not in text
        # The reason is said once, and of the photo before nothing is left.
        assert watched.tab.query_selector(".toast-body") is None
        for part in (LABEL_ROWS, "#shown svg", "#place svg"):
            assert watched.tab.query_selector(part) is None
    watched.give("good.jpg", good)
    assert watched.labels()
    assert watched.tab.query_selector("#headline .error") is None


def test_a_photo_over_the_limit_is_not_even_sent(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(50 * 1000**2 + 1))
    watched.tab.set_input_files(PHOTO_INPUT, tmp_path / "large.jpg")
    assert "over 50 MB" in watched.error()


def test_no_answer_is_said_so(watched: Watched, placed: PlacedPage) -> None:
    watched.tab.route("**/queue/join*", lambda route: route.fulfill(status=500, body="{}"))
    watched.tab.set_input_files(
        PHOTO_INPUT, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": placed.photos.sure}
    )
    assert "choose the photo again" in watched.error()
    watched.problems.clear()  # the browser notes the status
    watched.tab.unroute("**/queue/join*")
    watched.give("a.jpg", placed.photos.sure)
    assert watched.labels()


def test_sure_photo_shows_place_map_and_distance(wide: Watched, placed: PlacedPage) -> None:
    wide.give("castle.jpg", with_position(placed.photos.sure, 48.8593, 2.2945))
    assert all(label == HOSTILE for label in wide.labels())
    assert wide.tab.inner_text("#headline h2") == HOSTILE
    # For screen readers only.
    assert wide.tab.locator("#headline .heard").bounding_box()["width"] <= 1
    assert wide.tab.get_by_role("status").filter(has_text="Sure: ").count() == 1
    assert wide.tab.inner_text("#headline p") == '{{value}}<b> in "><i>Paris, France'
    place = wide.tab.inner_text("#place")
    assert "48.8584° N, 2.2945° E" in place
    assert (
        "GPS data, this photo was taken at 48.8593° N, 2.2945° E, 100 m from the landmark" in place
    )
    assert "stays on this server" in place
    link = wide.tab.query_selector("#place a")
    assert link.get_attribute("href").startswith("https://www.openstreetmap.org/?mlat=48.85840")
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert link.get_attribute("target") == "_blank"
    assert wide.tab.locator("#place svg[role=img]").bounding_box()["width"] > 300
    assert wide.tab.evaluate("getComputedStyle(document.querySelector('#answer')).filter") == "none"
    wide.tab.click("#about summary")
    about = wide.tab.inner_text("#about details")
    assert "Measured on 1,250 photos of other things: of each kind" in about
    assert "at most 0.4% were named for sure, and at most 10.0% were named at all" in about


def test_maybe_photo_looks_like_it_and_folds_the_map(wide: Watched, placed: PlacedPage) -> None:
    wide.give("castle.jpg", placed.photos.maybe)
    wide.labels()
    status = wide.tab.get_by_role("status").filter(has_text="Maybe: ")
    assert f"Looks like {HOSTILE}" in status.inner_text()
    assert "About 1 in 5 photos like this is something else." in status.inner_text()
    picture = wide.tab.locator("#place svg[role=img]")
    assert not picture.is_visible()
    wide.tab.click("#place summary")
    picture.wait_for(state="visible")
    assert "48.8584° N, 2.2945° E" in wide.tab.inner_text("#place")


def test_photo_from_afar_is_doubted_and_shows_both_pins(
    browser: Browser, placed: PlacedPage
) -> None:
    for theme in ("light", "dark"):
        tab = Watched(browser, placed.url, theme, viewport={"width": 390, "height": 844})
        tab.give("castle.jpg", with_position(placed.photos.sure, -33.8568, 151.2153))
        tab.labels()
        assert tab.tab.inner_text("#headline h2") == f"Looks like {HOSTILE}"
        assert "taken 16,964 km away" in tab.tab.inner_text("#headline .far")
        assert contrast(tab.tab, "#headline .far") >= 4.5
        pins = tab.tab.locator("#place svg[role=img] > g")
        assert pins.count() == 3  # the landmark's in both views
        assert all(pin.is_visible() for pin in pins.all())
        assert len({pin.bounding_box()["x"] for pin in pins.all()}) == 3
        assert tab.tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.context.close()
        assert tab.problems == []


def contrast(tab: Tab, selector: str) -> float:
    """Contrast of a text with the box behind it, by WCAG 2.1."""
    colours = tab.eval_on_selector(
        selector,
        """element => [getComputedStyle(element).color,
            getComputedStyle(document.querySelector("#verdict")).backgroundColor]""",
    )
    levels = []
    for colour in colours:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        lines = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        levels.append(0.2126 * lines[0] + 0.7152 * lines[1] + 0.0722 * lines[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def test_unknown_photo_is_said_to_be_so(wide: Watched, placed: PlacedPage) -> None:
    wide.give("dog.jpg", with_position(placed.photos.none, -33.8568, -70.5))
    assert wide.labels()
    headline = wide.tab.inner_text("#headline")
    assert headline.startswith("None of the 6")
    assert "one of the landmarks that this model knows" in headline
    filter = wide.tab.evaluate("getComputedStyle(document.querySelector('#answer')).filter")
    assert "grayscale(1)" in filter
    assert wide.tab.query_selector("#place svg") is None
    assert not wide.tab.is_visible("#why")
    assert wide.tab.query_selector("#shown .evidence") is None
    assert wide.tab.query_selector("#answer input") is None
    place = wide.tab.inner_text("#place")
    assert "33.8568° S, 70.5000° W. This position" in place
    assert "landmark" not in place


def test_switch_lays_the_evidence_over_the_photo(wide: Watched, placed: PlacedPage) -> None:
    wide.give("castle.jpg", placed.photos.sure)
    wide.labels()
    layers = wide.tab.locator("#shown .evidence")
    assert layers.count() == len(wide.labels())
    assert not layers.first.is_visible()
    wide.tab.focus("#why input")
    wide.tab.keyboard.press("Space")
    layers.first.wait_for(state="visible", timeout=2000)
    assert layers.first.get_attribute("aria-label").startswith(f"Evidence for {HOSTILE}")
    # The photo stays in colour under a layer that darkens what did not count.
    assert wide.tab.query_selector("#shown .evidence image[href^='data:image/png;base64,']")
    wide.give("other.jpg", placed.photos.maybe)
    wide.labels()
    layers.first.wait_for(state="visible")  # the switch stays on
    wide.tab.uncheck("#why input")
    layers.first.wait_for(state="hidden", timeout=2000)


def test_a_bar_shows_its_own_evidence(wide: Watched, placed: PlacedPage) -> None:
    wide.give("castle.jpg", placed.photos.maybe)
    assert len(wide.labels()) > 1
    wide.tab.click(f"{LABEL_ROWS} >> nth=1")
    wide.tab.locator("#shown .rank-1").wait_for(state="visible", timeout=2000)
    assert wide.tab.is_checked("#why input")
    assert not wide.tab.is_visible("#shown .rank-0")
    wide.give("castle.jpg", placed.photos.sure)  # whose best guess comes first again
    wide.labels()
    wide.tab.locator("#shown .rank-0").wait_for(state="visible", timeout=2000)


def test_nothing_moves_when_an_answer_comes(wide: Watched, placed: PlacedPage) -> None:
    parts = ["#photo .ways", "#why", "#answer", "#about"]

    def tops() -> list[float]:
        return [wide.tab.locator(part).bounding_box()["y"] for part in parts]

    before = tops()
    for photo in placed.photos:
        wide.give("castle.jpg", photo)
        wide.labels()
        assert tops() == before


def test_several_photos_say_their_verdicts(
    wide: Watched, placed: PlacedPage, tmp_path: Path
) -> None:
    wide.tab.set_viewport_size({"width": 390, "height": 844})
    give_several(wide, {"=1+1.jpg": placed.photos.sure, "<b>dog.jpg": placed.photos.none})
    first, second = wide.tab.locator("#answers li").all()
    assert re.search(r"sure, \d+%\s+<img.*Paris, France\s+=1\+1\.jpg", first.inner_text(), re.S)
    assert re.search(r"None.*Nearest: <img.*dog\.jpg", second.inner_text(), re.DOTALL)
    assert "2 photos: 1 sure, 1 none" in wide.tab.inner_text("#answers [role=status]")
    assert wide.tab.locator("#answers svg title").count() == 1
    assert wide.tab.evaluate("document.documentElement.scrollWidth") <= 390
    with save_table(wide, "CSV", tmp_path / "answers.csv").open(encoding="utf-8") as file:
        known, unknown = csv.DictReader(file)
    assert known["photo"] == "'=1+1.jpg"  # no formula
    assert (known["verdict"], known["known"], known["place"]) == ("sure", "true", HOSTILE)
    assert (known["latitude"], known["longitude"]) == ("48.8584", "2.2945")
    assert (unknown["verdict"], unknown["known"]) == ("none", "false")
    assert unknown["label_1"].startswith(HOSTILE)
    assert unknown["place"] == unknown["latitude"] == unknown["longitude"] == ""


def test_webcam_snapshot_is_not_mirrored(browser: Browser, placed: PlacedPage) -> None:
    predictor = Predictor.load(placed.model)
    best = next(iter(predictor.classify(HALVES)))
    assert next(iter(predictor.classify(ImageOps.mirror(HALVES)))) != best  # so this would tell
    watched = Watched(browser, placed.url, permissions=["camera"])
    watched.tab.get_by_role("button", name="Take photo").click()
    watched.tab.wait_for_function(
        "() => (document.querySelector('#photo video') || {}).videoWidth > 0"
    )
    with watched.tab.expect_response("**/gradio_api/upload*") as uploaded:
        watched.tab.get_by_role("button", name="Take it").click()
    watched.labels()
    path = uploaded.value.json()[0]
    assert next(iter(predictor.classify(path))) == best
    assert not watched.tab.is_visible("#photo video")
    watched.context.close()
    assert watched.problems == []
