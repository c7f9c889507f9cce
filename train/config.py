"""Settings of a training: command line flags, W&B config and checkpoint record in one."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from models.environment import default_cache, has_wandb_key

SIZE_STEP = 16
"""Pixels by which crops grow."""


def default_data() -> Path:
    """The channel of a SageMaker job, else LANDMARKS_DATA, else data/landmark_images."""
    named = os.environ.get("SM_CHANNEL_TRAINING") or os.environ.get("LANDMARKS_DATA")
    return Path(named or "data/landmark_images")


def resolve_mode(asked: str | None) -> str:
    """online, offline or disabled: the flag, else WANDB_MODE, else online where a key is.

    Raises:
        ValueError: An unknown mode, or online without a key (W&B would prompt for one).
    """
    mode = asked or os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
    if mode not in ("online", "offline", "disabled"):
        raise ValueError(f"WANDB_MODE is {mode!r}; it must be online, offline or disabled")
    if mode == "online" and not has_wandb_key():
        raise ValueError("W&B is to be online but has no key: run wandb login, or --wandb offline")
    return mode


@dataclass(frozen=True)
class TrainConfig:
    """What every training has; each command adds its network's own settings."""

    command: ClassVar[str]
    """The module that the user types."""

    data: Path = field(default_factory=default_data)
    """Folder with train/ (and test/, never opened) of class folders, or of class folders; a folder
    of train.prepare (splits.json); or a .csv file with the columns path, label and split."""
    outside: Path | None = None
    """Folder of photos of none of the landmarks: every other one teaches the model file to say "not
    a known landmark"; the rest is left for train.evaluate --outside."""
    epochs: int = 12
    """Passes over the training photos, all phases together."""
    image_size: int = 224
    """Side in pixels of the training crops."""
    eval_image_size: int | None = None
    """Side in pixels for validation and the model file; none: about a sixth above image_size, since
    random crops enlarge objects (FixRes, Touvron et al. 2019)."""
    resize_mode: Literal["crop", "pad"] = "crop"
    """At validation and in the model file: centre crop, or the whole photo on black."""
    batch_size: int = 64
    """Photos per step, over all processes together."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for matrices and convolutions with AdamW for the rest (Jordan 2024)."""
    learning_rate: float = 1e-3
    """Peak, at the head; of the same scale for both optimizers (Liu et al. 2025)."""
    weight_decay: float = 0.05
    """Decoupled; none on biases and norms."""
    warmup_epochs: float = 0.5
    """Linear warm-up at the start of each phase."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls to zero after the warm-up."""
    label_smoothing: float = 0.1
    """Mass spread over the other classes, in [0, 1)."""
    mixup: float = 0.2
    """Beta parameter of mixup (Zhang et al. 2018); 0 turns it off."""
    cutmix: float = 1.0
    """Beta parameter of CutMix (Yun et al. 2019); 0 turns it off."""
    mix_probability: float = 0.3
    """Fraction of the batches that mixup or CutMix changes (never while a backbone is frozen)."""
    augment: float = 1.0
    """Strength of colour, warp, softness and dropout, 0 to 2; 0 leaves crop and flip."""
    flip: bool = True
    """Mirror half of the training photos; --no-flip where left and right differ."""
    drop_rate: float = 0.2
    """Dropout before the head."""
    ema_decay: float = 0.99
    """Moving average of the weights, which is what is validated; 0 turns it off."""
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
    label_fraction: float = 1.0
    """Train on this part of each class's training photos, at least one; validation stays whole."""
    balanced: bool = False
    """Draw each class equally often, however many photos it has; as many photos per epoch."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast; auto: bf16 where the hardware has it, fp16 on other GPUs, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ..."""
    workers: int = 1
    """Processes that augment photos; 0 augments in the training process."""
    cache_dir: Path = field(default_factory=default_cache)
    """Where decoded photos are kept between runs (LANDMARKS_CACHE)."""
    run_dir: Path | None = None
    """Folder of this run; none: runs/<time>-<network>-s<seed>."""
    resume: Path | None = None
    """Run folder to go on with; its own settings are used."""
    wandb: Literal["online", "offline", "disabled"] | None = None
    """Weights & Biases; none: WANDB_MODE, else online where a key is, else offline."""
    entity: str | None = None
    """W&B user or team; none: WANDB_ENTITY, else the key's own."""
    project: str | None = None
    """W&B project; none: WANDB_PROJECT, else landmarks."""
    group: str | None = None
    """W&B group of this run."""
    tags: tuple[str, ...] = ()
    """W&B tags of this run."""
    notes: str | None = None
    """W&B notes of this run."""
    upload_photos: bool = False
    """Put the photos themselves into the W&B data set artifact, not their hashes alone."""
    promote: bool = True
    """At the end, let the W&B alias best move to this model if it is the best of its split."""

    def __post_init__(self) -> None:
        """Reject settings that cannot work, before anything is written."""
        for message, holds in self.rules().items():
            if not holds:
                raise ValueError(message)

    def rules(self) -> dict[str, bool]:
        """What must hold, by the message that says so."""
        return {
            "epochs must be at least 1": self.epochs >= 1,
            "image-size must be at least 32": self.image_size >= 32,
            "eval-image-size must be at least 32": (self.eval_image_size or 32) >= 32,
            "batch-size must be at least 2": self.batch_size >= 2,
            "learning-rate must be above 0": self.learning_rate > 0,
            "weight-decay must be at least 0": self.weight_decay >= 0,
            "label-smoothing must lie in [0, 1)": 0 <= self.label_smoothing < 1,
            "mixup and cutmix must be at least 0": min(self.mixup, self.cutmix) >= 0,
            "mix-probability must lie in [0, 1]": 0 <= self.mix_probability <= 1,
            "augment must lie in [0, 2]": 0 <= self.augment <= 2,
            "drop-rate must lie in [0, 1)": 0 <= self.drop_rate < 1,
            "ema-decay must lie in [0, 1)": 0 <= self.ema_decay < 1,
            "clip-norm must be above 0": self.clip_norm > 0,
            "patience must be at least 1": self.patience >= 1,
            "val-fraction must lie in (0, 0.5]": 0 < self.val_fraction <= 0.5,
            "label-fraction must lie in (0, 1]": 0 < self.label_fraction <= 1,
            "workers must be at least 0": self.workers >= 0,
            "limit must be at least 2": self.limit is None or self.limit >= 2,
            "seeds must be at least 0": min(self.seed, self.split_seed) >= 0,
        }

    @property
    def eval_side_px(self) -> int:
        """Side of the square at validation and in the model file."""
        return self.eval_image_size or max(32, round(self.image_size * 7 / 6 / 32) * 32)

    def crop_px(self, epoch: int) -> int:
        """Side in pixels of the training crops in an epoch, counted from 0."""
        return self.image_size

    @property
    def network_name(self) -> str:
        """For the name of the run."""
        return self.command.removeprefix("train.")

    def to_dict(self) -> dict[str, Any]:
        """The command and the fields, as JSON-ready values."""
        fields = dataclasses.asdict(self)
        return {"command": self.command} | {
            key: str(value) if isinstance(value, Path) else value for key, value in fields.items()
        }


