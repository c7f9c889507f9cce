"""A compact residual network built here, trained from random weights."""

import torch
from torch import Tensor, nn

MAX_PARAMETERS = 5_000_000


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, pre-activation as in 1603.05027).

    (B, C_in, H, W) -> (B, C_out, H / stride, W / stride). The shortcut averages before its 1x1
    convolution where the block halves the sides, so that no pixel is skipped (ResNet-D, He et al.
    2019).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        """The last norm starts at zero: each block is the identity at first (Goyal et al. 2017)."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        nn.init.zeros_(self.body[-1].weight)
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if channels_in != channels_out:
            shortcut += [
                nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
            ]  # fmt: skip
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Body plus shortcut, then ReLU."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ScratchCNN(nn.Module):
    """Stem, four stages of residual blocks, global average, linear head.

    Args:
        class_count: K.
        width: Channels of the first stage; the stages have 1, 2, 4 and 6 times as many.
        depth: Blocks per stage.
        drop_rate: Dropout before the head, in [0, 1).

    Raises:
        ValueError: If it would have more than 5 million parameters.
    """

    def __init__(
        self, class_count: int, width: int = 32, depth: int = 2, drop_rate: float = 0.0
    ) -> None:
        """Build with Kaiming weights and a zero head: the first loss is ln K."""
        super().__init__()
        # (B, 3, S, S) -> (B, width, S / 2, S / 2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        # Each stage halves the sides: S / 4, S / 8, S / 16, S / 32.
        blocks: list[nn.Module] = []
        channels = width
        for stage in (width, 2 * width, 4 * width, 6 * width):
            for block in range(depth):
                blocks.append(ResidualBlock(channels, stage, stride=2 if block == 0 else 1))
                channels = stage
        self.stages = nn.Sequential(*blocks)
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

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) float32, S >= 32 -> (B, K) logits."""
        features = self.stages(self.stem(x)).mean((2, 3))
        return self.head(self.dropout(features))
