"""The walk over class folders: what every command sees of an untidy folder, and by which label."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.tagging.photo_list import find_photos
from tests.support.commands import ROOT
from train import submission
from train.cleaning.duplicate_policy import split_photos
from train.cleaning.scan import Folder, list_folder
from train.config import ScratchConfig, TransferConfig
from train.data.folders import (
    DataError,
    class_folder_name,
    list_class_folders,
    list_loose_files,
    list_photos,
    part_folder,
    path_from_class,
)
from train.data.outside import find_outside
from train.data.sources import open_source
from train.data.split import Split, index_photos, split_by_class
from train.data.unlabelled import open_photos, photo_keys
from train.evaluate import labelled_photos
from train.prepare import PrepareConfig, write_split

PHOTOS = {
    "13.Eiffel_Tower/1.jpg": "Eiffel Tower",
    "13.Eiffel_Tower/2019/1.jpg": "Eiffel Tower",
    "13.Eiffel_Tower/2019/may/1.PNG": "Eiffel Tower",
    "13.Eiffel_Tower/2020/1.jpg": "Eiffel Tower",
    "13.Eiffel_Tower/Big_Ben/1.jpg": "Eiffel Tower",  # named like another class
    "14.Big_Ben/a.heic": "Big Ben",
    "14.Big_Ben/only here/b.jpeg": "Big Ben",
}
HIDDEN_FOLDERS = [
    ".ipynb_checkpoints",
    ".thumbnails",
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "$Recycle.Bin",
    "lost+found",
    "System Volume Information",
]
HIDDEN_FILES = [".DS_Store", "._1.jpg", ".hidden.jpg", "Thumbs.db", "thumbs.db", "desktop.ini"]
OTHERS = ["13.Eiffel_Tower/2019/notes.txt", "14.Big_Ben/film.mp4", "readme.md"]


def fill(root: Path, names: list[str]) -> Path:
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def make_untidy_folder(root: Path) -> Path:
    """Class folders with subfolders, and every hidden and system entry at every level."""
    fill(root, [*PHOTOS, *OTHERS])
    for place in (root, root / "13.Eiffel_Tower", root / "13.Eiffel_Tower" / "2019"):
        fill(place, [f"{folder}/1.jpg" for folder in HIDDEN_FOLDERS])
        fill(place, [f"{folder}/13.Eiffel_Tower/1.jpg" for folder in HIDDEN_FOLDERS])
        fill(place, HIDDEN_FILES)
    return root


def relative(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


# How each command finds the photos below a folder of class folders, as paths relative to it.
WALKS: dict[str, Callable[[Path], list[str]]] = {
    "training": lambda root: [path for paths in index_photos(root).values() for path in paths],
    "pretraining": lambda root: open_photos(ScratchConfig(data=root), root).paths(),
    "prepare": lambda root: list(list_folder(root).photos),
    "all photos": lambda root: relative(root, list_photos(root)),
    "evaluate": lambda root: list(labelled_photos(root, ["Eiffel Tower", "Big Ben"])),
    "outside": lambda root: relative(
        root,
        sorted(p for half in "AB" for kind in find_outside([root], half).values() for p in kind),
    ),
    "submission": lambda root: relative(*submission.list_photos(root)),
    "tagging": lambda root: relative(root, sorted(map(Path, find_photos([str(root)])))),
}


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_all_commands_see_the_same_photos(
    walk: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    assert walk(make_untidy_folder(tmp_path)) == list(PHOTOS)


def test_photos_in_subfolders_have_the_label_of_their_class_folder(tmp_path: Path) -> None:
    data = make_untidy_folder(tmp_path / "data")
    make_untidy_folder(tmp_path / "parts" / "train")
    for root, front in ((data, ""), (tmp_path / "parts", "train/")):
        split = split_by_class(index_photos(root), root, 0.2, seed=0)
        split.save(tmp_path / "split.json")
        paths = [front + path for path in PHOTOS]
        assert sorted(split.train + split.val) == sorted(paths)
        labels = Split.load(tmp_path / "split.json").labels(paths).tolist()
        assert [split.class_names[label] for label in labels] == list(PHOTOS.values())
    folder = list_folder(data)
    assert {path: label for path, (_, label) in folder.photos.items()} == PHOTOS
    assert sorted(folder.others) == sorted(OTHERS)
    assert folder.empty == folder.alike == []


def test_photos_of_none_of_them_are_no_class(tmp_path: Path) -> None:
    """What demo.py --collect writes: a name without a number, which would make all others count."""
    fill(
        tmp_path, ["00.Big_Ben/1.jpg", "01.Mill/1.jpg", "none_of_them/1.jpg", "none_of_them/2.jpg"]
    )
    assert list(index_photos(tmp_path)) == ["Big Ben", "Mill"]
    assert len(list_folder(tmp_path).photos) == 2
    assert list(labelled_photos(tmp_path, ["Big Ben", "Mill"])) == [
        "00.Big_Ben/1.jpg",
        "01.Mill/1.jpg",
    ]
    outside = find_outside([tmp_path / "none_of_them"], "A")
    assert {kind: [path.name for path in paths] for kind, paths in outside.items()} == {
        "none_of_them": ["1.jpg"]
    }


def test_class_folders_say_what_lies_in_them(tmp_path: Path) -> None:
    make_untidy_folder(tmp_path)
    fill(tmp_path, ["05.Empty/notes.txt", "photo.jpg"])
    empty, eiffel, _ = list_class_folders(tmp_path)
    assert (empty.path.name, empty.label, empty.photos) == ("05.Empty", "Empty", [])
    assert relative(tmp_path, empty.others) == ["05.Empty/notes.txt"]
    assert relative(tmp_path, eiffel.photos) == list(PHOTOS)[:5]
    assert relative(tmp_path, list_loose_files(tmp_path)) == ["photo.jpg", "readme.md"]


def test_parts_are_told_from_classes(tmp_path: Path) -> None:
    assert part_folder(tmp_path, "test") == tmp_path
    (tmp_path / "test").mkdir()
    assert part_folder(tmp_path, "test") == tmp_path / "test"
    for path, name, rest in [
        ("train/01.A/1.jpg", "01.A", "01.A/1.jpg"),
        ("01.A/1.jpg", "01.A", "01.A/1.jpg"),
        ("val/01.A/2019/1.jpg", "01.A", "01.A/2019/1.jpg"),
        ("01.A/2019/1.jpg", "01.A", "01.A/2019/1.jpg"),
        ("train/1.jpg", "train", "train/1.jpg"),
        ("1.jpg", "", "1.jpg"),
    ]:
        assert class_folder_name(path) == name
        assert path_from_class(path).as_posix() == rest


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_test_photos_never_become_a_class_or_its_photos(part: str, tmp_path: Path) -> None:
    """Test photos beside class folders, or one folder deeper than they should be."""
    beside = fill(tmp_path / "beside", [*PHOTOS, f"{part}/Big_Ben/9.jpg"])
    deeper = fill(tmp_path / "deeper", [*PHOTOS, f"Big_Ben/{part}/9.jpg"])
    too_high = fill(tmp_path / "high", [f"{top}/{part}/A/1.jpg" for top in ("photos", "prepared")])
    for data in (beside, deeper, too_high):
        if part != "train" or data != beside:  # there train/ is what it says
            with pytest.raises(DataError, match=rf"{part}.*rename"):
                index_photos(data)
    for data in (deeper, too_high):
        with pytest.raises(DataError, match=f"has a folder named {part}"):
            list_folder(data)


def test_links_do_not_give_a_photo_two_labels(tmp_path: Path) -> None:
    """Links out of the data folder count; those to another class or back to the top do not."""
    data = fill(tmp_path / "data", ["a/1.jpg", "a/z/2.jpg", "b/3.jpg"])
    fill(tmp_path / "elsewhere", ["4.jpg"])
    (data / "a" / "loop").symlink_to(data)
    (data / "a" / "other class").symlink_to(data / "b")
    (data / "b" / "outside").symlink_to(tmp_path / "elsewhere")
    (data / "b" / "back").symlink_to(data / "a" / "z")
    (data / "b" / "5.jpg").symlink_to(tmp_path / "elsewhere" / "4.jpg")
    names = {
        label: [(data / path).resolve().name for path in paths]
        for label, paths in index_photos(data).items()
    }
    assert names == {"a": ["1.jpg", "2.jpg"], "b": ["3.jpg", "4.jpg", "4.jpg"]}


# Computed by the version before photos in subfolders counted, on the folder below.
FINGERPRINTS = {
    "": "05b3148a88c25fdaedca563aab853524390d4a33bb6fc7e3a0282541118be940",
    "train": "51ad22d875faefe49a75ce755452ea30edf42c9fe5916049c632e42e6e6abf6a",
    "prepared": "670af3cd7a64518d123ed2a5b72be08aeeabc1a65c649be784dc6179e2f61430",
    "table": "1e8fe27dd9f1265dabda96fc7f7bff7069d9ee3f8251dc5aa07c4424f8cc8b97",
}
FLAT = {"00.Red_Tower": ".jpg", "10.Green Castle": ".PNG", "2.Blue_Bridge": ".heic"}


def test_flat_folders_keep_their_fingerprints(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        names = [f"{folder}/photo {i}{end}" for folder, end in FLAT.items() for i in range(count)]
        fill(tmp_path / part, names)
    for part in ("", "train"):
        data = tmp_path / part
        split = split_by_class(index_photos(data), data, 0.3, 4)
        assert split.fingerprint == FINGERPRINTS[part]
        assert split.label_of == {}


def test_prepared_flat_folders_keep_their_fingerprints(tmp_path: Path) -> None:
    photos = {
        f"{part}/{folder}/photo {i}{end}": (part, folder.split(".")[1].replace("_", " "))
        for part, count in (("train", 6), ("test", 1))
        for folder, end in FLAT.items()
        for i in range(count)
    }
    split = split_photos(photos, {"test": 0.2, "val": 0.3}, 4)
    config = PrepareConfig(data=(tmp_path / "data",), out=tmp_path)
    folder = Folder(config.data[0], ["."], photos, [], [], [])
    assert write_split(config, split, folder, []) == FINGERPRINTS["prepared"]


def test_tables_keep_their_fingerprints(tmp_path: Path) -> None:
    """Labels of the direct folder, of none, and of a folder that is called otherwise."""
    labels = {"a/Red_Tower": "Red_Tower", "a/Green": "Blue", "b/2019": "Gold"}
    rows = [(f"{folder}/{i}.jpg", label) for folder, label in labels.items() for i in range(6)]
    fill(tmp_path, [path for path, _ in rows])
    lines = ["path,label,split", *(f"{path},{label},train" for path, label in rows)]
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    source = open_source(TransferConfig(data=tmp_path / "photos.csv", wandb="disabled"))
    split = source.split([], 0.3, 4)
    assert split.fingerprint == FINGERPRINTS["table"]
    assert split.labels(["a/Red_Tower/0.jpg", "a/Green/0.jpg", "b/2019/0.jpg"]).tolist() == [
        2,
        0,
        1,
    ]


def test_photo_keys_do_not_depend_on_the_root(tmp_path: Path) -> None:
    fill(tmp_path, ["13.Eiffel_Tower/2019/1.jpg", "Big_Ben/a.heic"])
    keys = photo_keys(tmp_path, ["13.Eiffel_Tower/2019/1.jpg", "Big_Ben/a.heic"])
    assert keys == photo_keys(tmp_path / "13.Eiffel_Tower", ["2019/1.jpg", "../Big_Ben/a.heic"])
    # Encoders of earlier versions hold such keys.
    assert keys == {"18843f96d71037a7", "f15d2e41aa16beb7"}


def test_data_is_checked_without_torch() -> None:
    """Each command checks --data with these modules before it loads what takes seconds."""
    script = """
