"""Settings of a training: command line flags, W&B config and checkpoint record in one.

All commands share RunConfig; TrainConfig adds what labels need. Nothing here imports torch.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from models.environment import default_data

SIZE_STEP = 16  # pixels by which growing crops grow


@dataclass(frozen=True)
class RunConfig:
    """The settings that every training has, with or without labels."""

    command: ClassVar[str]  # the module that the user types
    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]]  # title -> fields, for the help text

    data: Path = field(default_factory=default_data)
    """Folder with train/ (and test/, never opened) of class folders, or of class folders; a folder
    of train.prepare (splits.json); or a .csv file with the columns path, label and split."""
    epochs: int = 12
    """Passes over the training photos, all phases together."""
    image_size: int = 224
    """Side of the training crops, in pixels."""
    batch_size: int = 64
    """Photos per step, over all processes together."""
    learning_rate: float = 1e-3
    """Peak learning rate; both optimizers use the same scale (Liu et al. 2025)."""
    flip: bool = True
    """Mirror half of the training photos; use --no-flip where left and right differ."""
    val_fraction: float = 0.1
    """Fraction of each class's training photos that is held out for validation."""
    split_seed: int = 0
    """Seed of the validation split, independent of --seed."""
    seed: int = 0
    """Seed of the weights, the order of the photos and every random change to them."""
    limit: int | None = None
    """Use at most this many photos per class."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast precision; auto: bf16 where the hardware has it, fp16 on other GPUs, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ..."""
    workers: int = 1
    """Processes that prepare photos; with 0 the training process does it."""
    cache_dir: Path | None = None
    """Where decoded photos are kept; default: LANDMARKS_CACHE, else ~/.cache/landmarks."""
    run_dir: Path | None = None
    """Folder of this run; default: runs/<time>-<network>-s<seed>."""
    resume: Path | None = None
    """Resume the run in this folder, with its own settings."""
    wandb: Literal["online", "offline", "disabled"] | None = None
    """Weights & Biases; default: WANDB_MODE, else online if there is a key, else offline."""
    entity: str | None = None
    """W&B user or team; default: WANDB_ENTITY, else the owner of the key."""
    project: str | None = None
    """W&B project; default: WANDB_PROJECT, else landmarks."""

    def __post_init__(self) -> None:
        """Reject settings that cannot work, before anything is written."""
        for message, holds in self._rules().items():
            if not holds:
                raise ValueError(message)

    def _rules(self) -> dict[str, bool]:
        return {
            "epochs must be at least 1": self.epochs >= 1,
            "image-size must be at least 32": self.image_size >= 32,
            "batch-size must be at least 2": self.batch_size >= 2,
            "learning-rate must be above 0": self.learning_rate > 0,
            "val-fraction must lie in (0, 0.5]": 0 < self.val_fraction <= 0.5,
            "workers must be at least 0": self.workers >= 0,
            "limit must be at least 2": self.limit is None or self.limit >= 2,
            "seeds must be at least 0": min(self.seed, self.split_seed) >= 0,
        }

    @property
    def eval_side_px(self) -> int:
        """Side of the square that a photo is reduced to, for validation and in the cache."""
        # A sixth above the crops, which enlarge what they show (FixRes, Touvron et al. 2019).
        return max(32, round(self.image_size * 7 / 6 / 32) * 32)

    def crop_px(self, epoch: int) -> int:
        """Return the side of the training crops in an epoch, counted from 0."""
        grown = min(1.0, epoch / (0.75 * self.epochs))
        side = self.image_size * (self.start_fraction + (1 - self.start_fraction) * grown)
        return max(32, self.image_size - round((self.image_size - side) / SIZE_STEP) * SIZE_STEP)

    @property
    def network_name(self) -> str:
        """The network's part of the run's name."""
        return self.command.removeprefix("train.")

    def to_dict(self) -> dict[str, Any]:
        """Return the command and all fields as JSON-ready values."""
        fields = {"command": self.command} | dataclasses.asdict(self)
        return json.loads(json.dumps(fields, default=str))  # the paths are no JSON


