"""A masked, denoising autoencoder around the network from scratch, and the file of its encoder."""

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.scratch_cnn import ACTIVATIONS, NORMS, ScratchCNN

ENCODER_FILE = "encoder.pt"
INIT_FILE = "init.pt"
"""A copy of the encoder that a training started from, in its run folder."""
ENCODER_FORMAT = 1
ENCODER_SETTINGS = ("width", "depth", "stem", "norm", "activation")
"""What decides the shapes and the meaning of an encoder's weights."""
DECODER_WIDTHS = (128, 64, 32, 16)
VISIBLE_WEIGHT = 0.1
"""Weight of a visible pixel's error; 1 for a hidden one."""


class EncoderError(ValueError):
    """An encoder file that cannot start a network; the message names the fix."""


class Decoder(nn.Module):
    """Small on purpose: (B, C, S / 32, S / 32) -> (B, 3, S, S).

    A 1x1 convolution, then five times: nearest-neighbour enlargement by 2 and a 3x3 convolution,
    which leaves no checkerboard as transposed ones do (Odena et al. 2016). It has a quarter of
    the multiplications of the default encoder; what it could learn by itself is of no use later.

    Args:
        channels: C.
        norm: Channels -> layer.
        activation: -> layer.
    """

    def __init__(
        self, channels: int, norm: Callable[[int], nn.Module], activation: Callable[[], nn.Module]
    ) -> None:
        """No norm after the last convolution: its values are a photo's."""
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, DECODER_WIDTHS[0], 1, bias=False)]
        inside = DECODER_WIDTHS[0]
        layers += [norm(inside), activation()]
        for width in DECODER_WIDTHS:
            layers += [
                nn.Upsample(scale_factor=2.0),
                nn.Conv2d(inside, width, 3, padding=1, bias=False),
                norm(width),
                activation(),
            ]
            inside = width
        self.layers = nn.Sequential(*layers, nn.Upsample(scale_factor=2.0))
        self.last = nn.Conv2d(inside, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, 32 H, 32 W)."""
        return self.last(self.layers(x))


class Autoencoder(nn.Module):
    """ScratchCNN without its head, and a decoder; all that is known passes between the two.

    No skip connections: they would hand visible pixels and noise past the encoder, which alone is
    kept. SparK (Tian et al. 2023) has them, but with sparse convolutions, which never see the
    hidden patches.

    Args:
        width: See ScratchCNN, as the others.
        depth: Blocks per stage.
        stem: conv, deep or patch.
        norm: batch or group; the decoder's too.
        activation: relu, silu or gelu; the decoder's too.
    """

    def __init__(
        self,
        width: int = 48,
        depth: int = 2,
        stem: str = "conv",
        norm: str = "batch",
        activation: str = "relu",
    ) -> None:
        """Random weights."""
        super().__init__()
        self.encoder = ScratchCNN(1, width, depth, stem, norm, activation)
        self.encoder.head = nn.Identity()  # else its weights would be saved, and never learn
        self.decoder = Decoder(self.encoder.feature_count, NORMS[norm], ACTIVATIONS[activation])

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) float32, normalised, S a multiple of 32 -> the same shape and scale."""
        return self.decoder(self.encoder.forward_features(x))


def draw_hidden(
    count: int, side_px: int, patch_px: int, ratio: float, generator: torch.Generator
) -> Tensor:
    """Which pixels to hide: square patches on a grid, equally many of each photo (He et al. 2022).

    Args:
        count: B.
        side_px: S, a multiple of patch_px.
        patch_px: Side of a patch; at least two patches fit beside each other.
        ratio: Part of the patches to hide; one of a photo is hidden and one is visible at least.
        generator: Decides which.

    Returns:
        (B, 1, S, S) bool.
    """
    grid = side_px // patch_px
    hidden = min(max(1, round(ratio * grid * grid)), grid * grid - 1)
    places = torch.rand(count, grid * grid, generator=generator).argsort(1)
    mask = (places < hidden).view(count, 1, grid, grid)
    return mask.repeat_interleave(patch_px, 2).repeat_interleave(patch_px, 3)


