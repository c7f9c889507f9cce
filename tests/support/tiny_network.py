"""The smallest network that a model file can hold."""

import torch
from torch import Tensor, nn


class TinyNetwork(nn.Module):
    """Two parts, called as timm's networks call theirs."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def toy_network() -> TinyNetwork:
    """The toy model's: six classes, random weights, the same each time."""
    torch.manual_seed(0)
    return TinyNetwork(
        nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)),
    )
