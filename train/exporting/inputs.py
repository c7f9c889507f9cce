"""Find what an export reads, without torch: commands check their flags with this first."""

from pathlib import Path

from train.data.folders import DataError, list_photos


def find_checkpoint(run_dir: Path) -> Path:
    """Return the checkpoint that a run folder exports.

    Raises:
        DataError: Not a run folder, or nothing trained yet.
    """
    best = run_dir / "checkpoints" / "best.pt"
    if not best.is_file():
        raise DataError(f"no checkpoints/best.pt in {run_dir}; train first, or name a run folder")
    return best


def find_outside(folder: Path, half: str) -> list[Path]:
    """Find photos of none of the landmarks: half A to learn from, half B to measure on.

    Hidden and system entries are left out before the photos are dealt, since one of them more or
    less would move every later photo to the other half, and figures would come from photos that
    taught the score.

    Args:
        folder: Searched at any depth.
        half: "A" is every other photo in the order of their paths, from the first; "B" the rest.

    Raises:
        DataError: There is no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise DataError(f"no folder of outside photos at {folder}")
    photos = list_photos(folder)
    if not photos:
        raise DataError(f"no photos in {folder}; expected photos of none of the landmarks")
    return photos["AB".index(half) :: 2]
