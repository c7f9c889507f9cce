"""album.html in a browser: from a file, without network, on a desktop and on a phone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from models.album_map.map_page import write_map
from tests.support.album import HOSTILE, TRIP, album_row, draw_album
from tests.support.drawing import draw_landmark

CHROMIUM = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DESKTOP, PHONE = {"width": 1100, "height": 700}, {"width": 390, "height": 780}


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trip's map, beside the folder of its photos."""
    root = tmp_path_factory.mktemp("album <b> 1")
    write_map(root / "Rome & <i>.html", draw_album(root, TRIP))
    return root / "Rome & <i>.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def tab(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A tab without network that fails on errors, dialogs and requests."""
    is_phone = request.param == PHONE
    context = browser.new_context(
        viewport=request.param, has_touch=is_phone, is_mobile=is_phone, offline=True
    )
    tab, problems = context.new_page(), []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda asked: problems.append(asked.url))
    yield tab
    context.close()
    assert [each for each in problems if not each.startswith(("file:", "data:image/webp"))] == []
    pages = [each for each in problems if each.startswith("file:")]
    assert all(each.endswith((".html", ".jpg")) for each in pages)


def open_map(tab: Page, path: Path) -> None:
    tab.goto(path.as_uri())
    tab.locator(".leaflet-marker-icon").first.wait_for()


def on_map(tab: Page) -> list[str]:
    """The names of the photos that are not hidden, whether in a cluster or not."""
    found = "index.getClusters([-180, -85, 180, 85], 18).map((each) => each.properties.photo.photo)"
    return sorted(name.removeprefix("photos/") for name in tab.evaluate(found))


def entries(tab: Page) -> Locator:
    return tab.locator("#panel li")


def test_the_trip_is_on_the_map(album: Path, tab: Page) -> None:
    open_map(tab, album)
    assert tab.title() == tab.locator("h1").inner_text() == "Rome & <i>"
    chips = tab.locator("#kinds button").all_inner_texts()
    expected = ["3 sure", "1 maybe", "1 estimated", "Without a place: 3", "Does not fit: 1"]
    assert [chip.strip() for chip in chips] == expected
    # Three styles, not only three colours.
    styles = tab.evaluate(
        "['sure', 'maybe', 'estimated'].map((kind) => getComputedStyle(document.querySelector("
        "`.dot.${kind}`)).borderTopStyle)"
    )
    assert len(set(styles)) == 3
    # All markers lie on the map, below each other nowhere, and inside the window.
    for box in [marker.bounding_box() for marker in tab.locator(".leaflet-marker-icon").all()]:
        assert box["x"] >= 0 and box["x"] + box["width"] <= tab.viewport_size["width"]
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_two_photos_at_one_landmark_are_a_cluster_that_lists_them(album: Path, tab: Page) -> None:
    open_map(tab, album)
    tab.evaluate("map.setView([41.8902, 12.4922], 12, { animate: false }); 0")
    cluster = tab.get_by_role("button", name="2 photos, Rome, Italy")
    assert cluster.locator(".count").inner_text() == "2"
    assert cluster.locator(".place").inner_text() == "Rome"
    cluster.click()
    expect(entries(tab)).to_have_count(2)
    assert "Colosseum" in entries(tab).first.inner_text()
    assert "2024-05-06 09:00:00+02:00" in entries(tab).first.inner_text()
    tab.keyboard.press("Escape")
    expect(tab.locator("#panel")).to_be_hidden()


def test_a_click_leads_to_the_photo(album: Path, tab: Page) -> None:
    open_map(tab, album)
    tab.evaluate("map.setView([45.4, 9.2], 9, { animate: false }); 0")
    tab.get_by_role("button", name="sure, photos/").click()
    anchor = entries(tab).get_by_role("link")
    assert anchor.inner_text() == f"photos/{HOSTILE}"  # as text, whatever it is
    with tab.context.expect_page() as opened:
        anchor.click()
    opened.value.locator("img").wait_for()
    assert opened.value.locator("img").evaluate("image => image.naturalWidth") == 160


def test_an_estimate_shows_how_far_it_may_be_off(album: Path, tab: Page) -> None:
    open_map(tab, album)
    tab.evaluate("map.setView([41.5, 13.9], 9, { animate: false }); 0")
    tab.get_by_role("button", name="estimated, photos/4.jpg").click()
    said = entries(tab).inner_text()
    assert "estimated, within 30 km" in said
    assert "position: estimated from 2.jpg (1.5 h before)" in said
    assert tab.evaluate("circles.getLayers().map((circle) => circle.getRadius())") == [30_000]


def test_what_does_not_fit_and_what_has_no_place_are_listed(album: Path, tab: Page) -> None:
    open_map(tab, album)
    tab.get_by_role("button", name="Does not fit: 1").click()
    assert "Sydney Opera House does not fit the photos around it" in entries(tab).inner_text()
    tab.get_by_role("button", name="Without a place: 3").click()
    expect(entries(tab)).to_have_count(3)
    assert "7.jpg is empty" in entries(tab).last.inner_text()
    tab.get_by_role("button", name="Close").click()
    expect(tab.locator("#panel")).to_be_hidden()


