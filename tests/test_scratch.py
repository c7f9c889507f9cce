"""The network from random weights, and its command's settings."""

import math

import pytest
import torch

from models.scratch_cnn import MAX_PARAMETERS, ScratchCNN
from train.config import ScratchConfig, TransferConfig, config_from_dict
from train.network import build_network, build_phases


def test_first_loss_is_that_of_a_guess() -> None:
    torch.manual_seed(0)
    network = ScratchCNN(50, width=16, depth=1)
    logits = network(torch.randn(8, 3, 64, 80))
    assert logits.shape == (8, 50)
    loss = torch.nn.functional.cross_entropy(logits, torch.randint(0, 50, (8,)))
    assert loss.item() == pytest.approx(math.log(50), abs=0.05)


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
        ScratchCNN(50, width=128, depth=8)
    assert [phase.epochs for phase in build_phases(config)] == [config.epochs]


def test_settings_survive_json() -> None:
    for config in (ScratchConfig(width=16, tags=("a",)), TransferConfig(backbone="resnet18")):
        assert config_from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="another version"):
        config_from_dict({"command": "train.scratch", "wings": 2})
    with pytest.raises(ValueError, match="another version"):
        config_from_dict({"backbone": "resnet18"})
