"""The network from random weights: first loss, shapes, gradients and its size."""

import itertools
import math
import warnings

import pytest
import torch

from models.networks.scratch_cnn import (
    ACTIVATIONS,
    MAX_PARAMETERS,
    NORMS,
    ResidualBlock,
    ScratchCNN,
)
from train.config import ScratchConfig
from train.engine.recipe import build_network, build_phases

KINDS = [
    {"stem": stem, "norm": norm, "activation": activation}
    for stem, norm, activation in (
        *itertools.product(("conv", "deep", "patch"), NORMS, ["relu"]),
        *(("conv", "batch", activation) for activation in ACTIVATIONS if activation != "relu"),
    )
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_first_loss_is_that_of_a_guess(kind: dict[str, str]) -> None:
    torch.manual_seed(0)
    network = ScratchCNN(50, width=24, depth=1, drop_path=0.1, drop_rate=0.2, **kind)
    images = torch.randn(8, 3, 64, 80)
    logits = network(images)
    assert logits.shape == (8, 50)
    loss = torch.nn.functional.cross_entropy(logits, torch.randint(0, 50, (8,)))
    assert loss.item() == pytest.approx(math.log(50), abs=0.05)
    assert network.forward_features(images).shape == (8, network.feature_count, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
        scripted = torch.jit.script(network.eval())
    assert torch.allclose(scripted(images), network(images), atol=1e-5)


def test_stochastic_depth_grows_and_rests_in_evaluation() -> None:
    network = ScratchCNN(3, width=8, depth=2, drop_path=0.7)
    blocks = [block for block in network.stages if isinstance(block, ResidualBlock)]
    assert [block.body[-1].p for block in blocks] == pytest.approx([i / 10 for i in range(8)])
    images = torch.randn(4, 3, 32, 32)
    network.eval()
    assert torch.equal(network.forward_features(images), network.forward_features(images))


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = ScratchCNN(3, width=8, depth=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):  # a zero head, then zero norms, hold the first gradients back
        optimizer.zero_grad()
        images = torch.randn(6, 3, 48, 48)
        torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2] * 2)).backward()
        optimizer.step()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if not gradient.abs().sum() > 0] == []


def test_overfits_one_batch() -> None:
    torch.manual_seed(0)
    network = ScratchCNN(4, width=8, depth=1)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 4
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    assert (network(images).argmax(1) == labels).all()


def test_size_is_limited_and_scriptable() -> None:
    config = ScratchConfig()
    network = build_network(config, 50)
    assert sum(parameter.numel() for parameter in network.parameters()) < MAX_PARAMETERS
    torch.jit.script(network)
    with pytest.raises(ValueError, match="--width or --depth"):
        ScratchCNN(50, width=64, depth=2)  # 7.9 million parameters
    assert [phase.epochs for phase in build_phases(config)] == [config.epochs]
