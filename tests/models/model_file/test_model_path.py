"""What --model may name, and what is said of everything else."""

from pathlib import Path

import pytest

from models.model_file.model_path import BUNDLED, ModelFileError, find_model


def test_a_file_a_run_folder_or_the_bundled_model(toy_model: Path) -> None:
    assert find_model(toy_model) == find_model(toy_model.parent) == toy_model
    assert find_model() == BUNDLED


@pytest.mark.parametrize("content", [b"# Landmarks\n", b"\x89PNG\r\n", b"P", bytes(9)])
def test_another_file_is_no_model_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    if content == b"P":  # what is left of one that was cut short
        assert find_model(path) == path
        return
    with pytest.raises(ModelFileError, match=r"README\.md is no model file; give the model\.pt"):
        find_model(path)


def test_only_a_run_is_finished_with_resume(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model\.pt in .*no run folder") as error:
        find_model(tmp_path)
    assert "--resume" not in str(error.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"no model\.pt in .*finished with --resume"):
        find_model(tmp_path)
    with pytest.raises(ModelFileError, match="no model file at"):
        find_model(tmp_path / "gone")
