"""The question under an answer, in a real browser: right, not right, taken back."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.models.page.test_page import Watched, browser, pytestmark  # noqa: F401
from tests.support.bad_photos import encode
from tests.support.commands import Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.placed_model import (
    HOSTILE,
    HOSTILE_PLACE,
    Judged,
    rename_classes,
    save_placed_model,
)


@dataclass(frozen=True)
class Collecting:
    """A page that keeps what people say of its answers; its model's labels are hostile."""

    url: str
    photos: Judged
    folder: Path

    def kept(self) -> dict[str, str]:
        """The class folder of each kept photo, by its digest."""
        return {path.stem: path.parent.name for path in self.folder.glob("*/*.jpg")}

    def rows(self) -> dict[str, dict[str, str]]:
        """The lines of the table, by the digests of their photos."""
        with (self.folder / "corrections.csv").open(encoding="utf-8", newline="") as file:
            return {Path(row["photo"]).stem: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def collecting(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    folder = tmp_path_factory.mktemp("collecting")
    photos = save_placed_model(toy_model, folder / "model.pt", HOSTILE_PLACE)
    rename_classes(folder / "model.pt", HOSTILE)
    page = Page("--model", folder / "model.pt", "--port", 8060, "--collect", folder / "kept")
    yield Collecting(page.url, photos, folder / "kept")
    output = page.stop()
    assert "Traceback" not in output, output


@pytest.fixture
def watched(browser: object, collecting: Collecting) -> Iterator[Watched]:  # noqa: F811
    tab = Watched(browser, collecting.url, viewport={"width": 390, "height": 844})
    yield tab
    assert tab.tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.context.close()
    assert tab.problems == []


def press(watched: Watched, name: str) -> None:
    watched.tab.get_by_role("button", name=name, exact=True).click()


def wait_said(watched: Watched, text: str) -> None:
    watched.tab.locator("#correct-said", has_text=text).wait_for(timeout=15_000)


def choose(watched: Watched, text: str) -> None:
    watched.tab.fill("#correct-choice input", text)
    watched.tab.keyboard.press("Enter")
    press(watched, "Keep")


def digest_of(photo: bytes) -> str:
    return hashlib.sha256(photo).hexdigest()


def test_right_keeps_the_photo_as_what_the_page_says(
    watched: Watched, collecting: Collecting
) -> None:
    assert not watched.tab.locator("#correct").is_visible()
    photos = collecting.photos
    for photo, verdict in ((photos.sure, "sure"), (photos.none, "none")):
        watched.give("castle.jpg", photo)
        wait_said(watched, "Is this right? If you answer, this photo is kept")
        assert digest_of(photo) not in collecting.kept()
        press(watched, "Right")
        wait_said(watched, "Thank you. Kept as")
        row = collecting.rows()[digest_of(photo)]
        assert row["verdict"] == verdict
        assert row["guess"].startswith(HOSTILE)
        assert row["label"] == (row["guess"] if verdict == "sure" else "")
    folders = [collecting.kept()[digest_of(photo)] for photo in (photos.sure, photos.none)]
    assert folders[0].startswith("<img_src=x") and folders[1] == "none_of_them"
    # Another photo, another question.
    watched.give("bridge.jpg", photos.maybe)
    wait_said(watched, "Is this right?")
    press(watched, "Right")
    wait_said(watched, "Thank you")
    press(watched, "Take it back")
    wait_said(watched, "Deleted.")
    assert digest_of(photos.maybe) not in collecting.kept()


def test_not_right_keeps_what_a_person_says(watched: Watched, collecting: Collecting) -> None:
    photo = encode(draw_landmark(2, 7, (400, 300)), "JPEG")
    watched.give("castle.jpg", photo)
    wait_said(watched, "Is this right?")
    press(watched, "Not right")
    wait_said(watched, "What is it?")
    watched.tab.click("#correct-choice input")
    offered = watched.tab.locator("[role=option]").all_inner_texts()
    assert sum("None of them" in option for option in offered) == 1
    assert len(offered) in (len(TOY_CLASSES), len(TOY_CLASSES) + 1)  # without the refused guess
    press(watched, "Keep")
    wait_said(watched, "Choose what it is, or type a name.")
    for name, said in (("<b>Mill</b>", "cannot hold /"), ("=1+1", "cannot name a landmark")):
        choose(watched, name)
        wait_said(watched, said)
    choose(watched, "Mill <b>")
    wait_said(watched, "Kept as Mill <b>.")
    assert collecting.kept()[digest_of(photo)] == "Mill_<b>"
    # Again, as none of them: the photo moves.
    watched.give("castle.jpg", photo)
    wait_said(watched, "Is this right?")
    press(watched, "Not right")
    choose(watched, "None of them")
    wait_said(watched, "Kept as none of them.")
    assert collecting.kept()[digest_of(photo)] == "none_of_them"
    assert collecting.rows()[digest_of(photo)]["label"] == ""


def test_an_error_asks_nothing(watched: Watched) -> None:
    watched.give("castle.jpg", encode(draw_landmark(2, 7), "JPEG"))
    wait_said(watched, "Is this right?")
    watched.give("broken.jpg", b"no photo")
    watched.tab.locator("#correct").wait_for(state="hidden")


def test_the_page_says_what_it_keeps(watched: Watched) -> None:
    about = watched.tab.inner_text("#about")
    assert "photos are deleted after 11 minutes, except those whose answer you judge" in about
