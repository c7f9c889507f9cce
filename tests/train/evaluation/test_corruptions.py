"""Photos made worse: what each corruption does, and that it does it the same way again."""

import cv2
import numpy as np
import pytest

from tests.support.drawing import draw_landmark
from train.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt, describe, shrink

ALL = list(CORRUPTIONS)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A drawn photo with few fine details, as photos have."""
    small = np.asarray(draw_landmark(1, 5, (64, 48)))
    return cv2.resize(small, (192, 144), interpolation=cv2.INTER_CUBIC)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize("name", ALL)
def test_each_severity_is_worse_than_the_one_before(name: str, image: np.ndarray) -> None:
    before = image.copy()
    worse = [corrupt(image, name, severity, "a.jpg") for severity in SEVERITIES]
    assert all(each.shape == image.shape and each.dtype == np.uint8 for each in worse)
    assert np.array_equal(image, before)
    distances = [distance(each, image) for each in worse]
    assert distances[0] > 0.5
    assert distances == sorted(distances)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(16, 16), (17, 301), (301, 17)])
def test_small_and_long_photos_keep_their_size(name: str, size: tuple[int, int]) -> None:
    photo = np.asarray(draw_landmark(0, 0, size))
    for severity in SEVERITIES:
        assert corrupt(photo, name, severity).shape == photo.shape


@pytest.mark.parametrize("name", ALL)
def test_draws_depend_on_photo_and_seed_alone(name: str, image: np.ndarray) -> None:
    assert np.array_equal(corrupt(image, name, 3, "a"), corrupt(image, name, 3, "a"))
    others = [corrupt(image, name, 3, photo) for photo in "bcdefghi"]
    others += [corrupt(image, name, 3, "a", seed) for seed in range(1, 9)]
    drawn = any(not np.array_equal(corrupt(image, name, 3, "a"), each) for each in others)
    assert drawn == (name in ("noise", "rotation", "screen photo"))


def test_noise_grows_and_its_grain_stays() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    weak, strong = (corrupt(grey, "noise", severity).astype(float) - 128 for severity in (1, 2))
    assert weak.std() == pytest.approx(0.08 * 255, rel=0.05)
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.99


def test_a_stop_is_half_the_light() -> None:
    grey = np.full((16, 16, 3), 200, np.uint8)
    dark = corrupt(grey, "darkness", 1)
    assert (dark[0, 0, 0] / 200) ** 2.2 == pytest.approx(0.5, rel=0.02)


def test_rotation_of_severity_3_is_by_10_degrees(image: np.ndarray) -> None:
    assert describe("rotation", 3) == "10 degrees"
    height, width = image.shape[:2]
    turned = corrupt(image, "rotation", 3)

    def back(degrees: float) -> float:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        straight = cv2.warpAffine(turned, matrix, (width, height))
        return distance(straight[40:100, 50:130], image[40:100, 50:130])

    assert min(range(-15, 16), key=back) in (-10, 10)


def test_a_screen_photo_keeps_colours_and_place_and_adds_bands() -> None:
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[:, :80], photo[:, 80:] = (200, 60, 30), (40, 80, 210)
    seen = corrupt(photo, "screen photo", 5).astype(float)
    left, right = seen[20:100, 10:70], seen[20:100, 90:150]
    for half, colour in ((left, (200, 60, 30)), (right, (40, 80, 210))):
        assert half.mean((0, 1)) == pytest.approx(colour, abs=35)
    # Flat grey becomes slow waves of colour: they survive a blur that noise would not.
    grey = corrupt(np.full((120, 160, 3), 128, np.uint8), "screen photo", 5)
    assert cv2.GaussianBlur(grey, (0, 0), 3)[20:100, 20:140].std() > 3


def test_large_photos_shrink_to_where_the_severities_belong() -> None:
    assert shrink(np.zeros((300, 900, 3), np.uint8)).shape == (256, 768, 3)
    small = np.zeros((100, 300, 3), np.uint8)
    assert shrink(small) is small


def test_unknown_corruptions_and_severities_are_refused(image: np.ndarray) -> None:
    for name, severity in (("fog", 1), ("blur", 0), ("blur", 6)):
        with pytest.raises(ValueError, match="from 1 to 5"):
            corrupt(image, name, severity)