def test_kinds_can_be_hidden(album: Path, tab: Page) -> None:
    open_map(tab, album)
    tab.get_by_role("button", name="3 sure").click()
    expect(tab.get_by_role("button", name="3 sure")).to_have_attribute("aria-pressed", "false")
    assert on_map(tab) == ["3.jpg", "4.jpg"]
    tab.get_by_role("button", name="3 sure").click()
    assert len(on_map(tab)) == 5


def test_the_time_line_chooses_days(album: Path, tab: Page) -> None:
    open_map(tab, album)
    bars = tab.locator("#time button")
    # Hours, for so short a trip.
    assert bars.first.inner_text() == "no date"
    assert bars.count() == 6
    tab.locator("#time button", has_text="11:00").click()
    assert on_map(tab) == ["4.jpg"]
    bars.last.click(modifiers=["Shift"])
    assert on_map(tab) == ["3.jpg", "4.jpg", HOSTILE]
    bars.nth(1).click()
    bars.nth(1).click()
    assert len(on_map(tab)) == 5


def test_a_drag_along_the_time_line_chooses_what_lies_between(album: Path, tab: Page) -> None:
    open_map(tab, album)
    first, last = tab.locator("#time button").nth(3), tab.locator("#time button").nth(4)
    first.hover()
    tab.mouse.down()
    last.hover()
    tab.mouse.up()
    assert on_map(tab) == ["3.jpg", "4.jpg"]


def test_the_keyboard_is_enough(album: Path, tab: Page) -> None:
    open_map(tab, album)
    tab.evaluate("map.setView([41.8902, 12.4922], 12, { animate: false }); 0")
    tab.get_by_role("button", name="2 photos, Rome, Italy").focus()
    tab.keyboard.press("Enter")
    expect(entries(tab)).to_have_count(2)
    expect(tab.locator("#panel h2")).to_be_focused()


def test_an_album_across_the_date_line_is_one_group(tab: Page, tmp_path: Path) -> None:
    rows = {
        "fiji.jpg": ("none", {"own_latitude": -17.7, "own_longitude": 178.0}),
        "samoa.jpg": ("none", {"own_latitude": -13.8, "own_longitude": -171.8}),
    }
    write_map(tmp_path / "map.html", draw_album(tmp_path, rows))
    open_map(tab, tmp_path / "map.html")
    expect(tab.locator(".leaflet-marker-icon")).to_have_count(2)
    assert tab.evaluate("map.getBounds().getEast() - map.getBounds().getWest()") < 60
    for marker in tab.locator(".leaflet-marker-icon").all():
        box = marker.bounding_box()
        assert 0 < box["x"] < tab.viewport_size["width"]


def test_an_album_of_all_the_world_begins_at_the_date_line(tab: Page, tmp_path: Path) -> None:
    longitudes = [-156, -79, 35, 109]  # the widest gap is in the Atlantic
    rows = {
        f"{east}.jpg": ("none", {"own_latitude": 10.0, "own_longitude": float(east)})
        for east in longitudes
    }
    write_map(tmp_path / "map.html", draw_album(tmp_path, rows))
    open_map(tab, tmp_path / "map.html")
    boxes = [marker.bounding_box() for marker in tab.locator(".leaflet-marker-icon").all()]
    assert all(0 < box["x"] < tab.viewport_size["width"] - box["width"] for box in boxes)
    assert tab.evaluate(f"{longitudes}.map(eastward)") == longitudes


def test_an_album_without_any_place_says_so(tab: Page, tmp_path: Path) -> None:
    write_map(tmp_path / "map.html", draw_album(tmp_path, {"1.jpg": ("none", {})}))
    tab.goto((tmp_path / "map.html").as_uri())
    tab.get_by_role("button", name="Without a place: 1").click()
    expect(entries(tab)).to_have_count(1)
    assert tab.locator("#time button").count() == 0


def test_ten_thousand_photos_are_few_markers(tab: Page, tmp_path: Path) -> None:
    photo = tmp_path / "1.jpg"
    draw_landmark(0, 0, (160, 120)).save(photo)
    rows = [
        album_row(f"{i}.jpg", own_latitude=-50 + i % 100, own_longitude=-180 + i * 0.036)
        for i in range(10_000)
    ]
    page = tmp_path / "map.html"
    write_map(page, [(photo, rows[0]), *((tmp_path / "gone.jpg", row) for row in rows[1:])])
    open_map(tab, page)
    for zoom in (1, 3, 5):
        tab.evaluate(f"map.setView([0, 0], {zoom}, {{ animate: false }}); 0")
        assert 0 < tab.locator(".leaflet-marker-icon").count() < 400
    assert len(on_map(tab)) == 10_000
