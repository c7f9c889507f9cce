"""Settings of a training: command line flags, checkpoint record and run description in one."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def default_data() -> Path:
    """LANDMARKS_DATA, else data/landmark_images."""
    return Path(os.environ.get("LANDMARKS_DATA", "data/landmark_images"))


def default_cache() -> Path:
    """LANDMARKS_CACHE, else ~/.cache/landmarks."""
    return Path(os.environ.get("LANDMARKS_CACHE", Path.home() / ".cache" / "landmarks"))


@dataclass(frozen=True)
class TransferConfig:
    """Fine-tune a pretrained backbone on a folder of landmark photos."""

    data: Path = field(default_factory=default_data)
    """Folder with train/ (and test/, never opened) of class folders, or of class folders."""
    backbone: str = "tf_efficientnet_lite0"
    """Any timm model name."""
    pretrained: bool = True
    """Start from ImageNet weights; --no-pretrained starts from random ones."""
    weights: Path | None = None
    """Local file with the backbone's weights, instead of the hub."""
    epochs: int = 12
    """Passes over the training photos, both phases together."""
    head_epochs: int = 1
    """The first of them, with the backbone frozen (0 without pretrained weights)."""
    image_size: int = 224
    """Side in pixels of the training crops."""
    eval_image_size: int | None = None
    """Side in pixels for validation and the model file; none: about a sixth above image_size, since
    random crops enlarge objects (FixRes, Touvron et al. 2019)."""
    resize_mode: Literal["crop", "pad"] = "crop"
    """At validation and in the model file: centre crop, or the whole photo on black."""
    batch_size: int = 64
    """Photos per step, over all processes together."""
    learning_rate: float = 1e-3
    """Peak, at the head; AdamW."""
    layer_decay: float = 0.85
    """Factor on the learning rate per layer below the head, in phase two."""
    weight_decay: float = 0.05
    """Decoupled; none on biases and norms."""
    warmup_epochs: float = 0.5
    """Linear warm-up at the start of each phase; then a cosine to zero."""
    label_smoothing: float = 0.1
    """Mass spread over the other classes, in [0, 1)."""
    mixup: float = 0.2
    """Beta parameter of mixup (Zhang et al. 2018); 0 turns it off."""
    cutmix: float = 1.0
    """Beta parameter of CutMix (Yun et al. 2019); 0 turns it off."""
    mix_probability: float = 0.3
    """Fraction of phase-two batches that mixup or CutMix changes."""
    augment: float = 1.0
    """Strength of colour, warp, softness and dropout, 0 to 2; 0 leaves crop and flip."""
    flip: bool = True
    """Mirror half of the training photos; --no-flip where left and right differ."""
    drop_rate: float = 0.2
    """Dropout before the head."""
    ema_decay: float = 0.99
    """Moving average of the weights in phase two, which is what is validated; 0 turns it off."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    patience: int = 5
    """Stop after so many epochs without a better validation top-1."""
    val_fraction: float = 0.1
    """Part of the training photos held out for validation, per class."""
    split_seed: int = 0
    """Seed of the validation split, independent of seed."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    limit: int | None = None
    """At most so many photos per class, for a quick try."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast; auto: bf16 where the hardware has it, fp16 on other GPUs, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ..."""
    workers: int = 1
    """Processes that augment photos; 0 augments in the training process."""
    cache_dir: Path = field(default_factory=default_cache)
    """Where decoded photos are kept between runs (LANDMARKS_CACHE)."""
    run_dir: Path | None = None
    """Folder of this run; none: runs/<time>-<backbone>-s<seed>."""
    resume: Path | None = None
    """Run folder to go on with; its own settings are used."""

    def __post_init__(self) -> None:
        """Reject settings that cannot work, before anything is written."""
        rules = {
            "epochs must be at least 1": self.epochs >= 1,
            "head-epochs must lie between 0 and epochs": self.head_epochs >= 0,
            "image-size must be at least 32": self.image_size >= 32,
            "eval-image-size must be at least 32": (self.eval_image_size or 32) >= 32,
            "batch-size must be at least 2": self.batch_size >= 2,
            "learning-rate must be above 0": self.learning_rate > 0,
            "layer-decay must lie in (0, 1]": 0 < self.layer_decay <= 1,
            "label-smoothing must lie in [0, 1)": 0 <= self.label_smoothing < 1,
            "mixup and cutmix must be at least 0": min(self.mixup, self.cutmix) >= 0,
            "mix-probability must lie in [0, 1]": 0 <= self.mix_probability <= 1,
            "augment must lie in [0, 2]": 0 <= self.augment <= 2,
            "drop-rate must lie in [0, 1)": 0 <= self.drop_rate < 1,
            "ema-decay must lie in [0, 1)": 0 <= self.ema_decay < 1,
            "clip-norm must be above 0": self.clip_norm > 0,
            "patience must be at least 1": self.patience >= 1,
            "val-fraction must lie in (0, 0.5]": 0 < self.val_fraction <= 0.5,
            "workers must be at least 0": self.workers >= 0,
            "limit must be at least 2": self.limit is None or self.limit >= 2,
            "seeds must be at least 0": min(self.seed, self.split_seed) >= 0,
        }
        for message, holds in rules.items():
            if not holds:
                raise ValueError(message)

    @property
    def eval_side_px(self) -> int:
        """Side of the square at validation and in the model file."""
        return self.eval_image_size or max(32, round(self.image_size * 7 / 6 / 32) * 32)

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON-ready values."""
        fields = dataclasses.asdict(self)
        return {
            key: str(value) if isinstance(value, Path) else value for key, value in fields.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "TransferConfig":
        """The reverse of to_dict."""
        paths = {"data", "weights", "cache_dir", "run_dir", "resume"}
        return cls(
            **{key: Path(v) if key in paths and v is not None else v for key, v in values.items()}
        )