import sys
import train.data.folders, train.data.split, train.data.sources, train.cleaning.scan
import train.download, train.prepare
config = train.prepare.PrepareConfig(data=(train.prepare.Path("absent"),))
assert train.prepare.main(config) == 2
assert not {"torch", "matplotlib", "albumentations", "wandb"} & set(sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stderr.startswith("error: no data folder at absent")


def labels_of(root: Path) -> dict[str, str]:
    """Path -> label, as training sees a folder; prepare must see the same."""
    split = split_by_class(index_photos(root), root, 0.5, seed=0)
    paths = split.train + split.val
    found = {
        path: split.class_names[label]
        for path, label in zip(paths, split.labels(paths).tolist(), strict=True)
    }
    assert found == {path: label for path, (_, label) in list_folder(root).photos.items()}
    top = part_folder(root, "train")
    assert found == {
        (top / path).relative_to(root).as_posix(): split.class_names[label]
        for path, label in labelled_photos(top, split.class_names).items()
    }
    return found


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["3.14_Monument", "Old_Tower"], ["3.14 Monument", "Old Tower"]),
        (["3.14_Monument", "14_Monument"], ["3.14 Monument", "14 Monument"]),
        (["3.14_Monument", "2.71_Tower"], ["3.14 Monument", "2.71 Tower"]),
        (["9.11_Memorial", "00.Tower"], ["11 Memorial", "Tower"]),
        (["00.Tower", "1.2nd_Street", "7. Pont"], ["Tower", "2nd Street", "Pont"]),
        (["00.Tower", "Castle"], ["00.Tower", "Castle"]),
        (["01.Tower", "05.01.Tower"], ["Tower", "01.Tower"]),
    ],
)
def test_numbers_are_dropped_where_all_class_folders_have_one(
    folders: list[str], labels: list[str], tmp_path: Path
) -> None:
    for front in ("", "train/"):
        root = tmp_path / (front or "flat")
        fill(root, [f"{front}{folder}/{i}.jpg" for folder in folders for i in range(2)])
        assert labels_of(root) == {
            f"{front}{folder}/{i}.jpg": label
            for folder, label in zip(folders, labels, strict=True)
            for i in range(2)
        }


