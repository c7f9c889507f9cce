"""How a photo of any size becomes the square that a network sees; models.model_file.resize does it.

Without torch, so that a page can read a model file without it.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal


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
