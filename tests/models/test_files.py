"""Folders that flags name."""

from pathlib import Path

import pytest

from models.files import check_folder


def test_a_folder_is_checked_and_not_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "deep", "--out")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    check_folder(tmp_path / "old", "--out")
    assert list((tmp_path / "old").iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/x", "/proc/x/y", "file", "file/x"])
def test_a_folder_that_cannot_be_written_names_flag_and_reason(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"^--out .*{place} cannot be written: [A-Z]"):
        check_folder(tmp_path / place, "--out")
