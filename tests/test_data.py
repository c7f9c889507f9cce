"""Folders, splits, batches, and the decoded cache."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_landmark

import train.cache
from models.photos import read_photo
from train.cache import decode_photos
from train.data import (
    DataError,
    EpochBatches,
    Split,
    clean_class_name,
    index_photos,
    split_by_class,
)


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("09.Golden_Gate_Bridge", "Golden Gate Bridge"),
        ("Stonehenge", "Stonehenge"),
        ("00.Haleakala_National_Park", "Haleakala National Park"),
        ("7. Pont du Gard", "Pont du Gard"),
        ("12.", "12."),
    ],
)
def test_class_names_are_cleaned(folder: str, label: str) -> None:
    assert clean_class_name(folder) == label


def test_train_folder_is_indexed_and_test_is_not(landmark_photos: Path) -> None:
    classes = index_photos(landmark_photos)
    assert list(classes) == ["Red Tower", "Green Castle", "Blue Bridge"]
    assert {len(paths) for paths in classes.values()} == {12}
    assert all(path.startswith("train/") for paths in classes.values() for path in paths)


def test_class_folders_alone_are_a_data_set(landmark_photos: Path) -> None:
    classes = index_photos(landmark_photos / "train", limit=5)
    assert [len(paths) for paths in classes.values()] == [5, 5, 5]
    assert classes["Red Tower"][0] == "00.Red_Tower/000.jpg"


def test_useless_folders_are_refused(tmp_path: Path, landmark_photos: Path) -> None:
    with pytest.raises(DataError, match=r"no data folder at .*LANDMARKS_DATA"):
        index_photos(tmp_path / "absent")
    with pytest.raises(DataError, match="0 class folders"):
        index_photos(tmp_path)
    shutil.copytree(landmark_photos / "train" / "00.Red_Tower", tmp_path / "00.Red_Tower")
    with pytest.raises(DataError, match="1 class folders"):
        index_photos(tmp_path)
    (tmp_path / "01.Empty").mkdir()
    with pytest.raises(DataError, match=r"no photo in .*01\.Empty"):
        index_photos(tmp_path)
    shutil.rmtree(tmp_path / "01.Empty")
    shutil.copytree(tmp_path / "00.Red_Tower", tmp_path / "01.Red_Tower")
    with pytest.raises(DataError, match="two folders"):
        index_photos(tmp_path)


def make_classes(count: int = 20) -> dict[str, list[str]]:
    return {label: [f"{label}/{i}.jpg" for i in range(count)] for label in ("a", "b", "c")}


def test_split_is_stratified_seeded_and_whole(tmp_path: Path) -> None:
    classes = make_classes()
    split = split_by_class(classes, tmp_path, 0.2, seed=3)
    assert [sum(path.startswith(label) for path in split.val) for label in "abc"] == [4, 4, 4]
    assert sorted(split.train + split.val) == sorted(p for paths in classes.values() for p in paths)
    assert split.test == []
    assert split == split_by_class(classes, tmp_path, 0.2, seed=3)
    other = split_by_class(classes, tmp_path, 0.2, seed=4)
    assert other.val != split.val
    assert other.fingerprint != split.fingerprint
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    keys = set(json.loads((tmp_path / "split.json").read_text()))
    assert {"fingerprint", "root", "train", "val", "test"} <= keys
    assert split.labels(["b/1.jpg", "a/0.jpg"]).tolist() == [1, 0]


def test_split_of_one_class_ignores_photos_added_to_another(tmp_path: Path) -> None:
    before = split_by_class(make_classes(), tmp_path, 0.2, seed=0)
    more = make_classes()
    more["c"] += [f"c/extra{i}.jpg" for i in range(7)]
    after = split_by_class(more, tmp_path, 0.2, seed=0)
    assert [p for p in before.val if p[0] != "c"] == [p for p in after.val if p[0] != "c"]


def test_every_class_validates_even_when_small(tmp_path: Path) -> None:
    split = split_by_class(make_classes(2), tmp_path, 0.1, seed=0)
    assert len(split.val) == 3
    with pytest.raises(DataError, match="needs at least two"):
        split_by_class(make_classes(1), tmp_path, 0.1, seed=0)


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    sampler = EpochBatches(10, 4, seed=1, shuffle=True)
    sampler.epoch = 2
    whole = list(sampler)
    assert len(whole) == len(sampler) == 2  # the incomplete one is left out
    assert all(epoch == 2 for batch in whole for epoch, _ in batch)
    sampler.first_batch = 1
    assert list(sampler) == whole[1:]
    sampler.epoch, sampler.first_batch = 3, 0
    assert list(sampler) != [[(3, photo) for _, photo in batch] for batch in whole]
    ordered = EpochBatches(10, 4, seed=1, shuffle=False)
    assert [photo for batch in ordered for _, photo in batch] == list(range(10))
    assert len(ordered) == 3


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for variant in range(4):
        draw_landmark(0, variant, (200, 120)).save(root / f"{variant}.png")
    return root


NAMES = ["0.png", "1.png", "2.png", "3.png"]


def test_cache_holds_reduced_photos_and_is_reused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert [cache[i].shape for i in range(4)] == [(60, 100, 3)] * 4
    full = decode_photos(photos, NAMES, 500, tmp_path / "cache")
    assert np.array_equal(full[2], read_photo(photos / "2.png"))
    monkeypatch.setattr(train.cache, "read_photo", None)  # decoding again would fail
    again = decode_photos(photos, list(reversed(NAMES)), 60, tmp_path / "cache")
    assert again == cache
    assert np.array_equal(again.subset(["3.png", "1.png"])[0], cache[3])


def test_changed_photo_makes_a_new_cache(photos: Path, tmp_path: Path) -> None:
    before = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    draw_landmark(1, 0, (200, 120)).save(photos / "0.png")
    after = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert after.folder != before.folder
    assert not np.array_equal(before[0], after[0])


def test_bad_photo_is_left_out_with_its_reason(photos: Path, tmp_path: Path) -> None:
    (photos / "1.png").write_bytes(b"no photo")
    cache = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert cache.paths == ["0.png", "2.png", "3.png"]
    assert list(cache.left_out) == ["1.png"]
    assert cache.left_out["1.png"]


def test_interrupted_decoding_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, side_px: int) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.cache, "_decode", interrupt)
        decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(decode_photos(photos, NAMES, 60, tmp_path / "cache")) == 4


def test_two_runs_may_decode_at_once(photos: Path, tmp_path: Path) -> None:
    caches = []
    threads = [
        threading.Thread(
            target=lambda: caches.append(decode_photos(photos, NAMES, 60, tmp_path / "cache"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caches) == 2
    assert caches[0] == caches[1]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_full_disk_is_said_before_decoding(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(train.cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="--cache-dir"):
        decode_photos(photos, NAMES, 60, tmp_path / "cache")
