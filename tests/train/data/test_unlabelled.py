"""Photos without labels, what is held out of them, and a part of the labels."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.drawing import draw_landmark
from train.config import AutoencoderConfig, RunConfig, ScratchConfig, TransferConfig
from train.data.loading import read_photos
from train.data.photo_cache import PhotoCache
from train.data.split import DataError, Split, keep_labels
from train.data.unlabelled import find_photos, open_photos, photo_keys


def find(settings: RunConfig, folders: list[Path]) -> tuple[Split, PhotoCache]:
    """Open folders and pool their photos, as train.autoencoder does."""
    return find_photos(settings, [open_photos(settings, folder) for folder in folders])


def test_validation_photos_of_the_training_are_never_seen(
    landmark_photos: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(landmark_photos, tmp_path / "outer" / "photos")
    settings = AutoencoderConfig(data=data, image_size=32)
    training, _ = read_photos(ScratchConfig(data=data, image_size=32), tmp_path, 32)
    # The same photos in three ways: the second and third alone would hold out other ones.
    folders = [data, data / "train" / "00.Red_Tower", tmp_path / "outer"]
    for chosen in ([folders[0]], folders):
        split, _ = find(settings, chosen)
        keys = photo_keys(Path(split.root), split.train)
        assert keys and not keys & photo_keys(Path(training.root), training.val)
        assert not any("test" in Path(path).parts for path in split.train + split.val)
    assert photo_keys(Path(training.root), training.train) > keys
    alone, _ = find(settings, folders[:1])
    assert sorted(training.train) == alone.train and sorted(training.val) == alone.val


def test_any_folder_of_photos(tmp_path: Path) -> None:
    settings = AutoencoderConfig(image_size=32, val_fraction=0.25)
    places = [tmp_path / "photos" / name for name in ("a.jpg", "b/c.jpg", "b/d/e.png", "b/f.jpg")]
    for number, place in enumerate([*places, tmp_path / "photos" / "test" / "g.jpg"]):
        place.parent.mkdir(parents=True, exist_ok=True)
        draw_landmark(0, number).save(place)
    (tmp_path / "photos" / "b" / "note.txt").write_text("no photo")
    split, cache = find(settings, [tmp_path / "photos"])
    assert (len(split.train), len(split.val)) == (3, 1)
    found = {tmp_path / "photos" / path for path in cache.paths}
    assert found == set(places)
    again, _ = find(settings, [tmp_path / "photos"])
    assert again == split
    for folder, message in {"absent": "no data folder", "photos/test": "final score"}.items():
        with pytest.raises(DataError, match=message):
            find(settings, [tmp_path / folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="0 photos"):
        find(settings, [tmp_path / "empty"])


def test_a_part_of_the_labels(landmark_photos: Path, tmp_path: Path) -> None:
    config = TransferConfig(data=landmark_photos)
    whole, _ = read_photos(config, tmp_path, 32)
    splits = [
        read_photos(dataclasses.replace(config, label_fraction=part), tmp_path, 32)[0]
        for part in (0.01, 0.25, 0.5)
    ]
    counts = [np.bincount(split.labels(split.train)).tolist() for split in splits]
    assert counts == [[1] * 3, [3] * 3, [6] * 3]  # of 11
    assert set(splits[0].train) < set(splits[1].train) < set(splits[2].train) < set(whole.train)
    assert all(split.val == whole.val for split in splits)
    assert len({split.fingerprint for split in (*splits, whole)}) == 4
    assert keep_labels(whole, 1.0, 0) is whole
    assert keep_labels(whole, 0.5, 1).train != splits[2].train
    with pytest.raises(ValueError, match="label-fraction"):
        TransferConfig(label_fraction=0)
