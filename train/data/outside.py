"""Find photos of none of the landmarks, by kind: half A to learn from, half B to measure on."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.files import write_text
from models.photos.folder_walk import is_left_out, is_photo
from train.data.folders import DataError, list_photos

MIN_PHOTOS = 20
"""Outside photos that a half needs to be used at all, and a kind to be measured on."""
HELD_OUT = 5
"""Every fifth photo of half A is kept from the network, to teach the known score."""
ENOUGH = 200
"""Outside photos that show what 5 in 1,000 is: of fewer, not one may pass."""


@dataclass(frozen=True)
class OutsidePhotos:
    """The photos of other things that a run learns from and is measured on.

    Attributes:
        root: The folder that they lie in.
        learn: Kind -> paths of half A, relative to root.
        measure: Kind -> paths of half B.
    """

    root: str
    learn: dict[str, list[str]]
    measure: dict[str, list[str]]

    def for_network(self) -> dict[str, str]:
        """Return path -> kind of the photos that the network learns from: most of half A."""
        return self._deal(lambda position: position % HELD_OUT != HELD_OUT - 1)

    def for_score(self) -> dict[str, str]:
        """Return path -> kind of the rest of half A, which teaches the known score.

        Photos that trained the network look stranger to it than new ones, as validation photos
        look less familiar than training photos.
        """
        return self._deal(lambda position: position % HELD_OUT == HELD_OUT - 1)

    def all_learned(self) -> dict[str, str]:
        """Return path -> kind of half A."""
        return self._deal(lambda position: True)

    def _deal(self, keep: Callable[[int], bool]) -> dict[str, str]:
        return {
            path: kind
            for kind, paths in self.learn.items()
            for position, path in enumerate(paths)
            if keep(position)
        }

    @classmethod
    def find(cls, folders: Sequence[Path]) -> "OutsidePhotos":
        """Find both halves; see find_outside.

        Raises:
            DataError: There is no such folder, or no photo in it.
        """
        root = outside_root(folders)

        def relative(half: str) -> dict[str, list[str]]:
            found = find_outside(folders, half)
            return {
                kind: [Path(os.path.abspath(path)).relative_to(root).as_posix() for path in paths]
                for kind, paths in found.items()
            }

        return cls(str(root), relative("A"), relative("B"))

    @classmethod
    def load(cls, path: Path) -> "OutsidePhotos":
        """Read what save wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write them down, so that a resumed run and its export see the same photos."""
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False))

    def can_teach_network(self) -> bool:
        """Tell whether enough photos remain for the score when the network has learned."""
        return len(self.for_score()) >= MIN_PHOTOS

    def describe(self) -> str:
        """Return a line for people: how many photos of which kinds, and whether they suffice."""
        kinds = ", ".join(
            f"{kind} {len(self.learn.get(kind, ()))} + {len(self.measure.get(kind, ()))}"
            for kind in {**self.learn, **self.measure}
        )
        said = f"outside photos (to learn from + to measure on): {kinds}"
        if len(self.all_learned()) < MIN_PHOTOS:
            return f"{said}. Too few to learn anything from; {2 * HELD_OUT * MIN_PHOTOS} would do"
        if not self.can_teach_network():
            said += (
                f". Too few for the network to learn from ({2 * HELD_OUT * MIN_PHOTOS} would do): "
                "they teach only the known score"
            )
        return f"{said}{warn_of_few({kind: len(each) for kind, each in self.measure.items()})}"


def warn_of_few(counts: Mapping[str, int]) -> str:
    """Say what the photos to measure on are too few for; "" where they suffice.

    Args:
        counts: Kind -> its photos.
    """
    used = {kind: count for kind, count in counts.items() if count >= MIN_PHOTOS}
    if sum(used.values()) < ENOUGH:
        return (
            f". Too few to measure 5 in 1,000, so no answer will be sure: that takes {ENOUGH} "
            f"photos to measure on, in kinds of at least {MIN_PHOTOS}"
        )
    if few := [f"{kind} ({count})" for kind, count in counts.items() if count < ENOUGH]:
        return f". Of {', '.join(few)} not one may pass for sure: {ENOUGH} would show 5 in 1,000"
    return ""


def find_outside(folders: Sequence[Path], half: str) -> dict[str, list[Path]]:
    """Find one half of the photos of other things, by kind.

    Each folder is a kind of other photos; a single folder that holds folders and no loose photos is
    a folder of kinds. A kind that consists of folders is dealt folder by folder: whole places lie
    in one half, so what learned a place is not measured on it. Other kinds are dealt photo by
    photo.

    Hidden and system entries are left out before anything is dealt, since one of them more or less
    would move later photos to the other half, and figures would come from photos that taught the
    score.

    Args:
        folders: What --outside names, at least one.
        half: "A" is every other photo or folder in the order of their paths, from the first; "B"
            the rest.

    Returns:
        Kind -> its photos, sorted by path; kinds without a photo in this half are left out.

    Raises:
        DataError: There is no such folder, or no photo in it.
    """
    kinds = {}
    for folder in list_kinds(folders):
        name = os.path.basename(os.path.abspath(folder))  # "." has no name of its own
        # Kinds of the same name in different folders are told apart by their paths.
        name = folder.as_posix() if name in kinds else name
        kinds[name] = _deal(folder)["AB".index(half)]
    return {name: photos for name, photos in kinds.items() if photos}


def list_kinds(folders: Sequence[Path]) -> list[Path]:
    """List the folders that are a kind of other photos each; see find_outside.

    Raises:
        DataError: There is no such folder, or no photo in it.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder of outside photos at {folder}")
        if not list_photos(folder):
            raise DataError(f"no photos in {folder}; expected photos of none of the landmarks")
    if len(folders) > 1:
        return list(folders)
    return _subfolders(folders[0]) or list(folders)


def outside_root(folders: Sequence[Path]) -> Path:
    """Return the folder that all outside photos lie in."""
    return Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))


def _deal(kind: Path) -> tuple[list[Path], list[Path]]:
    """Deal the photos of a kind to the halves A and B."""
    parts = _subfolders(kind)
    if len(parts) < 2:
        photos = list_photos(kind)
        return photos[0::2], photos[1::2]
    halves = (parts[0::2], parts[1::2])
    first, second = ([photo for part in half for photo in list_photos(part)] for half in halves)
    return first, second


def _subfolders(folder: Path) -> list[Path]:
    """List the folders with photos in a folder, sorted; none if photos lie loose beside them."""
    entries = sorted(path for path in folder.iterdir() if not is_left_out(path.name))
    if any(is_photo(path.name) and path.is_file() for path in entries):
        return []
    return [path for path in entries if path.is_dir() and list_photos(path)]
