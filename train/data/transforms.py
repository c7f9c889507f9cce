"""Build the augmentation and evaluation pipelines; the only file that imports albumentations."""

import os
import random
from collections.abc import Sequence

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import goes online

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor

from models.model_file.preprocess import Preprocess

cv2.setNumThreads(0)  # the workers of a DataLoader already fill the cores

# albumentations' default picks nearest pixels, which looks blocky; a small sensor averages.
SOFT = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}


class Resize(A.ImageOnlyTransform):
    """Resize as the model file does; albumentations' own resize rounds halves to even.

    Shrinking averages areas (INTER_AREA), enlarging is bilinear.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        """Hold the sizes; the transform is always applied."""
        super().__init__(p=1.0)
        self.preprocess = preprocess

    def apply(self, img: np.ndarray, **_params: object) -> np.ndarray:
        """Resize one photo, (H, W, 3) uint8 -> (h, w, 3) uint8."""
        height, width = self.preprocess.resized(*img.shape[:2])
        shrinks = height * width < img.shape[0] * img.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(img, (width, height), interpolation=method)


class PhotoTransform:
    """Turn a decoded photo into a network's input. Random draws depend only on the seed.

    Args:
        steps: albumentations transforms that end in an (S, S, 3) uint8 image.
        preprocess: Its mean and std are applied last.
        draws: Whether the steps draw random numbers.
    """

    def __init__(
        self, steps: list[A.BasicTransform], preprocess: Preprocess, draws: bool = True
    ) -> None:
        """Compose the steps, and turn normalisation into one multiplication and one addition."""
        self.compose = A.Compose(steps)
        self.draws = draws
        mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
        self.scale = (1 / (255 * std))[:, None, None]
        self.shift = (-mean / std)[:, None, None]

    def __call__(self, image: np.ndarray, seed: tuple[int, ...] | None = None) -> Tensor:
        """Transform one photo.

        Args:
            image: (H, W, 3) uint8 RGB.
            seed: (seed, epoch, photo), which all draws depend on. Not needed in evaluation.

        Returns:
            (3, S, S) float32, normalised.

        Raises:
            ValueError: The image is not (H, W, 3) uint8, or a training draw has no seed.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}; "
                "models.photos.read_photo gives that for every photo"
            )
        if self.draws:
            if seed is None:
                raise ValueError("a training draw needs a seed: (seed, epoch, photo)")
            # Compose(seed=...) gives every transform the same stream and repeats it per worker
            # and epoch (albumentations 2.0.8). Here all share one new generator instead.
            generator = np.random.default_rng(seed)
            python_random = random.Random(int(generator.integers(2**63)))
            self.compose.set_random_state(generator, python_random)
        square = self.compose(image=np.ascontiguousarray(image))["image"]
        # One pass into channels-first float32 is six times as fast as going through numpy.
        values = torch.from_numpy(square).permute(2, 0, 1)
        values = values.to(torch.float32, memory_format=torch.contiguous_format)
        return values.mul_(self.scale).add_(self.shift)


class GrowingTransform:
    """Apply the training transform of the epoch: its crop grows in the course of training.

    Args:
        sides_px: Side of the crop, per epoch.
        transforms: Side -> transform.
    """

    def __init__(self, sides_px: Sequence[int], transforms: dict[int, PhotoTransform]) -> None:
        """Hold the transforms and when each is due."""
        self.sides_px, self.transforms = sides_px, transforms

    def __call__(self, image: np.ndarray, seed: tuple[int, ...]) -> Tensor:
        """Transform one photo, (H, W, 3) uint8 -> (3, S, S) float32.

        Args:
            image: (H, W, 3) uint8 RGB.
            seed: (seed, epoch, photo); the epoch decides S.
        """
        return self.transforms[self.sides_px[seed[1]]](image, seed)


def build_train_transform(
    preprocess: Preprocess, strength: float = 1.0, flip: bool = True
) -> PhotoTransform:
    """Build the augmentation: random crop, flip, warp, colour, softness and dropout.

    Args:
        preprocess: crop_px is the side of the result; mean and std normalise it.
        strength: 0 only crops and flips; 1 is the default; up to 2.
        flip: Whether to mirror half of the draws.

    Raises:
        ValueError: strength lies outside [0, 2].
    """
    if not 0 <= strength <= 2:
        raise ValueError(f"strength must lie in [0, 2], got {strength}")
    side = preprocess.crop_px
    steps: list[A.BasicTransform] = [
        A.RandomResizedCrop((side, side), scale=(0.35, 1.0), area_for_downscale="image")
    ]
    if flip:
        steps.append(A.HorizontalFlip(p=0.5))
    if strength > 0:
        change = 0.3 * strength
        span = (1 - change, 1 + change)
        degrees = 12 * strength
        steps += [
            A.OneOf(
                [
                    A.Affine(rotate=(-degrees, degrees), shear=(-degrees / 2, degrees / 2)),
                    A.Perspective(scale=(0.02, 0.08 * strength + 0.02)),
                ],
                p=0.3 * strength,
            ),
            A.ColorJitter(span, span, span, (-0.1 * change, 0.1 * change), p=0.7),
            A.ToGray(p=0.05 * strength),
            # Webcams give soft pictures, and messengers recompress what they pass on.
            A.OneOf(
                [
                    A.GaussianBlur(blur_limit=(3, 5)),
                    A.ImageCompression(quality_range=(30, 90)),
                    A.Downscale(scale_range=(0.4, 0.8), interpolation_pair=SOFT),
                ],
                p=0.25 * strength,
            ),
            A.CoarseDropout((1, 3), (0.1, 0.25), (0.1, 0.25), p=0.25 * strength),
        ]
    return PhotoTransform(steps, preprocess)


def build_eval_transform(preprocess: Preprocess) -> PhotoTransform:
    """Build the evaluation pipeline: resize, then crop or pad, as the model file does."""
    side = preprocess.crop_px
    steps: list[A.BasicTransform] = [Resize(preprocess)]
    if preprocess.mode == "pad":
        steps.append(A.PadIfNeeded(side, side, border_mode=cv2.BORDER_CONSTANT, fill=0))
    else:
        steps.append(A.CenterCrop(side, side))
    return PhotoTransform(steps, preprocess, draws=False)
