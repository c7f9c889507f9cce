"""What --data may name beside class folders: splits.json of train.prepare, and a CSV table."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.support.drawing import draw_landmark
from tests.support.runs import tiny
from train.cleaning.scan import list_folder
from train.config import ScratchConfig, TransferConfig
from train.data.loading import read_photos
from train.data.sources import Source, open_source
from train.data.split import DataError, Split, index_photos, split_by_class
from train.data.unlabelled import open_photos
from train.engine.run_folder import write_run
from train.engine.training_run import run_training

FOLDERS = ["00.Red_Tower", "01.Green_Castle", "02.Blue_Bridge"]


@pytest.fixture
def photos(landmark_photos: Path, tmp_path: Path) -> Path:
    """A copy of the drawn photos, to be changed."""
    return shutil.copytree(landmark_photos, tmp_path / "photos")


def write_manifest(photos: Path, folder: Path, **changes: object) -> Path:
    """What train.prepare writes: the last two of each class validate, test photos are listed."""
    paths = [path.relative_to(photos).as_posix() for path in sorted(photos.glob("train/*/*.jpg"))]
    parts = {"train": [p for p in paths if p < p[:-7] + "010"], "test": ["test/02.Blue_Bridge/x"]}
    parts["val"] = sorted(set(paths) - set(parts["train"]))
    hashes = {
        path: {
            "bytes": (photos / path).stat().st_size,
            "sha256": hashlib.sha256((photos / path).read_bytes()).hexdigest(),
        }
        for path in paths
    }
    content = {"fingerprint": "ab" * 32, "root": str(photos), **parts, "hashes": hashes} | changes
    content = {name: value for name, value in content.items() if value is not None}
    folder.mkdir(exist_ok=True)
    (folder / "splits.json").write_text(json.dumps(content))
    return folder


def open_data(data: Path, **changes: object) -> Source:
    return open_source(TransferConfig(data=data, **changes))


def draw_split(source: Source) -> Split:
    return source.split([], 0.1, 0)


def test_prepared_split_is_used_as_it_is(photos: Path, tmp_path: Path) -> None:
    source = open_data(write_manifest(photos, tmp_path / "prepared"))
    split = source.split([], val_fraction=0.4, seed=9)
    assert split.fingerprint == "ab" * 32
    assert split.root == str(photos)
    assert split.class_names == ["Red Tower", "Green Castle", "Blue Bridge"]
    assert split.test == []
    assert len(split.train) == 30
    assert split.val == [f"train/{folder}/0{n}.jpg" for folder in FOLDERS for n in (10, 11)]
    assert split.labels(split.val).tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(source.paths()) == sorted(split.train + split.val)
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    with pytest.raises(
        DataError, match=r"cannot be read: 1 \(train/a\.jpg\).*train\.prepare again"
    ):
        source.split(["train/a.jpg"], 0.1, 0)


def test_prepared_class_names_and_sizes_may_be_given_or_not(photos: Path, tmp_path: Path) -> None:
    names = ["Blue Bridge", "Red Tower", "Green Castle"]
    given = draw_split(open_data(write_manifest(photos, tmp_path / "a", class_names=names)))
    assert given.class_names == names
    assert given.labels(given.val).tolist() == [1, 1, 2, 2, 0, 0]
    bare = draw_split(open_data(write_manifest(photos, tmp_path / "b", hashes=None)))
    assert bare.sizes == {}


def test_changed_photos_are_said_with_the_fix(photos: Path, tmp_path: Path) -> None:
    prepared = write_manifest(photos, tmp_path / "prepared")
    for number in range(4):
        (photos / "train" / FOLDERS[0] / f"00{number}.jpg").unlink()
    draw_landmark(5, 5).save(photos / "train" / FOLDERS[1] / "011.jpg", quality=40)
    with pytest.raises(DataError) as caught:
        open_data(prepared)
    message = str(caught.value)
    assert "the 36 photos" in message
    names = ", ".join(f"train/{FOLDERS[0]}/00{number}.jpg" for number in range(3))
    assert f"missing: 4 ({names}, ...)" in message
    assert f"of another size than before: 1 (train/{FOLDERS[1]}/011.jpg)" in message
    assert message.endswith("run python -m train.prepare again")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "not as train.prepare writes it.*train.prepare again"),
        ({"hashes": {"a": 3}}, "not as train.prepare writes it.*train.prepare again"),
        ({"root": "/nowhere"}, "missing: 36.*train.prepare again"),
        ({"val": []}, "no validation photos; hold"),
        ({"val": ["train/00.Red_Tower/000.jpg"]}, r"in both train and val: 1 \(train/00"),
        ({"class_names": ["Red Tower", "Green Castle"]}, "'Blue Bridge', which is not among the 2"),
        ({"test": ["test/05.Gold_Gate/0.jpg"]}, r"without a training photo: 1 \(Gold Gate\); add"),
    ],
)
def test_useless_manifests_are_refused(
    photos: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_data(write_manifest(photos, tmp_path / "prepared", **changes))


def test_broken_manifest_is_refused(tmp_path: Path) -> None:
    for content in ("", "[]", '{"fingerprint": '):
        (tmp_path / "splits.json").write_text(content)
        with pytest.raises(DataError, match=r"not as train\.prepare writes it"):
            open_data(tmp_path)


Row = tuple[object, str, str]


def write_table(path: Path, rows: list[Row], columns: tuple = ("path", "label", "split")) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def folder_rows(photos: Path, part: str = "train") -> list[Row]:
    found = sorted((photos / "train").glob("*/*.jpg"))
    return [(path.relative_to(photos).as_posix(), path.parent.name, part) for path in found]


def test_table_gives_labels_and_split(photos: Path) -> None:
    """Two labels that are not the folders', one path absolute, test photos that do not exist."""
    rows = [
        (
            photos / path if path.endswith("001.jpg") else path,
            "2. Old" if "Red" in path else "1.New_Town",
            "val" if path.endswith("000.jpg") else "train",
        )
        for path, _, _ in folder_rows(photos)
    ]
    table = write_table(photos / "photos.csv", [*rows, ("gone/0.jpg", "Moon", "test")])
    source = open_data(table)
    split = source.split(["train/00.Red_Tower/002.jpg"], val_fraction=0.4, seed=9)
    assert split.class_names == ["New Town", "Old"]
    assert split.val == [f"train/{FOLDERS[folder]}/000.jpg" for folder in (1, 2, 0)]
    assert split.labels(split.val).tolist() == [0, 0, 1]
    assert len(split.train) == 32
    assert "train/00.Red_Tower/001.jpg" in split.train
    assert split.root == str(photos)
    split.save(photos / "split.json")
    assert Split.load(photos / "split.json") == split
    swapped = [
        (path, "1.New_Town" if label == "2. Old" else "2. Old", part) for path, label, part in rows
    ]
    other = draw_split(open_data(write_table(photos / "other.csv", swapped)))
    assert other.fingerprint != draw_split(source).fingerprint
    with pytest.raises(DataError, match=r"without a training photo: 1 \(Old\)"):
        source.split([path for path in source.paths() if "Red_Tower/0" in path], 0.1, 0)