def spoil(
    images: Tensor, patch_px: int, ratio: float, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Photos with noise (Vincent et al. 2008), and grey, which is 0, where they are hidden.

    Args:
        images: (B, 3, S, S) float32, normalised.
        patch_px: See draw_hidden.
        ratio: See draw_hidden.
        noise: Standard deviation, in units of the normalised values.
        generator: On the CPU.

    Returns:
        (B, 3, S, S) float32, and (B, 1, S, S) bool, which pixels are hidden.
    """
    hidden = draw_hidden(len(images), images.shape[-1], patch_px, ratio, generator)
    hidden = hidden.to(images.device)
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + noise * grain).masked_fill(hidden, 0.0), hidden


def reconstruction_loss(output: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error, mainly of hidden pixels: copying what is visible teaches little.

    Args:
        output: (B, 3, S, S), what the autoencoder made of spoiled photos.
        images: (B, 3, S, S) float32, the photos as they were.
        hidden: (B, 1, S, S) bool.

    Returns:
        () float32, in units of the normalised values squared.
    """
    errors = (output.float() - images).square().mean(1, keepdim=True)
    weights = hidden + VISIBLE_WEIGHT * ~hidden
    return (errors * weights).sum() / weights.sum()


def read_encoder(path: Path) -> dict[str, Any]:
    """What train.autoencoder wrote of an encoder.

    Args:
        path: encoder.pt, or the run folder with it.

    Returns:
        format, settings (ENCODER_SETTINGS), weights (of stem and stages) and pretraining (figures
        and settings of the pretraining, and keys of its photos). Loaded without unpickling code.

    Raises:
        EncoderError: It is missing, damaged or another file.
    """
    path = encoder_path(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != ENCODER_FORMAT or set(saved["settings"]) != set(ENCODER_SETTINGS):
            raise ValueError("another format")
        return {name: saved[name] for name in ("format", "settings", "weights", "pretraining")}
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError) as error:
        raise EncoderError(
            f"{path} is not an encoder of this project's train.autoencoder; give --init-from its "
            f"run folder or the {ENCODER_FILE} in there"
        ) from error


def encoder_path(path: str | os.PathLike) -> Path:
    """The encoder file that a run folder, or the path of the file itself, means.

    Raises:
        EncoderError: There is none.
    """
    path = Path(path)
    file = path / ENCODER_FILE if path.is_dir() else path
    if not file.is_file():
        raise EncoderError(f"no encoder at {file}; make one with: python -m train.autoencoder")
    return file


def load_encoder(path: Path, network: ScratchCNN, settings: Mapping[str, object]) -> None:
    """Give a network the stem and stages of a pretrained encoder; its head stays.

    Args:
        path: encoder.pt, or the run folder with it.
        network: Changed in place.
        settings: The network's own ENCODER_SETTINGS.

    Raises:
        EncoderError: No such file, or the encoder of another network; the message names the flags.
    """
    saved = read_encoder(path)
    asked = {name: settings[name] for name in ENCODER_SETTINGS}
    wrong = {name: value for name, value in saved["settings"].items() if value != asked[name]}
    if wrong:
        flags = " ".join(f"--{name} {value}" for name, value in wrong.items())
        have = ", ".join(f"{name} {asked[name]}" for name in wrong)
        raise EncoderError(
            f"the encoder in {path} is of another network than this one ({have}); "
            f"add {flags}, or pretrain one with the settings of this training"
        )
    own = {f"head.{name}": value for name, value in network.head.state_dict().items()}
    try:
        network.load_state_dict(saved["weights"] | own)
    except RuntimeError as error:
        raise EncoderError(
            f"the encoder in {path} is of another version of this project; pretrain it again with "
            "python -m train.autoencoder"
        ) from error
