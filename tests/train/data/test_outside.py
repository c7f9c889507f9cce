"""Photos of other things: their kinds, in two halves that share nothing."""

from pathlib import Path

import pytest

from models.photos import PHOTO_EXTENSIONS
from train.data.outside import find_outside, list_kinds, outside_root


def fill(root: Path, names: list[str]) -> Path:
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def halves(root: Path, *folders: Path) -> list[dict[str, list[str]]]:
    """Both halves, A first, as paths relative to root."""
    return [
        {
            kind: [path.relative_to(root).as_posix() for path in paths]
            for kind, paths in find_outside(folders or [root], half).items()
        }
        for half in "AB"
    ]


def test_several_folders_are_a_kind_each(tmp_path: Path) -> None:
    fill(tmp_path, ["animals/1.jpg", "animals/2.jpg", "animals/3.jpg", "streets/1.jpg"])
    fill(tmp_path, ["streets/2.jpg", "streets/notes.txt", "other/1.jpg"])
    assert halves(tmp_path, tmp_path / "streets", tmp_path / "animals") == [
        {"streets": ["streets/1.jpg"], "animals": ["animals/1.jpg", "animals/3.jpg"]},
        {"streets": ["streets/2.jpg"], "animals": ["animals/2.jpg"]},
    ]
    assert outside_root([tmp_path / "streets", tmp_path / "animals"]) == tmp_path


def test_a_single_folder_of_folders_is_a_folder_of_kinds(tmp_path: Path) -> None:
    fill(tmp_path, ["animals/1.jpg", "animals/2.jpg", "streets/1.jpg", "empty/notes.txt"])
    # A kind with a single photo has none in half B, and an empty one none at all.
    assert halves(tmp_path) == [
        {"animals": ["animals/1.jpg"], "streets": ["streets/1.jpg"]},
        {"animals": ["animals/2.jpg"]},
    ]
    (tmp_path / "loose.jpg").touch()  # now it is one kind, with photos at any depth
    assert halves(tmp_path) == [
        {tmp_path.name: ["animals/1.jpg", "loose.jpg"]},
        {tmp_path.name: ["animals/2.jpg", "streets/1.jpg"]},
    ]


def test_a_kind_of_folders_is_dealt_folder_by_folder(tmp_path: Path) -> None:
    places = [f"places/{place}/{photo}.jpg" for place in "abc" for photo in "12"]
    fill(tmp_path, [*places, "places/b/deeper/3.jpg", "everyday/1.jpg", "everyday/2.jpg"])
    fill(tmp_path, [f"single/only/{photo}.jpg" for photo in "12"])
    assert halves(tmp_path) == [
        {
            "everyday": ["everyday/1.jpg"],
            "places": [place for place in places if "/b/" not in place],
            "single": ["single/only/1.jpg"],  # one folder cannot be dealt: its photos are
        },
        {
            "everyday": ["everyday/2.jpg"],
            "places": ["places/b/1.jpg", "places/b/2.jpg", "places/b/deeper/3.jpg"],
            "single": ["single/only/2.jpg"],
        },
    ]


def test_two_kinds_of_one_name_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in "xy":
        fill(tmp_path / side / "animals", ["1.jpg", "2.jpg"])
    first, second = (tmp_path / side / "animals" for side in "xy")
    found = find_outside([first, second], "A")
    assert found == {"animals": [first / "1.jpg"], second.as_posix(): [second / "1.jpg"]}
    monkeypatch.chdir(first)
    assert find_outside([Path()], "A") == {"animals": [Path("1.jpg")]}  # "." has a name, too


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["full/1.jpg", "empty/notes.txt", "hidden/.thumbnails/1.jpg"])
    for folder, message in {
        "absent": "no folder of outside photos at .*absent",
        "full/1.jpg": "no folder of outside photos at",
        "empty": "no photos in .*empty; expected photos of none of the landmarks",
        "hidden": "no photos in .*hidden",
    }.items():
        for folders in ([tmp_path / folder], [tmp_path / "full", tmp_path / folder]):
            with pytest.raises(ValueError, match=message):
                find_outside(folders, "A")
            with pytest.raises(ValueError, match=message):
                list_kinds(folders)


def halves_before(folder: Path) -> tuple[list[Path], list[Path]]:
    """The halves as model files without kinds of outside photos were made and measured with."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_EXTENSIONS)
    return paths[0::2], paths[1::2]


def test_halves_of_one_kind_are_those_of_earlier_versions(tmp_path: Path) -> None:
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
    fill(tmp_path, [f"{folder}/{name}" for folder, names in folders.items() for name in names])
    a, b = halves_before(tmp_path)
    assert (len(a), len(b)) == (6, 6)
    name = tmp_path.name
    assert (find_outside([tmp_path], "A"), find_outside([tmp_path], "B")) == ({name: a}, {name: b})


@pytest.mark.parametrize(
    "photos",
    [
        [f"{number % 2}/{number}.jpg" for number in range(6)],  # kinds
        [f"places/{number % 3}/{number}.jpg" for number in range(6)],  # a kind of folders
        [f"{number}.jpg" for number in range(6)],  # one kind
    ],
)
def test_hidden_and_system_entries_shift_no_half(photos: list[str], tmp_path: Path) -> None:
    fill(tmp_path, photos)
    folders = sorted({path.parent for path in tmp_path.rglob("*.jpg")} | {tmp_path})
    before = halves(tmp_path)
    assert sorted(path for half in before for kind in half.values() for path in kind) == sorted(
        photos
    )
    for folder in folders:
        fill(
            folder,
            [
                "._0.jpg",
                "@eaDir/0.jpg/thumb.jpg",
                "#recycle/old.jpg",
                ".ipynb_checkpoints/1.jpg",
                "__MACOSX/._5.jpg",
                "Thumbs.db",
                "0 empty/notes.txt",
            ],
        )
    assert halves(tmp_path) == before
