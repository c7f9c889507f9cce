"""A compact residual network, built here and trained from random weights."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation, StochasticDepth

MAX_PARAMETERS = 5_000_000
STRIDE = 32
"""Side of a photo divided by the side of the last feature map."""
NORM_GROUPS = 8
STAGE_WIDTHS = (1, 2, 4, 6)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "gelu": nn.GELU,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    # For batches too small for statistics of their own (Wu & He 2018).
    "group": lambda channels: nn.GroupNorm(NORM_GROUPS, channels),
}


def build_stem(
    kind: str, width: int, norm: Callable[[int], nn.Module], activation: Callable[[], nn.Module]
) -> nn.Sequential:
    """Build the first layers: (B, 3, S, S) -> (B, width, S / 2, S / 2), or S / 4 for "patch".

    Args:
        kind: "conv" is one 3x3 convolution with stride 2. "deep" is three of them, of which the
            first strides (ResNet-C, He et al. 2019): it sees more edges and colours, and takes
            longer. "patch" sees each square of 4 x 4 pixels once (ConvNeXt, Liu et al. 2022): it
            is the fastest, and the worst at thin lines.
        width: Channels.
        norm: Builds a norm layer for a number of channels.
        activation: Builds an activation.
    """

    def convolution(channels_in: int, channels_out: int, side: int, stride: int) -> list[nn.Module]:
        padding = 1 if side == 3 else 0
        layer = nn.Conv2d(channels_in, channels_out, side, stride, padding, bias=False)
        return [layer, norm(channels_out), activation()]

    if kind == "patch":
        return nn.Sequential(*convolution(3, width, 4, 4))
    if kind == "conv":
        return nn.Sequential(*convolution(3, width, 3, 2))
    half = max(8, width // 16 * 8)
    layers = [*convolution(3, half, 3, 2), *convolution(half, half, 3, 1)]
    return nn.Sequential(*layers, *convolution(half, width, 3, 1))


class ResidualBlock(nn.Module):
    """Add what two 3x3 convolutions see to their input (He et al. 2016).

    (B, C_in, H, W) -> (B, C_out, H / stride, W / stride), rounded up. Where the block halves the
    sides, the shortcut averages before its 1x1 convolution, so that no pixel is skipped (ResNet-D,
    He et al. 2019). Squeeze-and-excitation (Hu et al. 2018) weights the channels by what the entire
    photo shows, for few multiplications.

    Args:
        channels_in: C_in.
        channels_out: C_out.
        stride: 1 or 2.
        norm: Builds a norm layer for a number of channels.
        activation: Builds an activation.
        drop_path: Probability in [0, 1) that training skips the body for a photo (Huang et al.
            2016); it grows with the block's depth.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: int,
        norm: Callable[[int], nn.Module] = NORMS["batch"],
        activation: Callable[[], nn.Module] = ACTIVATIONS["relu"],
        drop_path: float = 0.0,
    ) -> None:
        """Build body and shortcut; the last norm starts at zero.

        Each block is the identity at first, which steadies the first steps (Goyal et al. 2017).
        """
        super().__init__()
        last_norm = norm(channels_out)
        nn.init.zeros_(last_norm.weight)
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            norm(channels_out),
            activation(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            last_norm,
            SqueezeExcitation(channels_out, max(8, channels_out // 8)),
            StochasticDepth(drop_path, "row"),
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if channels_in != channels_out:
            shortcut += [nn.Conv2d(channels_in, channels_out, 1, bias=False), norm(channels_out)]
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of body plus shortcut."""
        return self.activation(self.body(x) + self.shortcut(x))


class ScratchCNN(nn.Module):
    """Classify photos with a stem, four stages of residual blocks, their average and a linear head.

    Args:
        class_count: Number of landmarks, K.
        width: Channels of the first stage. The stages have 1, 2, 4 and 6 times as many: the last
            does not double, since most parameters are there for the 4 x 4 positions that are left
            of 128 pixels.
        depth: Blocks per stage.
        stem: conv, deep or patch; see build_stem.
        norm: batch or group.
        activation: relu, silu or gelu.
        drop_path: Stochastic depth of the last block; it grows linearly from 0 at the first.
        drop_rate: Dropout before the head, in [0, 1).

    Raises:
        ValueError: The network would have more than 5 million parameters.
    """

    def __init__(
        self,
        class_count: int,
        width: int = 48,
        depth: int = 2,
        stem: str = "conv",
        norm: str = "batch",
        activation: str = "relu",
        drop_path: float = 0.0,
        drop_rate: float = 0.0,
    ) -> None:
        """Build with Kaiming weights and a zero head, so that the first loss is ln K."""
        super().__init__()
        self.stem = build_stem(stem, width, NORMS[norm], ACTIVATIONS[activation])
        # Each stage halves the sides, except the first after a stem that has quartered them. The
        # stages return sides of S / 4, S / 8, S / 16 and S / 32 with every stem.
        blocks: list[nn.Module] = []
        channels = width
        for stage, factor in enumerate(STAGE_WIDTHS):
            for block in range(depth):
                halves = block == 0 and not (stage == 0 and stem == "patch")
                dropped = drop_path * len(blocks) / max(1, depth * len(STAGE_WIDTHS) - 1)
                kinds = (NORMS[norm], ACTIVATIONS[activation])
                stride = 2 if halves else 1
                blocks.append(ResidualBlock(channels, factor * width, stride, *kinds, dropped))
                channels = factor * width
        self.stages = nn.Sequential(*blocks)
        self.feature_count = channels
        self.dropout = nn.Dropout(drop_rate)
        self.head = nn.Linear(channels, class_count)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        count = sum(parameter.numel() for parameter in self.parameters())
        if count > MAX_PARAMETERS:
            raise ValueError(
                f"width {width} and depth {depth} make {count / 1e6:.1f} million parameters, "
                f"more than {MAX_PARAMETERS / 1e6:.0f}; lower --width or --depth"
            )

    def get_classifier(self) -> nn.Module:
        """Return the head, under the name that timm's networks have for it."""
        return self.head

    def forward_features(self, x: Tensor) -> Tensor:
        """Return features: (B, 3, S, S) float32, S >= 32 -> (B, feature_count, S / 32, S / 32)."""
        return self.stages(self.stem(x))

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits of features: (B, feature_count, h, w) -> (B, K)."""
        return self.head(self.dropout(features.mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of photos: (B, 3, S, S) float32, S >= 32 -> (B, K)."""
        return self.forward_head(self.forward_features(x))