PHOTOS = ("data", "val_fraction", "split_seed", "limit")
LABELLED_PHOTOS = (*PHOTOS, "label_fraction", "balanced", "outside", "outside_weight")
OPTIMISER = ("optimizer", "learning_rate", "weight_decay", "warmup_epochs", "schedule", "clip_norm")
HARDWARE = ("device", "precision", "workers", "cache_dir")
RUN_FOLDER = ("run_dir", "resume", "seed")
WANDB = ("wandb", "entity", "project")
PATHS = {"data", "weights", "init_from", "cache_dir", "run_dir", "resume"}


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """The settings of a training with labels; each command adds those of its network."""

    outside: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Photos of none of the landmarks: a folder per kind (may be given several times), or a folder
    of such folders. One half teaches "none of these", the other sets the threshold of "sure"."""
    outside_weight: float = 0.5
    """Weight of the outside photos in the training loss; 0: the network learns without them."""
    start_fraction: float = 1.0
    """Side of the first crops over --image-size. It grows over three quarters of the epochs: small
    crops teach much and cost little (Tan & Le 2021)."""
    teacher: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Run folder to learn the answers of beside the labels; several: their mean (distillation)."""
    eval_image_size: int | None = None
    """Side of the photos at validation and in the model file; default: a sixth above --image-size,
    since random crops enlarge objects."""
    resize_mode: Literal["crop", "pad"] = "crop"
    """At validation and in the model file: crop to the centre, or pad the full photo with black."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for matrices and convolutions with AdamW for the rest (Jordan 2024)."""
    weight_decay: float = 0.05
    """Decoupled weight decay; biases and norms have none."""
    warmup_epochs: float = 0.5
    """Length of the linear warm-up at the start of each phase."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls to zero after the warm-up."""
    label_smoothing: float = 0.1
    """Probability mass spread over the other classes, in [0, 1)."""
    mixup: float = 0.2
    """Beta parameter of mixup (Zhang et al. 2018); 0 turns it off."""
    cutmix: float = 1.0
    """Beta parameter of CutMix (Yun et al. 2019); 0 turns it off."""
    mix_probability: float = 0.3
    """Fraction of the batches that mixup or CutMix changes (none while a backbone is frozen)."""
    augment: float = 1.0
    """Strength of colour, warp, blur and dropout changes, 0 to 2; 0 leaves crop and flip."""
    drop_rate: float = 0.2
    """Dropout before the head."""
    ema_decay: float = 0.99
    """Decay of the moving average of the weights, which is what is validated; 0 turns it off."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    patience: int = 5
    """Stop after this many epochs without a better validation top-1."""
    label_fraction: float = 1.0
    """Train on this fraction of each class's training photos; validation keeps all of its own."""
    balanced: bool = False
    """Draw every class equally often, however many photos it has; an epoch keeps its length."""
    group: str | None = None
    """W&B group of this run."""
    tags: tuple[str, ...] = ()
    """W&B tags of this run."""
    notes: str | None = None
    """W&B notes of this run."""
    upload_photos: bool = False
    """Upload the photos themselves to the W&B data set artifact, not only their hashes."""
    promote: bool = True
    """When done, move the W&B alias best to this model if it is the best of its split."""

    GROUPS: ClassVar = {
        "photos": LABELLED_PHOTOS,
        "network": (),  # each command's own; named here so that it comes second
        "length": ("epochs", "batch_size", "patience"),
        "image size": ("image_size", "start_fraction", "eval_image_size", "resize_mode"),
        "optimiser": OPTIMISER,
        "augmentation": ("augment", "flip", "mixup", "cutmix", "mix_probability"),
        "regularisation": ("teacher", "label_smoothing", "drop_rate", "ema_decay"),
        "run folder": RUN_FOLDER,
        "hardware": HARDWARE,
        "W&B": (*WANDB, "group", "tags", "notes", "upload_photos", "promote"),
    }

    def _rules(self) -> dict[str, bool]:
        return super()._rules() | {
            "eval-image-size must be at least 32": (self.eval_image_size or 32) >= 32,
            "outside-weight must be at least 0": self.outside_weight >= 0,
            "start-fraction must lie in (0, 1]": 0 < self.start_fraction <= 1,
            "weight-decay must be at least 0": self.weight_decay >= 0,
            "label-smoothing must lie in [0, 1)": 0 <= self.label_smoothing < 1,
            "mixup and cutmix must be at least 0": min(self.mixup, self.cutmix) >= 0,
            "mix-probability must lie in [0, 1]": 0 <= self.mix_probability <= 1,
            "augment must lie in [0, 2]": 0 <= self.augment <= 2,
            "drop-rate must lie in [0, 1)": 0 <= self.drop_rate < 1,
            "ema-decay must lie in [0, 1)": 0 <= self.ema_decay < 1,
            "clip-norm must be above 0": self.clip_norm > 0,
            "patience must be at least 1": self.patience >= 1,
            "label-fraction must lie in (0, 1]": 0 < self.label_fraction <= 1,
        }

    @property
    def eval_side_px(self) -> int:
        """Side of the square at validation and in the model file."""
        return self.eval_image_size or super().eval_side_px