def test_val_and_test_mean_the_classes_of_train(tmp_path: Path) -> None:
    names = ("train/Tower", "train/Castle", "val/00.Tower", "val/01.Castle", "test/Castle")
    fill(tmp_path, [f"{name}/{i}.jpg" for name in names for i in range(2)])
    split = open_source(TransferConfig(data=tmp_path)).split([], 0.1, 0)
    assert split.class_names == ["Castle", "Tower"]
    assert split.labels(split.val).tolist() == [0, 0, 1, 1]
    assert {label for _, label in list_folder(tmp_path).photos.values()} == {"Castle", "Tower"}


NFC, NFD = "Café", "Cafe\u0301"


def test_two_forms_of_unicode_are_one_class(tmp_path: Path) -> None:
    """macOS and NAS boxes write "é" as two characters."""
    parts = tmp_path / "parts"
    fill(parts, [f"train/{name}/{i}.jpg" for name in (NFD, "Bar") for i in range(2)])
    fill(parts, [f"val/{name}/9.jpg" for name in (NFC, "Bar")])
    source = open_source(TransferConfig(data=parts))
    split = source.split([], 0.1, 0)
    assert split.class_names == ["Bar", NFC]
    assert split.labels(split.val).tolist() == [0, 1]
    assert {label for _, label in list_folder(parts).photos.values()} == {"Bar", NFC}
    assert set(labelled_photos(parts / "val", ["Bar", NFD]).values()) == {0, 1}
    both = fill(tmp_path / "both", [f"{name}/{i}.jpg" for name in (NFD, NFC, "Bar") for i in "12"])
    with pytest.raises(DataError, match=r"mean the class 'Café'.*'Cafe\\u0301'.*'Caf\\xe9'.*merge"):
        index_photos(both)
    assert {label for _, label in list_folder(both).photos.values()} == {"Bar", NFC}
    rows = [
        "path,label,split",
        *(f"{name}/{i}.jpg,{name},train" for name in (NFD, NFC) for i in "12"),
    ]
    (both / "t.csv").write_text("\n".join([*rows, "Bar/1.jpg,Bar,train", "Bar/2.jpg,Bar,train"]))
    assert list(open_source(TransferConfig(data=both / "t.csv")).classes) == ["Bar", NFC]


def test_splits_of_earlier_versions_keep_their_labels() -> None:
    """They dropped every number, and took two forms of Unicode for two classes."""
    names = ["14 Monument", "Tower", NFC, NFD]
    paths = ["3.14_Monument/1.jpg", "Tower/1.jpg", f"{NFC}/1.jpg", f"train/{NFD}/1.jpg"]
    split = Split("f" * 64, "root", names, paths, [], [])
    assert split.labels(paths).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "find", [index_photos, list_folder, lambda data: labelled_photos(data, [])]
)
def test_a_flat_folder_says_how_to_lay_photos_out(find: Callable, tmp_path: Path) -> None:
    fill(tmp_path, ["a.jpg", "b.jpg", ".hidden/c.jpg"])
    with pytest.raises(DataError, match=r"0 class folders .* 2 photos: .*Red_Tower/a\.jpg"):
        find(tmp_path)
    with pytest.raises(DataError, match=r"no data folder at .*train\.download.*LANDMARKS_DATA"):
        find(tmp_path / "gone")
