"""A masked, denoising autoencoder around the network from scratch: hide, restore, compare."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.networks.scratch_cnn import ACTIVATIONS, NORMS, ScratchCNN

DECODER_WIDTHS = (128, 64, 32, 16)
VISIBLE_WEIGHT = 0.1
"""Weight of a visible pixel's error; 1 for a hidden one."""


class Decoder(nn.Module):
    """Turn the encoder's features into a photo: (B, C, S / 32, S / 32) -> (B, 3, S, S).

    A 1x1 convolution, then five times: nearest-neighbour enlargement by 2 and a 3x3 convolution,
    which leaves no checkerboard as transposed ones do (Odena et al. 2016). It is small on purpose,
    with a quarter of the default encoder's multiplications: what the decoder learns is thrown away.

    Args:
        channels: C.
        norm: Builds a norm layer for a number of channels.
        activation: Builds an activation.
    """

    def __init__(
        self, channels: int, norm: Callable[[int], nn.Module], activation: Callable[[], nn.Module]
    ) -> None:
        """Build the layers; the last convolution has no norm, since its values are a photo's."""
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
        """Return photos of features: (B, C, H, W) -> (B, 3, 32 H, 32 W)."""
        return self.last(self.layers(x))


class Autoencoder(nn.Module):
    """Restore photos with ScratchCNN, without its head, as encoder and a small decoder.

    There are no skip connections: they would lead visible pixels and noise around the encoder, the
    only part that is kept. SparK (Tian et al. 2023) has them, but its sparse convolutions never see
    the hidden patches.

    Args:
        width: Channels of the encoder's first stage; see ScratchCNN.
        depth: Blocks per stage.
        stem: conv, deep or patch.
        norm: batch or group, in the decoder too.
        activation: relu, silu or gelu, in the decoder too.
    """

    def __init__(
        self,
        width: int = 48,
        depth: int = 2,
        stem: str = "conv",
        norm: str = "batch",
        activation: str = "relu",
    ) -> None:
        """Build both parts with random weights."""
        super().__init__()
        self.encoder = ScratchCNN(1, width, depth, stem, norm, activation)
        self.encoder.head = nn.Identity()  # else its weights would be saved although none learns
        self.decoder = Decoder(self.encoder.feature_count, NORMS[norm], ACTIVATIONS[activation])

    def forward(self, x: Tensor) -> Tensor:
        """Restore photos: (B, 3, S, S) float32, normalised, S a multiple of 32 -> the same."""
        return self.decoder(self.encoder.forward_features(x))


def draw_hidden(
    count: int, side_px: int, patch_px: int, ratio: float, generator: torch.Generator
) -> Tensor:
    """Draw which pixels to hide: squares on a grid, the same number in each photo (He et al. 2022).

    Args:
        count: Number of photos, B.
        side_px: Side of the photos, S; a multiple of patch_px.
        patch_px: Side of a square; at least two squares fit beside each other.
        ratio: Fraction of the squares to hide; at least one is hidden and one stays visible.
        generator: Source of the draws.

    Returns:
        (B, 1, S, S) bool.
    """
    grid = side_px // patch_px
    hidden = min(max(1, round(ratio * grid * grid)), grid * grid - 1)
    # Ranks of random numbers, not a coin per square: so that each photo loses the same number.
    places = torch.rand(count, grid * grid, generator=generator).argsort(1)
    mask = (places < hidden).view(count, 1, grid, grid)
    return mask.repeat_interleave(patch_px, 2).repeat_interleave(patch_px, 3)


def spoil(
    images: Tensor, patch_px: int, ratio: float, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add noise to photos (Vincent et al. 2008), and turn what is hidden to grey, which is 0.

    Args:
        images: (B, 3, S, S) float32, normalised.
        patch_px: Side of the hidden squares.
        ratio: Fraction of the squares that is hidden.
        noise: Standard deviation, in units of the normalised values.
        generator: Source of the draws, on the CPU: every device then draws the same.

    Returns:
        (B, 3, S, S) float32, the spoiled photos, and (B, 1, S, S) bool, which pixels are hidden.
    """
    hidden = draw_hidden(len(images), images.shape[-1], patch_px, ratio, generator)
    hidden = hidden.to(images.device)
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + noise * grain).masked_fill(hidden, 0.0), hidden


def reconstruction_loss(output: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean squared error, mainly of hidden pixels: copying visible ones teaches little.

    Args:
        output: (B, 3, S, S), what the autoencoder made of the spoiled photos.
        images: (B, 3, S, S) float32, the photos before that.
        hidden: (B, 1, S, S) bool, which pixels were hidden.

    Returns:
        () float32, in units of the normalised values squared.
    """
    errors = (output.float() - images).square().mean(1, keepdim=True)
    weights = hidden + VISIBLE_WEIGHT * ~hidden
    return (errors * weights).sum() / weights.sum()
