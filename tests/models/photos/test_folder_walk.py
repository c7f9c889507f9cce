"""The walk over photo folders: what is left out everywhere, and what links lead to."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.photos import PHOTO_EXTENSIONS
from models.photos.folder_walk import is_left_out, is_photo, walk_files, walk_paths, walk_photos

# What systems put beside photos, as they spell it.
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
SYSTEM_FILES = ("._1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos at three depths, notes beside them, and in each folder what systems put there."""
    for place in (tmp_path, tmp_path / "2019", tmp_path / "2019" / "Paris"):
        place.mkdir(exist_ok=True)
        for name in ("b.JPG", "a.heic", "notes.txt", *SYSTEM_FILES):
            (place / name).touch()
        for name in SYSTEM_FOLDERS:
            (place / name).mkdir()
            (place / name / "deleted.jpg").touch()
    return tmp_path


def relative(paths: object, folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_system_and_hidden_entries_are_left_out_at_any_depth(folder: Path) -> None:
    deep = ["2019/Paris/a.heic", "2019/Paris/b.JPG"]
    assert relative(walk_photos(folder), folder) == [
        *deep,
        "2019/a.heic",
        "2019/b.JPG",
        "a.heic",
        "b.JPG",
    ]
    notes = [name for name in relative(walk_files(folder), folder) if "notes" in name]
    assert notes == ["2019/Paris/notes.txt", "2019/notes.txt", "notes.txt"]


@pytest.mark.parametrize("name", [*SYSTEM_FOLDERS, *SYSTEM_FILES, "THUMBS.DB", "@EADIR"])
def test_names_that_are_left_out(name: str) -> None:
    assert is_left_out(name)


@pytest.mark.parametrize("name", ["1.jpg", "recycle", "@home", "Thumbs", "macosx", "#1.jpg", "_"])
def test_names_that_are_kept(name: str) -> None:
    assert not is_left_out(name)


def test_a_photo_is_told_by_its_extension() -> None:
    for extension in PHOTO_EXTENSIONS:
        assert is_photo(f"a{extension}") and is_photo(f"folder.txt/A{extension.upper()}")
    assert not any(map(is_photo, ("a.txt", "jpg", ".jpg", "a.jpg/notes", "a")))


def test_the_folder_itself_may_have_any_name(folder: Path) -> None:
    assert relative(walk_photos(folder / "@eaDir"), folder) == ["@eaDir/deleted.jpg"]


def test_links_are_followed_and_each_folder_is_walked_once(folder: Path) -> None:
    before = relative(walk_photos(folder), folder)
    (folder / "2019" / "up").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "to Paris").symlink_to(folder / "2019" / "Paris")
    (folder / "elsewhere.jpg").symlink_to(folder / "gone.jpg")
    found = relative(walk_photos(folder), folder)
    assert found == sorted([*before, "elsewhere.jpg"], key=found.index)
    assert len(found) == len(before) + 1


def test_a_walk_remembers_what_another_has_done(folder: Path) -> None:
    searched: set[str] = set()
    assert list(walk_paths(str(folder / "2019"), searched))
    rest = [Path(path) for path in walk_paths(str(folder), searched)]
    assert relative(rest, folder) == ["a.heic", "b.JPG", "notes.txt"]


def test_paths_begin_as_the_folder_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert next(walk_paths(".")) == "./2019/Paris/a.heic"
    assert next(walk_files(Path("2019"))) == Path("2019/Paris/a.heic")


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder unlistable, also for root, who may list any."""
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path) in forbidden:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    forbidden: list[Path] = []
    monkeypatch.setattr(os, "scandir", scandir)
    return forbidden.append


def test_a_folder_that_cannot_be_listed(folder: Path, forbid: Callable[[Path], None]) -> None:
    forbid(folder / "2019")
    with pytest.raises(PermissionError):
        list(walk_photos(folder))
    found = list(walk_paths(str(folder), keep_unlistable=True))
    assert found[0] == str(folder / "2019")
    assert relative(map(Path, found[1:]), folder) == ["a.heic", "b.JPG", "notes.txt"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk_photos(tmp_path / "gone"))