@dataclass(frozen=True)
class TransferConfig(TrainConfig):
    """Fine-tune a pretrained backbone on a folder of landmark photos."""

    command: ClassVar[str] = "train.transfer"

    backbone: str = "tf_efficientnet_lite0"
    """Any timm model name."""
    pretrained: bool = True
    """Start from ImageNet weights; --no-pretrained starts from random ones."""
    weights: Path | None = None
    """Local file with the backbone's weights, instead of the hub."""
    head_epochs: int = 1
    """The first epochs, with the backbone frozen (0 without pretrained weights)."""
    layer_decay: float = 0.85
    """Factor on the learning rate per layer below the head, in phase two."""

    @property
    def network_name(self) -> str:
        """The backbone."""
        return self.backbone

    def rules(self) -> dict[str, bool]:
        """What must hold, by the message that says so."""
        return super().rules() | {
            "head-epochs must be at least 0": self.head_epochs >= 0,
            "layer-decay must lie in (0, 1]": 0 < self.layer_decay <= 1,
        }


@dataclass(frozen=True)
class ScratchConfig(TrainConfig):
    """Train a residual network from random weights on a folder of landmark photos."""

    command: ClassVar[str] = "train.scratch"

    epochs: int = 60
    """Passes over the training photos."""
    image_size: int = 128
    """Side in pixels of the training crops at the end."""
    start_fraction: float = 0.5
    """Their side at the start, as a fraction of image_size: it grows over the first three quarters
    of the epochs, since small crops teach much and cost little (Tan & Le 2021); 1: no growth."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon for convolutions with AdamW for the rest (Jordan 2024), or AdamW for all."""
    learning_rate: float = 1e-2
    """Peak; of the same scale for both optimizers (Liu et al. 2025)."""
    weight_decay: float = 0.1
    """Decoupled; none on biases and norms."""
    warmup_epochs: float = 2.0
    """Linear warm-up."""
    mix_probability: float = 0.5
    """Fraction of the batches that mixup or CutMix changes."""
    patience: int = 60
    """Stop after so many epochs without a better validation top-1."""
    width: int = 48
    """Channels of the first stage; the further ones have 2, 4 and 6 times as many."""
    depth: int = 2
    """Residual blocks per stage."""
    stem: Literal["conv", "deep", "patch"] = "conv"
    """One 3x3 convolution, three of them, or patches of 4 x 4 pixels."""
    norm: Literal["batch", "group"] = "batch"
    """Normalisation: over the batch, or over groups of channels of each photo."""
    activation: Literal["relu", "silu", "gelu"] = "relu"
    """Between the layers."""
    drop_path: float = 0.0
    """Stochastic depth of the last block, growing linearly from the first."""
    init_from: Path | None = None
    """Run folder of train.autoencoder, or its encoder.pt: start from that encoder's weights."""

    def rules(self) -> dict[str, bool]:
        """What must hold, by the message that says so."""
        return super().rules() | {
            "width must be a multiple of 8 from 8 to 128": self.width in range(8, 129, 8),
            "depth must lie between 1 and 8": 1 <= self.depth <= 8,
            "drop-path must lie in [0, 1)": 0 <= self.drop_path < 1,
            "start-fraction must lie in (0, 1]": 0 < self.start_fraction <= 1,
        }

    def crop_px(self, epoch: int) -> int:
        """Side of the training crops in an epoch, counted from 0."""
        grown = min(1.0, epoch / (0.75 * self.epochs))
        side = self.image_size * (self.start_fraction + (1 - self.start_fraction) * grown)
        return max(32, self.image_size - round((self.image_size - side) / SIZE_STEP) * SIZE_STEP)


CONFIGS: dict[str, type[TrainConfig]] = {
    config.command: config for config in (TransferConfig, ScratchConfig)
}


def config_from_dict(values: dict[str, Any], kinds: Mapping[str, type] = CONFIGS) -> TrainConfig:
    """The reverse of to_dict.

    Args:
        values: What to_dict gave.
        kinds: Settings by their command.

    Raises:
        ValueError: If another version of this project wrote it.
    """
    values = dict(values)
    kind = kinds.get(values.pop("command", ""))
    fields = {field.name: field for field in dataclasses.fields(kind)} if kind else {}
    if kind is None or (unknown := set(values) - set(fields)):
        reason = f"unknown setting {min(unknown)}" if kind else "no such training command"
        raise ValueError(f"these settings are of another version of this project: {reason}")
    paths = {"data", "outside", "weights", "init_from", "cache_dir", "run_dir", "resume"}
    for key, value in values.items():
        if value is not None and key in paths:
            values[key] = Path(value)
        elif isinstance(value, list):  # JSON has no tuples
            values[key] = tuple(value)
    return kind(**values)
