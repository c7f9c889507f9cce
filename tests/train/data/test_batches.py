"""Folders, splits, and batches."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import DataLoader

from models.model_file.preprocess import Preprocess
from tests.support.drawing import draw_landmark
from train.data.batches import OUTSIDE, EpochBatches, JoinedPhotos, PhotoDataset, draw_balanced
from train.data.folders import clean_class_name
from train.data.photo_cache import decode_photos
from train.data.split import DataError, Split, index_photos, split_by_class
from train.data.transforms import PhotoTransform, build_eval_transform, build_train_transform


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


def test_class_folders_are_a_data_set_without_train(landmark_photos: Path) -> None:
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


def test_split_of_an_older_run_is_read(tmp_path: Path) -> None:
    keys = {"fingerprint": "f", "root": "/photos", "class_names": ["a", "b"]}
    parts = {"train": ["a/0.jpg", "1.b/0.jpg"], "val": ["a/1.jpg"], "test": []}
    (tmp_path / "split.json").write_text(json.dumps(keys | parts))
    split = Split.load(tmp_path / "split.json")
    assert split.labels(split.train).tolist() == [0, 1]
    assert split.label_of == split.sizes == {}
    with pytest.raises(DataError, match=r"class 'c', which is not among the 2"):
        split.labels(["c/0.jpg"])


def test_batches_depend_only_on_seed_and_epoch() -> None:
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


LABELS = np.repeat(np.arange(4), [40, 10, 3, 27])  # 80 photos


def read_epoch(sampler: EpochBatches, epoch: int, first_batch: int = 0) -> list:
    sampler.epoch, sampler.first_batch = epoch, first_batch
    return list(sampler)


def test_balanced_batches_show_each_class_equally_often() -> None:
    sampler = EpochBatches(80, 8, 5, shuffle=True, balance=LABELS)
    epochs = [read_epoch(sampler, epoch) for epoch in range(3)]
    for batches in epochs:
        assert len(batches) == len(sampler) == len(EpochBatches(80, 8, 5, shuffle=True))
        photos = [photo for batch in batches for _, photo, *_ in batch]
        assert np.bincount(LABELS[photos]).tolist() == [20, 20, 20, 20]
        assert len({photo for photo in photos if photo < 40}) == 20  # none twice before all once
        assert set(np.bincount(photos)[50:53]) == {6, 7}
        keys = [key for batch in batches for key in batch]
        assert len(set(keys)) == len(keys)  # each draw of a photo looks different
    assert epochs[0] != epochs[1]
    assert read_epoch(sampler, 1) == epochs[1]
    assert read_epoch(sampler, 1, first_batch=7) == epochs[1][7:]
    other = EpochBatches(80, 8, 6, shuffle=True, balance=LABELS)
    assert read_epoch(other, 1) != epochs[1]


def test_balanced_batches_do_not_depend_on_processes() -> None:
    sampler = EpochBatches(80, 8, 5, shuffle=True, balance=LABELS)
    whole = read_epoch(sampler, 2)
    parts = [list(BatchSamplerShard(sampler, 2, rank, split_batches=True)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize("total", [0, 1, 7, 8, 9, 500])
def test_balanced_draw_of_any_size(total: int) -> None:
    photos = draw_balanced(LABELS, total, np.random.default_rng(0))
    counts = np.bincount(LABELS[photos], minlength=4)
    assert counts.sum() == total
    assert counts.max() - counts.min() <= 1


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> PhotoDataset:
    """Twelve photos, wide, tall and square, without a transform."""
    root = tmp_path_factory.mktemp("shapes")
    names = [f"{photo:02}.png" for photo in range(12)]
    for photo, name in enumerate(names):
        size = [(120, 60), (50, 90), (64, 64)][photo % 3]
        draw_landmark(photo % 4, photo, size).save(root / name)
    cache = decode_photos(root, names, 40, root / "cache")
    return PhotoDataset(cache, np.arange(12) % 4, None, seed=3)


def read_batches(
    shapes: PhotoDataset, transform: PhotoTransform, sampler: EpochBatches, workers: int
) -> list[dict[str, torch.Tensor]]:
    dataset = PhotoDataset(shapes.cache, shapes.labels, transform, shapes.seed)
    loader = DataLoader(
        dataset, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    batches = []
    for sampler.epoch in (0, 1):
        batches += list(loader)
    return batches


@pytest.mark.parametrize("kind", ["train", "balanced", "crop", "pad"])
def test_same_seed_same_batches_for_any_number_of_workers(shapes: PhotoDataset, kind: str) -> None:
    if kind in ("crop", "pad"):
        transform = build_eval_transform(Preprocess(40, 40, kind))
    else:
        transform = build_train_transform(Preprocess(32, 32))
    balance = np.array([0] * 10 + [1] * 2) if kind == "balanced" else None
    sampler = EpochBatches(12, 4, 3, kind in ("train", "balanced"), balance)
    alone, *others = (read_batches(shapes, transform, sampler, workers) for workers in (0, 1, 2))
    assert len(alone) == 6
    for batches in others:
        for one, other in zip(alone, batches, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)
    if kind == "balanced":
        photos = Counter(torch.cat([batch["photos"] for batch in alone[:3]]).tolist())
        assert photos[10] + photos[11] == 6
        images = torch.cat([batch["images"] for batch in alone[:3]])
        assert len({image.numpy().tobytes() for image in images}) == 12


def test_crop_fills_the_square_and_pad_keeps_the_photo(shapes: PhotoDataset) -> None:
    images = {}
    for mode in ("crop", "pad"):
        transform = build_eval_transform(Preprocess(40, 40, mode))
        whole = EpochBatches(12, 12, 3, shuffle=False)
        images[mode] = read_batches(shapes, transform, whole, workers=0)[0]["images"]
    black = {mode: (found == -1).all(1) for mode, found in images.items()}
    assert images["crop"].shape == images["pad"].shape == (12, 3, 40, 40)
    assert not black["crop"].all(2).any()
    wide, tall, square = (black["pad"][photo] for photo in range(3))
    assert wide.all(1).sum() == 20  # 120 x 60 -> 40 x 20
    assert tall.all(0).sum() == 18  # 50 x 90 -> 22 x 40
    assert not square.all(0).any()


def test_outside_photos_join_every_batch_each_kind_equally_often() -> None:
    kinds = np.array([0] * 30 + [1] * 5)
    batches = EpochBatches(40, 8, 3, True, outside=kinds, outside_size=4)
    assert (len(batches), batches.batch_size) == (5, 12)
    drawn = list(batches)
    plain = list(EpochBatches(40, 8, 3, True))
    for batch, own in zip(drawn, plain, strict=True):
        # The landmarks are drawn as without the others.
        assert [key for key in batch if key[1] < 40] == own
        assert sum(key[1] >= 40 for key in batch) == 4
        # Every process of two gets its share.
        assert [sum(key[1] >= 40 for key in half) for half in (batch[:6], batch[6:])] == [2, 2]
    others = [key for batch in drawn for key in batch if key[1] >= 40]
    assert Counter(int(kinds[key[1] - 40]) for key in others) == {0: 10, 1: 10}
    assert len(set(others)) == len(others)  # a photo's second draw has a number
    batches.first_batch = 3
    assert list(batches) == drawn[3:]
    batches.first_batch, batches.epoch = 0, 1
    assert [key[1] for batch in batches for key in batch] != [
        key[1] for batch in drawn for key in batch
    ]


def test_joined_photos_number_on(landmark_photos: Path) -> None:
    paths = [f"train/00.Red_Tower/{number:03}.jpg" for number in range(6)]
    cache = decode_photos(landmark_photos, paths, 32, None)
    transform = build_eval_transform(Preprocess(32, 32))
    own = PhotoDataset(cache.subset(paths[:4]), np.arange(4), transform, 0)
    others = PhotoDataset(cache.subset(paths[4:]), np.full(2, OUTSIDE), transform, 0)
    joined = JoinedPhotos(own, others)
    assert (len(joined), joined.names) == (6, paths)
    assert (joined[(0, 3)]["labels"], joined[(0, 4)]["labels"]) == (3, OUTSIDE)
    assert joined[(0, 5)]["photos"] == 5
    assert torch.equal(joined[(0, 5)]["images"], others[(0, 1)]["images"])
