"""Augmentation: shapes, numbers, and draws that depend on nothing but their key."""

import itertools
from collections.abc import Callable

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from models.model_file.preprocess import Preprocess
from models.model_file.resize import resize_images
from tests.support.drawing import draw_landmark
from train.data.batches import EpochBatches, PhotoDataset
from train.data.transforms import PhotoTransform, build_eval_transform, build_train_transform

PREPROCESS = Preprocess(48, 40, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
BUILDERS = [build_train_transform, build_eval_transform]
SIZES = [(96, 72), (72, 96), (16, 16), (16, 400), (400, 16), (40, 40), (41, 40), (6000, 4000)]


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_a_normalised_square(
    build: Callable[..., PhotoTransform], size: tuple[int, int]
) -> None:
    tensor = build(PREPROCESS)(random_image(*size), seed=(0, 0, 0))
    assert tensor.shape == (3, 40, 40)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    low = -torch.tensor(PREPROCESS.mean) / torch.tensor(PREPROCESS.std)
    high = (1 - torch.tensor(PREPROCESS.mean)) / torch.tensor(PREPROCESS.std)
    assert (tensor.amin((1, 2)) >= low - 1e-5).all()
    assert (tensor.amax((1, 2)) <= high + 1e-5).all()


def test_normalisation_by_hand() -> None:
    image = np.empty((48, 48, 3), np.uint8)
    image[:] = (255, 102, 0)
    tensor = build_eval_transform(PREPROCESS)(image)
    for channel, value in enumerate(
        [(1.0 - 0.5) / 0.2, (102 / 255 - 0.4) / 0.25, (0.0 - 0.3) / 0.3]
    ):
        assert torch.allclose(tensor[channel], torch.tensor(value), atol=1e-5)


@pytest.mark.parametrize(
    "size", [(97, 60), (60, 97), (300, 211), (48, 48), (30, 20), (16, 400), (97, 96), (101, 96)]
)
@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_evaluation_sees_what_the_model_file_sees(size: tuple[int, int], mode: str) -> None:
    preprocess = Preprocess(40, 40, mode) if mode == "pad" else PREPROCESS
    image = cv2.GaussianBlur(random_image(*size), (0, 0), 1.5)
    ours = build_eval_transform(preprocess)(image)
    images = torch.from_numpy(image).permute(2, 0, 1)[None]
    square = resize_images(images, preprocess.resize_px, preprocess.crop_px, mode == "pad")[0]
    mean = torch.tensor(preprocess.mean)[:, None, None]
    std = torch.tensor(preprocess.std)[:, None, None]
    levels = ((square / 255 - mean) / std - ours).abs() * std * 255
    assert levels.max() < 1.01
    assert levels.mean() < 0.2


def test_evaluation_shrinks_by_area() -> None:
    preprocess = Preprocess(40, 40)
    image = random_image(120, 100)
    expected = cv2.resize(image, (40, 48), interpolation=cv2.INTER_AREA)[4:44]
    ours = build_eval_transform(preprocess)(image).permute(1, 2, 0) * 0.5 + 0.5
    assert np.array_equal((ours * 255).round().numpy().astype(np.uint8), expected)


def test_same_key_same_draw_and_other_keys_others() -> None:
    transform, image = build_train_transform(PREPROCESS), random_image(96, 72)
    first = transform(image, seed=(1, 2, 3))
    transform(image, seed=(9, 9, 9))
    assert torch.equal(transform(image, seed=(1, 2, 3)), first)
    for other in [(0, 2, 3), (1, 0, 3), (1, 2, 0)]:
        assert not torch.equal(transform(image, seed=other), first)


def test_draws_within_a_photo_are_independent() -> None:
    """Three coins per photo: 8 outcomes, each about an eighth of the time."""
    steps = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.InvertImg(p=0.5)]
    transform = PhotoTransform(steps, Preprocess(16, 16))
    image = np.zeros((16, 16, 3), np.uint8)
    image[0, 0] = 200  # its corner tells both flips, its level the inversion
    counts: dict[tuple[int, ...], int] = {}
    for photo in range(800):
        level = transform(image, seed=(0, 0, photo))[0]
        inverted = int(level.median() > 0)
        row, column = divmod(int((level - level.median()).abs().argmax()), 16)
        key = (row > 0, column > 0, inverted)
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 8
    assert all(60 <= count <= 145 for count in counts.values())  # 100 +- 4.5 sigma


