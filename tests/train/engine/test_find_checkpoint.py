"""What an export reads: a run folder's checkpoint."""

from pathlib import Path

import pytest

from train.engine.run_folder import find_checkpoint


def test_a_checkpoint_is_found_or_missed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train first, or name a run folder"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.pt").write_bytes(b"")
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "best.pt"