@dataclass(frozen=True)
class TransferConfig(TrainConfig):
    """Fine-tune a pretrained backbone on a folder of landmark photos."""

    command: ClassVar[str] = "train.transfer"

    backbone: str = "tf_efficientnet_lite0"
    """Any timm model name."""
    pretrained: bool = True
    """Start from ImageNet weights; --no-pretrained starts from random ones."""
    weights: Path | None = None
    """Local file with the backbone's weights, instead of the model hub."""
    head_epochs: int = 1
    """Number of first epochs that train only the head (0 without pretrained weights)."""
    layer_decay: float = 0.85
    """Factor on the learning rate per layer below the head, after the head epochs."""

    GROUPS: ClassVar = TrainConfig.GROUPS | {
        "network": ("backbone", "pretrained", "weights"),
        "length": ("epochs", "head_epochs", "batch_size", "patience"),
        "optimiser": (*OPTIMISER, "layer_decay"),
    }

    @property
    def network_name(self) -> str:
        """The backbone."""
        return self.backbone

    def _rules(self) -> dict[str, bool]:
        return super()._rules() | {
            "head-epochs must be at least 0": self.head_epochs >= 0,
            "layer-decay must lie in (0, 1]": 0 < self.layer_decay <= 1,
        }


@dataclass(frozen=True)
class ScratchNetwork:
    """The network that train.scratch trains and train.autoencoder pretrains."""

    width: int = 48
    """Channels of the first stage; the next ones have 2, 4 and 6 times as many."""
    depth: int = 2
    """Residual blocks per stage."""
    stem: Literal["conv", "deep", "patch"] = "conv"
    """First layers: one 3x3 convolution, three of them, or patches of 4 x 4 pixels."""
    norm: Literal["batch", "group"] = "batch"
    """Normalise over the batch, or over groups of channels of each photo."""
    activation: Literal["relu", "silu", "gelu"] = "relu"
    """Activation between the layers."""


def _network_rules(config: ScratchNetwork) -> dict[str, bool]:
    return {
        "width must be a multiple of 8 from 8 to 128": config.width in range(8, 129, 8),
        "depth must lie between 1 and 8": 1 <= config.depth <= 8,
    }


NETWORK = tuple(field.name for field in dataclasses.fields(ScratchNetwork))


@dataclass(frozen=True)
class ScratchConfig(ScratchNetwork, TrainConfig):
    """Train a residual network from random weights on a folder of landmark photos."""

    command: ClassVar[str] = "train.scratch"

    image_size: int = 128
    """Side of the training crops at the end, in pixels."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon for convolutions with AdamW for the rest (Jordan 2024), or AdamW for all."""
    # Of these only the defaults differ; the help shows the text of TrainConfig.
    start_fraction: float = 0.5
    epochs: int = 60
    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    warmup_epochs: float = 2.0
    mix_probability: float = 0.5
    patience: int = 60
    drop_path: float = 0.0
    """Stochastic depth of the last block, growing linearly from the first."""
    init_from: Path | None = None
    """Start from the encoder in this run folder of train.autoencoder, or in its encoder.pt."""

    GROUPS: ClassVar = TrainConfig.GROUPS | {
        "network": (*NETWORK, "init_from"),
        "regularisation": (*TrainConfig.GROUPS["regularisation"], "drop_path"),
    }

    def _rules(self) -> dict[str, bool]:
        return {
            **super()._rules(),
            **_network_rules(self),
            "drop-path must lie in [0, 1)": 0 <= self.drop_path < 1,
        }


