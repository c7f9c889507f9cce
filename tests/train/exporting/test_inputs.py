"""What an export reads: a run folder's checkpoint, and outside photos in two halves."""

from pathlib import Path

import pytest

from models.photos import PHOTO_EXTENSIONS
from tests.support.drawing import draw_landmark
from train.exporting.inputs import find_checkpoint, find_outside


def test_halves_of_the_outside_photos_share_none(tmp_path: Path) -> None:
    for number in range(7):
        folder = tmp_path / f"{number % 2}"
        folder.mkdir(exist_ok=True)
        draw_landmark(0, number).save(folder / f"{number}.jpg")
    (tmp_path / "notes.txt").write_text("no photo")
    a, b = find_outside(tmp_path, "A"), find_outside(tmp_path, "B")
    assert (len(a), len(b), set(a) & set(b)) == (4, 3, set())
    with pytest.raises(ValueError, match="no folder"):
        find_outside(tmp_path / "absent", "A")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no photos"):
        find_outside(tmp_path / "empty", "B")


def halves_before(folder: Path) -> tuple[list[Path], list[Path]]:
    """The halves as all model files until now were made and measured with."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_EXTENSIONS)
    return paths[0::2], paths[1::2]


def test_halves_are_those_of_earlier_versions(tmp_path: Path) -> None:
    folders = {
        ".": ["a.jpg", "b.jpg", "notes.txt"],
        "a": ["b.JPG", "b.jpg", "list.csv"],
        "a/b": ["c.png"],
        "a b": ["1.jpeg"],
        "a-b": ["2.jpg"],
        "a.b": ["3.webp"],
        "B": ["1.jpg", "10.jpg", "2.jpg"],
        "ä": ["1.jpg"],
    }
    for name in [f"{folder}/{name}" for folder, names in folders.items() for name in names]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    a, b = halves_before(tmp_path)
    assert (len(a), len(b)) == (6, 6)
    assert (find_outside(tmp_path, "A"), find_outside(tmp_path, "B")) == (a, b)


def test_hidden_and_system_entries_shift_no_half(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number % 2}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 2}" / f"{number}.jpg").write_bytes(b"")
    before = find_outside(tmp_path, "A"), find_outside(tmp_path, "B")
    for name in (
        "._0.jpg",
        "0/._1.jpg",
        "0/@eaDir/0.jpg/thumb.jpg",
        "#recycle/old.jpg",
        ".ipynb_checkpoints/1.jpg",
        "1/__MACOSX/._5.jpg",
        "1/Thumbs.db",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert (find_outside(tmp_path, "A"), find_outside(tmp_path, "B")) == before


def test_a_checkpoint_is_found_or_missed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train first, or name a run folder"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.pt").write_bytes(b"")
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "best.pt"