def test_flips_of_successive_photos_and_epochs_are_fair() -> None:
    transform = PhotoTransform([A.HorizontalFlip(p=0.5)], Preprocess(16, 16))
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8] = 255
    flips = [
        bool(transform(image, seed=(0, epoch, photo))[0, 0, 0] < 0)
        for epoch, photo in itertools.product(range(20), range(20))
    ]
    assert 150 <= sum(flips) <= 250
    assert any(flips[photo] != flips[photo + 20] for photo in range(20))


def test_no_flip_never_flips() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:] = np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None]  # bright to the right

    def brighter_right(transform: PhotoTransform) -> int:
        squares = [transform(image, seed=(0, 0, photo))[0] for photo in range(50)]
        return sum(bool(s[:, 20:].mean() > s[:, :20].mean()) for s in squares)

    for strength in (0, 1):
        assert brighter_right(build_train_transform(PREPROCESS, strength, flip=False)) == 50
        assert 10 < brighter_right(build_train_transform(PREPROCESS, strength)) < 40


def test_strength_changes_more_than_the_crop() -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    plain = build_train_transform(PREPROCESS, strength=0)
    expected = build_eval_transform(PREPROCESS)(image)
    assert all(torch.equal(plain(image, seed=(0, 0, p)), expected) for p in range(20))
    strong = build_train_transform(PREPROCESS, strength=2)
    assert len({strong(image, seed=(0, 0, p)).sum().item() for p in range(20)}) > 15
    for wrong in (-0.1, 2.1):
        with pytest.raises(ValueError, match="strength"):
            build_train_transform(PREPROCESS, strength=wrong)


@pytest.mark.parametrize("build", BUILDERS)
def test_grey_photo_stays_grey(build: Callable[..., PhotoTransform]) -> None:
    grey = np.repeat(random_image(96, 72)[..., :1], 3, axis=2)
    tensor = build(Preprocess(40, 40))(grey, seed=(0, 0, 1))
    assert torch.equal(tensor[0], tensor[1])
    assert torch.equal(tensor[0], tensor[2])


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 1), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.float32),
    ],
)
def test_what_is_no_photo_is_refused(
    build: Callable[..., PhotoTransform], image: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="read_photo"):
        build(PREPROCESS)(image, seed=(0, 0, 0))


class DrawnPhotos(list):
    """Stands in for the decoded cache."""


def test_a_training_draw_needs_a_seed() -> None:
    with pytest.raises(ValueError, match="needs a seed"):
        build_train_transform(PREPROCESS)(random_image(50, 50))


# A spawned worker imports all of torch and albumentations: one is enough.
@pytest.mark.parametrize(("workers", "start"), [(2, None), (1, "spawn")])
def test_batches_do_not_depend_on_workers(workers: int, start: str | None) -> None:
    photos = DrawnPhotos(np.asarray(draw_landmark(i % 3, i)) for i in range(12))

    def batches(workers: int) -> list[torch.Tensor]:
        dataset = PhotoDataset(photos, np.arange(12) % 3, build_train_transform(PREPROCESS), seed=5)
        sampler = EpochBatches(12, 4, seed=5, shuffle=True)
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=start if workers else None,
        )
        found = []
        for epoch in (0, 1):
            sampler.epoch = epoch
            found += [batch["images"] for batch in loader]
        return found

    for alone, together in zip(batches(0), batches(workers), strict=True):
        assert torch.equal(alone, together)