def test_table_without_validation_is_split_as_folders_are(photos: Path, tmp_path: Path) -> None:
    table = write_table(photos / "photos.csv", folder_rows(photos))
    drawn = open_data(table, val_fraction=0.3, split_seed=4).split([], 0.3, 4)
    assert drawn == split_by_class(index_photos(photos), photos, 0.3, 4)
    few = open_data(table, limit=5)
    assert [len(paths) for paths in few.classes.values()] == [5, 5, 5]
    # From elsewhere, the root is where all photos are.
    rows = [(photos / path, label, part) for path, label, part in folder_rows(photos)]
    (tmp_path / "lists").mkdir()
    away = open_data(write_table(tmp_path / "lists" / "photos.csv", rows))
    assert away.root == photos / "train"
    assert away.paths()[0] == "00.Red_Tower/000.jpg"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a.jpg", "", "train")], "line 2 of .* must have a path, a label"),
        ([("a.jpg", "a", "dev")], r"train, val or test as split; it has 'a\.jpg', 'a', 'dev'"),
        ([("a.jpg", "a", "train"), ("./a.jpg", "b", "val")], "line 3 of .* names ./a.jpg again"),
        ([("a.jpg", "a", "train"), ("b.jpg", "a", "val")], "1 classes in .*; expected two"),
        ([("a.jpg", "a", "train"), ("b.jpg", "b", "val")], "missing: 2.*correct .*photos.csv"),
        ([("a.jpg", "a")], "must have a path"),
    ],
)
def test_useless_tables_are_refused(tmp_path: Path, rows: list[Row], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(write_table(tmp_path / "photos.csv", rows))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be path,label,split; it is 'file,class'"):
        open_data(write_table(tmp_path / "photos.csv", [], ("file", "class")))
    (tmp_path / "photos.csv").write_bytes(b"path,label,split\n\xff\xfe\xff,a,train\n")
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        open_data(tmp_path / "photos.csv")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"neither a folder nor a \.csv file"):
        open_data(tmp_path / "photos.zip")


