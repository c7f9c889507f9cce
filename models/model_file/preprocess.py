"""Turn a photo of any size into the square that a network sees, inside the model file."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes a network's input: data, so that it travels inside the model file.

    The rule is the same for evaluation during training and for the model file: a side becomes
    ``floor(side * resize_px / reference + 0.5)`` pixels, where the reference is the short side
    ("crop") or the long side ("pad"). Then the central ``crop_px`` square is taken; where there is
    no photo it is black.

    Attributes:
        resize_px: Length of the reference side after the resize.
        crop_px: Side S of the square that the network sees.
        mode: "crop" loses the ends of the long side; "pad" keeps all of the photo, on black.
        mean: Subtracted per channel from values in [0, 1].
        std: Divides per channel afterwards.
    """

    resize_px: int
    crop_px: int
    mode: Literal["crop", "pad"] = "crop"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        """Reject settings that would leave holes in a crop or cut the edges off a padded photo."""
        if self.mode not in ("crop", "pad"):
            raise ValueError(f"mode is {self.mode!r}; expected 'crop' or 'pad'")
        if self.crop_px < 16 or self.resize_px < self.crop_px:
            raise ValueError(
                f"need 16 <= crop_px <= resize_px, got {self.crop_px} and {self.resize_px}"
            )
        if self.mode == "pad" and self.resize_px != self.crop_px:
            raise ValueError("mode 'pad' keeps all of the photo: resize_px must equal crop_px")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std need three numbers each, and std must be above 0")

    def resized(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return height and width after the resize, before the crop or the border."""
        reference = (max if self.mode == "pad" else min)(height_px, width_px)
        factor = self.resize_px / reference
        return max(1, int(height_px * factor + 0.5)), max(1, int(width_px * factor + 0.5))

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Preprocess":
        """Read what to_dict wrote; lists become tuples again."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def resize_weights(side: int, reference: Tensor, resize_px: int, crop_px: int) -> Tensor:
    """Return the matrix that resizes one axis with antialiasing and takes the centre.

    Shrinking averages the area that an output pixel covers. Training evaluates with OpenCV's
    INTER_AREA, which does the same, so both see the same pixels. Enlarging is bilinear. As a
    product of fixed output size it scripts and exports for every input size;
    torch.nn.functional.interpolate does not (its guards split portrait from landscape).

    Args:
        side: Length of the axis in pixels.
        reference: () float32, the length that becomes resize_px (the short or the long side).
        resize_px: Length of the reference side after the resize.
        crop_px: Length of the axis in the output.

    Returns:
        (crop_px, side) float32. Rows sum to 1, or are 0 where the output lies outside the photo.
    """
    device = reference.device
    length = torch.full((), side, dtype=torch.float32, device=device)
    resized = torch.floor(length * resize_px / reference + 0.5).clamp(min=1.0)
    scale = length / resized
    # trunc rounds towards zero: a crop starts at floor(excess / 2), a border is floor(missing / 2)
    # pixels wide.
    offset = torch.trunc((resized - crop_px) / 2)
    position = (torch.arange(crop_px, dtype=torch.float32, device=device) + offset)[:, None]
    pixel = torch.arange(side, dtype=torch.float32, device=device)[None, :]
    covered = torch.minimum(pixel + 1, (position + 1) * scale) - torch.maximum(
        pixel, position * scale
    )
    # Clamped to the photo: at its edge, bilinear interpolation repeats the last pixel.
    centre = ((position + 0.5) * scale - 0.5).clamp(min=0.0).minimum(length - 1)
    weights = torch.where(scale > 1, covered, 1.0 - (pixel - centre).abs()).clamp(min=0.0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
    inside = (position >= 0) & (position < resized)
    return weights * inside.to(torch.float32)


def resize_images(images: Tensor, resize_px: int, crop_px: int, pad: bool) -> Tensor:
    """Resize and crop (or pad) a batch of photos of one size, as Preprocess says.

    Args:
        images: (B, 3, H, W), any numeric type.
        resize_px: As in Preprocess.
        crop_px: As in Preprocess.
        pad: True for mode "pad".

    Returns:
        (B, 3, crop_px, crop_px) float32, rounded to integers as after an 8-bit resize.
    """
    height, width = images.shape[-2], images.shape[-1]
    rows = torch.full((), height, dtype=torch.float32, device=images.device)
    columns = torch.full((), width, dtype=torch.float32, device=images.device)
    reference = torch.maximum(rows, columns) if pad else torch.minimum(rows, columns)
    across = resize_weights(width, reference, resize_px, crop_px)
    down = resize_weights(height, reference, resize_px, crop_px)
    return torch.matmul(down, torch.matmul(images.to(torch.float32), across.t())).round()
