"""Folders that flags name, and links to files."""

import os
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from models.files import check_folder, relative_url


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


@pytest.mark.parametrize(
    "name", ["a b.jpg", "50%.jpg", "#1?.jpg", "a:b.jpg", "東京 é.jpg", "'\"<.jpg"]
)
def test_a_link_leads_to_the_file(name: str, tmp_path: Path) -> None:
    href = relative_url(tmp_path / "in" / name, tmp_path / "out")
    assert urlparse(href)[2] == href  # no host, query or fragment
    assert (tmp_path / "out" / unquote(href)).resolve() == tmp_path / "in" / name


def test_a_link_to_a_name_that_is_no_text(tmp_path: Path) -> None:
    assert relative_url(Path(os.fsdecode(b"/a/\xff.jpg")), Path("/a")) == "%FF.jpg"
