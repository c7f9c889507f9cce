"""Photos that people of the page corrected, on disk."""

import csv
import hashlib
import threading
from pathlib import Path

import pytest

from models.page.corrections import TABLE, CorrectionError, Corrections, Guess
from tests.support.bad_photos import encode
from tests.support.drawing import draw_landmark
from train.cleaning.scan import list_folder
from train.data.outside import find_outside

GUESS = Guess("Red Tower", "maybe", 0.25, "ab" * 32)


def draw_jpeg(variant: int) -> bytes:
    return encode(draw_landmark(0, variant), "JPEG")


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_photos_are_kept_as_a_data_set(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "kept")
    photos = [draw_jpeg(variant) for variant in range(3)]
    digests = [hashlib.sha256(photo).hexdigest() for photo in photos]
    kept = [
        corrections.keep(photo, extension, label, GUESS)
        for photo, extension, label in zip(
            photos, (".jpg", ".heic", ".jpg"), ("Old Mill", "Red Tower", None), strict=True
        )
    ]
    assert kept == [
        f"Old_Mill/{digests[0]}.jpg",
        f"Red_Tower/{digests[1]}.heic",
        f"none_of_them/{digests[2]}.jpg",
    ]
    for photo, path in zip(photos, kept, strict=True):
        assert (corrections.folder / path).read_bytes() == photo
    said = {"verdict": "maybe", "guess": "Red Tower", "probability": "0.250000"}
    said |= {"model_digest": GUESS.model_digest}
    assert read_table(corrections.folder) == [
        {"photo": path, "label": label, **said}
        for path, label in zip(kept, ("Old Mill", "Red Tower", ""), strict=True)
    ]
    labels = {path: label for path, (_, label) in list_folder(corrections.folder).photos.items()}
    assert labels == {kept[0]: "Old Mill", kept[1]: "Red Tower"}
    outside = find_outside([corrections.folder / "none_of_them"], "A")
    assert [path.name for path in outside["none_of_them"]] == [f"{digests[2]}.jpg"]


def test_the_last_correction_counts(tmp_path: Path) -> None:
    first, other = draw_jpeg(0), draw_jpeg(1)
    Corrections(tmp_path).keep(other, ".jpg", "Old Mill", GUESS)
    corrections = Corrections(tmp_path)  # a later page on the same folder
    corrections.keep(first, ".jpg", "Red Tower", GUESS)
    path = corrections.keep(first, ".png", "old mill", GUESS)
    assert path.startswith("Old_Mill/")  # the folder that is there
    assert len(list(tmp_path.glob("*/*.*"))) == 2
    assert [row["label"] for row in read_table(tmp_path)] == ["Old Mill", "old mill"]
    corrections.take_back(path)
    (left,) = tmp_path.glob("*/*.*")
    assert left.read_bytes() == other
    assert [row["label"] for row in read_table(tmp_path)] == ["Old Mill"]
    for name in ("*", "*/*", "../*", ""):
        corrections.take_back(name)
    assert left.is_file() and len(read_table(tmp_path)) == 1


NO_NAMES = ["", " ", "../up", "a/b", "a\\b", ".hidden", "=1+1", "none of them", "test", "a\x00b"]
NO_NAMES += ["é" * 200, "Thumbs.db", "\ud800/"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_that_are_no_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorrectionError) as caught:
        Corrections(tmp_path / "kept").keep(draw_jpeg(0), ".jpg", name, GUESS)
    assert "name" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_guess_is_no_formula(tmp_path: Path) -> None:
    guess = Guess('=cmd|"/c calc"!A1', "sure", 1.0, "")
    Corrections(tmp_path).keep(draw_jpeg(0), ".jpg", "<b>Mill</b>".replace("/", ""), guess)
    assert read_table(tmp_path)[0]["guess"] == f"'{guess.label}"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(CorrectionError, match="cannot be kept in"):
            Corrections(folder).keep(draw_jpeg(0), ".jpg", "Mill", GUESS)
    (tmp_path / TABLE).write_text("a table of somebody else\n1\n")
    with pytest.raises(CorrectionError, match="move it elsewhere"):
        Corrections(tmp_path).keep(draw_jpeg(0), ".jpg", "Mill", GUESS)
    assert not (tmp_path / "Mill").exists()
    assert (tmp_path / TABLE).read_text().startswith("a table of somebody else")


def test_requests_side_by_side_lose_nothing(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path)
    photos = [draw_jpeg(variant) for variant in range(12)]
    threads = [
        threading.Thread(target=corrections.keep, args=(photo, ".jpg", f"Mill {i % 3}", GUESS))
        for i, photo in enumerate(photos)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_table(tmp_path)) == len(list(tmp_path.glob("*/*.jpg"))) == 12
