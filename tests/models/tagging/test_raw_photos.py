"""RAW photos in a folder: tagged by their preview, given sidecars only, drawn on the map."""

import re
import shutil
from pathlib import Path

import pytest

from models.environment import check_exiftool
from models.photos.gps import read_position
from models.predictor import Predictor
from models.tag import TagConfig, main
from models.tagging.photo_list import find_photos
from models.tagging.table import read_table
from tests.support.raw_photos import dng, nef, raf

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def raws(model: Path, photos: Path, tmp_path: Path) -> Path:
    """A folder of one sure photo as a JPEG and in three RAW formats."""
    predictor, folder = Predictor.load(model), tmp_path / "raws"
    folder.mkdir()
    best = max(find_photos([str(photos)]), key=lambda photo: predictor.answer(photo).known_score)
    jpeg = shutil.copy(best, folder / "1.jpg").read_bytes()
    for name, build in (("2.DNG", dng), ("3.nef", nef), ("4.raf", raf)):
        (folder / name).write_bytes(build(jpeg))
    return folder


def tag(model: Path, folder: Path, **flags: object) -> int:
    return main(TagConfig((str(folder),), model=model, out=folder.parent / "tags.csv", **flags))


@needs_exiftool
def test_a_raw_photo_is_what_its_preview_is(model: Path, raws: Path) -> None:
    page = raws.parent / "album.html"
    assert tag(model, raws, map=page) == 0
    rows = list(read_table(raws.parent / "tags.csv"))
    assert [Path(row["photo"]).name for row in rows] == ["1.jpg", "2.DNG", "3.nef", "4.raf"]
    assert {row["verdict"] for row in rows} == {"sure"}
    assert len({(row["label_1"], row["known_score"]) for row in rows}) == 1
    assert [row["taken"] for row in rows] == [None, *["2024-05-06T14:03:22"] * 2, None]
    assert len(re.findall(r'"thumbnail":"\w', page.read_text(encoding="utf-8"))) == 4


@needs_exiftool
@pytest.mark.parametrize("write", ["sidecar", "embed"])
def test_places_go_into_sidecars_and_come_out_again(
    write: str, model: Path, raws: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in raws.iterdir() if path.suffix != ".jpg"}
    # Lightroom's name for the sidecar of either; it is left to whoever made it.
    shutil.copy(raws / "1.jpg", raws / "2.jpg")
    (raws / "2.xmp").write_text("<x/>")
    assert tag(model, raws, write=write) == 0
    for name, content in before.items():
        assert (raws / name).read_bytes() == content
        position = read_position(raws / f"{name}")
        assert (position.latitude, position.longitude) == pytest.approx((48.8584, 2.2945))
        assert (raws / f"{name}.xmp").is_file()
    assert (raws / "2.xmp").read_text() == "<x/>"
    capsys.readouterr()
    assert main(TagConfig(undo=raws.parent / "tags.csv.journal")) == 0
    assert {path.name for path in raws.iterdir()} == {*before, "1.jpg", "2.jpg", "2.xmp"}


def test_without_exiftool_the_others_are_tagged(
    model: Path, raws: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        check_exiftool.cache_clear()
        assert tag(model, raws) == 0
    shown = capsys.readouterr()
    assert "1 tagged" in shown.out and "3 could not be read" in shown.out
    assert "3.nef: a RAW photo needs exiftool 12.46 or newer: apt-get install" in shown.err
    check_exiftool.cache_clear()
    # With it, the same command reads them.
    if shutil.which("exiftool"):
        assert tag(model, raws) == 0
        assert "4 tagged" in capsys.readouterr().out


def test_patterns_find_raw_photos(raws: Path) -> None:
    assert list(find_photos([f"{raws}/*.nef"])) == [f"{raws}/3.nef"]
    assert len(list(find_photos([f"{raws}/*"]))) == 4
