"""Which photos the names on the command line stand for."""

import io
import os
import sys
from pathlib import Path

import pytest

from models.tagging.photo_list import PhotosNotFound, check_names, find_photos

SYSTEM_FOLDERS = (
    "#recycle",
    "@eaDir",
    "@Recycle",
    "$RECYCLE.BIN",
    "__MACOSX",
    "lost+found",
    "System Volume Information",
    ".ipynb_checkpoints",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: six photos, two more at depth 2, and what is no photo."""
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(8):
        place = folder / "deep" / "er" if number > 5 else folder
        (place / f"{number}.jpg").touch()
    for name in (".hidden.jpg", "notes.txt", "deep/.git/a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    monkeypatch.chdir(folder)
    return folder


TOP = [f"{i}.jpg" for i in range(6)]
DEEP = ["deep/er/6.jpg", "deep/er/7.jpg"]


def found(*names: str) -> list[str]:
    return list(find_photos(names))


def test_folders(folder: Path) -> None:
    (folder / "deep" / "round").symlink_to(folder)
    (folder / "nowhere.jpg").symlink_to(folder / "gone.jpg")
    (folder / "itself").symlink_to(folder / "itself")
    under = [f"./{name}" for name in [*TOP, *DEEP, "nowhere.jpg"]]
    assert found(".") == under
    assert found(".", str(folder), "deep") == under  # no folder twice


def test_files_and_patterns(folder: Path) -> None:
    (folder / "nowhere.jpg").symlink_to(folder / "gone.jpg")
    assert found("*") == [*TOP, *DEEP, "nowhere.jpg"]
    assert found("**/[67].jpg") == DEEP
    assert found(str(folder / "deep" / "*" / "*.jpg")) == [str(folder / name) for name in DEEP]
    assert found("notes.txt", "0.jpg") == ["notes.txt", "0.jpg"]
    (folder / "[01].jpg").touch()
    assert found("[01].jpg") == ["[01].jpg"]  # a file goes before a pattern


def test_lists(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf0.jpg\r\n\ngone.jpg\ndeep\n.hidden.jpg")
    named = ["0.jpg", "gone.jpg", *DEEP, ".hidden.jpg"]
    assert found(f"@{tmp_path / 'list.txt'}") == named
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1.jpg\n*.jpg\n")))
    assert found("-") == ["1.jpg", "*.jpg"]


def test_what_systems_put_beside_photos_is_never_tagged(folder: Path) -> None:
    for place in (folder, folder / "deep" / "er"):
        for name in SYSTEM_FOLDERS:
            (place / name).mkdir()
            (place / name / "deleted.jpg").touch()
        for name in ("._1.jpg", "Thumbs.db"):
            (place / name).touch()
    assert found(".") == [f"./{name}" for name in [*TOP, *DEEP]]
    assert found("*") == [*TOP, *DEEP]
    assert found("**/*.jpg") == sorted([*TOP, *DEEP])
    assert found("deep/**/*.jpg") == found("deep/*/*") == DEEP
    assert found("*/*/*/deleted.jpg") == []


@pytest.mark.parametrize("name", SYSTEM_FOLDERS)
def test_what_is_named_is_tagged(name: str, folder: Path) -> None:
    """A person who names such a folder or file wants it, also within a pattern."""
    (folder / "deep" / name / ".thumbs").mkdir(parents=True)
    photos = [f"deep/{name}/{number}.jpg" for number in range(2)]
    for path in (*photos, f"deep/{name}/._0.jpg", f"deep/{name}/.thumbs/a.jpg"):
        (folder / path).touch()
    assert found(f"deep/{name}") == photos
    assert found(f"deep/{name}/*.jpg") == photos
    assert found(f"**/{name}") == photos
    assert found(f"deep/{name}/._0.jpg") == [f"deep/{name}/._0.jpg"]
    assert found("deep/*/*.jpg") == DEEP
    check_names([f"deep/{name}/*.jpg"])


def test_a_folder_that_cannot_be_listed_is_for_its_reader_to_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("/er"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found("deep") == ["deep/er"]


@pytest.mark.parametrize("name", ["gone", "gone.jpg", "*.png", "deep/*.jpg", "@gone.txt", "@deep"])
def test_names_that_match_nothing(name: str, folder: Path) -> None:
    check_names([".", "0.jpg", "*", "-", "**/6.jpg"])
    with pytest.raises(PhotosNotFound, match=r"^no (photo or folder|list) at "):
        check_names([".", name])
