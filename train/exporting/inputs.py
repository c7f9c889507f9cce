"""Find what an export reads, without torch: commands check their flags with this first."""

from pathlib import Path

from train.data.folders import DataError


def find_checkpoint(run_dir: Path) -> Path:
    """Return the checkpoint that a run folder exports.

    Raises:
        DataError: Not a run folder, or nothing trained yet.
    """
    best = run_dir / "checkpoints" / "best.pt"
    if not best.is_file():
        raise DataError(f"no checkpoints/best.pt in {run_dir}; train first, or name a run folder")
    return best