@pytest.mark.parametrize("flag", ["--val-fraction", "--split-seed", "--limit"])
@pytest.mark.parametrize("kind", ["manifest", "table"])
def test_flags_against_a_given_split_are_refused(
    photos: Path, tmp_path: Path, flag: str, kind: str
) -> None:
    rows = folder_rows(photos)
    rows[::4] = [(path, label, "val") for path, label, _ in rows[::4]]
    data = (
        write_manifest(photos, tmp_path / "prepared")
        if kind == "manifest"
        else write_table(photos / "photos.csv", rows)
    )
    field = flag.strip("-").replace("-", "_")
    value = {"val_fraction": 0.2}.get(field, 3)
    with pytest.raises(DataError, match=f"leave {flag} out"):
        open_data(data, **{field: value})


def test_run_of_a_prepared_split_keeps_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prepared, run_dir = write_manifest(photos, tmp_path / "prepared"), tmp_path / "run"
    config = tiny(prepared, run_dir)
    split, cache = read_photos(config, run_dir, 40)
    write_run(config, run_dir, split, cache.left_out)
    written, used = (
        json.loads(path.read_text()) for path in (prepared / "splits.json", run_dir / "split.json")
    )
    assert all(used[part] == written[part] for part in ("fingerprint", "train", "val", "root"))
    (photos / split.val[0]).write_bytes(b"short")
    changed = f"size than before: 1 ({split.val[0]}). Put them back, or run python -m train.prepare"
    assert run_training(tiny(prepared, tmp_path / "new")) == 2
    assert changed in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    write_manifest(photos, prepared)  # prepared again, which is not what the run began with
    assert run_training(TransferConfig(resume=run_dir, device="cpu", workers=0)) == 1
    assert changed in (error := capsys.readouterr().err)
    assert "start a new run" in error


def test_balanced_training_on_a_table(photos: Path, tmp_path: Path) -> None:
    """Labels across folders reach training, export and its tables."""
    rows = [
        (path, "odd" if path[-5] in "13" else "even", "val" if path[-5] in "01" else "train")
        for path, _, _ in folder_rows(photos)
    ]
    table, run_dir = write_table(photos / "photos.csv", rows), tmp_path / "run"
    config = ScratchConfig(
        data=table,
        run_dir=run_dir,
        epochs=1,
        image_size=32,
        batch_size=8,
        width=8,
        depth=1,
        workers=0,
        device="cpu",
        balanced=True,
    )
    assert run_training(config) == 0
    assert json.loads((run_dir / "config.json").read_text())["balanced"] is True
    predictions = list(csv.DictReader((run_dir / "predictions.csv").read_text().splitlines()))
    labels = {row["photo"]: row["label"] for row in predictions}
    assert {path: label for path, label, part in rows if part == "val"} == labels


def test_val_beside_train_validates(landmark_photos: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(landmark_photos, tmp_path / "photos")
    held = []
    for number, folder in enumerate(FOLDERS):
        # val/ need not number its folders as train/ does.
        name = f"val/{folder if number else 'Red_Tower'}"
        (photos / name).mkdir(parents=True)
        for variant in range(2):
            path = f"{name}/{variant}.jpg"
            draw_landmark(number, 200 + variant).save(photos / path)
            held.append(path)
    split = draw_split(open_data(photos))
    assert split.val == held
    assert split.labels(split.val).tolist() == [0, 0, 1, 1, 2, 2]
    assert len(split.train) == 36 and all(path.startswith("train/") for path in split.train)
    few = draw_split(open_data(photos, limit=2))
    assert (len(few.train), len(few.val)) == (6, 6)
    prepared = list_folder(photos).photos
    assert {path for path, (part, _) in prepared.items() if part == "val"} == set(held)
    assert {label for _, label in prepared.values()} == set(split.class_names)
    with pytest.raises(DataError, match="--val-fraction would change that"):
        open_data(photos, val_fraction=0.3)
    source = open_photos(ScratchConfig(data=photos), photos)
    assert source.split([], 0.1, 0).val == held  # train.autoencoder holds the same photos out
    (photos / "val" / "Moon").mkdir()
    assert draw_split(open_data(photos)) == split  # nothing in it
    shutil.copy(photos / held[0], photos / "val" / "Moon")
    with pytest.raises(DataError, match=r"Moon is no class of .*train"):
        open_data(photos)


def test_an_empty_val_is_none(photos: Path) -> None:
    drawn = draw_split(open_data(photos))
    (photos / "val" / FOLDERS[0]).mkdir(parents=True)
    assert draw_split(open_data(photos)) == drawn
    shutil.rmtree(photos / "val" / FOLDERS[0])
    draw_landmark(0, 0).save(photos / "val" / "loose.jpg")
    with pytest.raises(DataError, match=r"0 class folders in .*val, but 1 photos"):
        open_data(photos)