@dataclass(frozen=True)
class AutoencoderConfig(ScratchNetwork, RunConfig):
    """Pretrain the network of train.scratch on photos without labels: hide most, restore all.

    Every flag that train.scratch has too means the same. Give both commands the same network and
    the same --val-fraction, --split-seed and --limit, so that the same photos are held out.
    """

    command: ClassVar[str] = "train.autoencoder"
    # What train.scratch offers as flags is fixed here.
    optimizer: ClassVar[str] = ScratchConfig.optimizer
    weight_decay: ClassVar[float] = ScratchConfig.weight_decay
    clip_norm: ClassVar[float] = ScratchConfig.clip_norm
    schedule: ClassVar[str] = "cosine"
    patience: ClassVar[float] = math.inf  # the rate ends at zero, so the last weights are the best
    augment: ClassVar[float] = 0.0  # beside crops, hiding is augmentation enough (He et al. 2022)
    balanced: ClassVar[bool] = False
    start_fraction: ClassVar[float] = 1.0

    data: Path = field(default_factory=default_data)
    """What train.scratch takes (the photos that it validates on are held out), or any folder with
    photos at any depth. Folders named test are never opened."""
    extra: tuple[str, ...] = ()
    """More such folders."""
    epochs: int = 60
    """Passes over the photos."""
    image_size: int = ScratchConfig.image_size
    """Side of the crops in pixels, a multiple of 32."""
    patch: int = 16
    """Side of the squares that are hidden, in pixels; it must divide --image-size."""
    mask_ratio: float = 0.6
    """Fraction of the squares that is hidden (SparK, Tian et al. 2023)."""
    noise: float = 0.1
    """Standard deviation of the noise on the visible squares; black and white are 2 apart."""
    learning_rate: float = ScratchConfig.learning_rate
    """Peak learning rate, after a warm-up over a twentieth of the steps; then a cosine to zero.
    Optimizer and weight decay are those of train.scratch."""

    GROUPS: ClassVar = {
        "photos": (*PHOTOS, "extra"),
        "network": NETWORK,
        "length": ("epochs", "batch_size", "learning_rate"),
        "hiding": ("image_size", "patch", "mask_ratio", "noise", "flip"),
        "run folder": RUN_FOLDER,
        "hardware": HARDWARE,
        "W&B": WANDB,
    }

    def _rules(self) -> dict[str, bool]:
        side, patch = self.image_size, self.patch
        return {
            "image-size must be a multiple of 32": side > 0 and side % 32 == 0,
            "patch must divide image-size into parts": 0 < patch < side and side % patch == 0,
            "mask-ratio must lie in (0, 1)": 0 < self.mask_ratio < 1,
            "noise must be at least 0": self.noise >= 0,
            **super()._rules(),
            **_network_rules(self),
        }


CONFIGS = {each.command: each for each in (TransferConfig, ScratchConfig)}
"""The trainings with labels, by command: what a sweep may search and what becomes a model file."""


def config_from_dict(values: dict[str, Any]) -> RunConfig:
    """Return the settings of a run folder's config.json, of any command and earlier version.

    Raises:
        ValueError: A setting or the command is unknown to this version of the project.
    """
    values = dict(values)
    kinds = CONFIGS | {AutoencoderConfig.command: AutoencoderConfig}
    kind = kinds.get(values.pop("command", ""))
    unknown = set(values) - {field.name for field in dataclasses.fields(kind)} if kind else ()
    if kind is None or unknown:
        reason = f"unknown setting {min(unknown)}" if kind else "no such training command"
        raise ValueError(f"these settings are of another version of this project: {reason}")
    if kind in CONFIGS.values():
        # What earlier versions did, where their settings do not say; outside was one folder.
        outside = values.get("outside") or ()
        outside = tuple(map(Path, [outside] if isinstance(outside, str) else outside))
        lists = {"outside": outside, "teacher": tuple(map(Path, values.get("teacher", ())))}
        earlier = {"start_fraction": 1.0} if kind is TransferConfig else {}
        values = {"outside_weight": 0.0} | earlier | values | lists
    for key, value in values.items():
        if value is not None and key in PATHS:
            values[key] = Path(value)
        elif isinstance(value, list):  # JSON has no tuples
            values[key] = tuple(value)
    return kind(**values)
