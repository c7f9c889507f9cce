"""The network from random weights, and its command's settings."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

from models.model_file.preprocess import Preprocess
from models.networks.scratch_cnn import (
    ACTIVATIONS,
    MAX_PARAMETERS,
    NORMS,
    ResidualBlock,
    ScratchCNN,
)
from train.config import ScratchConfig
from train.data.loading import build_transforms
from train.engine.phases import build_optimizer, schedule_factor
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


def test_crops_grow_to_their_full_side() -> None:
    config = ScratchConfig(image_size=128, start_fraction=0.5, epochs=40)
    sides = [config.crop_px(epoch) for epoch in range(40)]
    assert sides[0] == 64 and sides == sorted(sides) and set(sides[30:]) == {128}
    assert set(sides) == {64, 80, 96, 112, 128}
    assert {ScratchConfig(start_fraction=1.0).crop_px(epoch) for epoch in range(9)} == {128}
    assert ScratchConfig(image_size=32).crop_px(0) == 32
    transform, _ = build_transforms(config, Preprocess(160, 160))
    photo = np.zeros((170, 200, 3), np.uint8)
    assert [transform(photo, (0, epoch, 0)).shape[1] for epoch in (0, 39)] == [64, 128]
    with pytest.raises(ValueError, match="start-fraction"):
        ScratchConfig(start_fraction=0)


def test_muon_turns_matrices_and_leaves_the_head_to_adamw() -> None:
    torch.manual_seed(0)
    config = ScratchConfig(width=8, depth=1, weight_decay=0)
    network = build_network(config, 4)
    optimizer = build_phases(config)[0].prepare(network)
    for group in optimizer.param_groups:
        head = {id(parameter) for parameter in network.head.parameters()}
        assert {id(each) in head for each in group["params"]} == {group["use_fallback"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(network.parameters())
    )
    network.head.weight.data.normal_()
    torch.nn.functional.cross_entropy(
        network(torch.randn(8, 3, 64, 64)), torch.arange(8) % 4
    ).backward()
    # The last norm is zero, so that the body has no gradient yet: look at a shortcut.
    kernel = network.stages[1].shortcut[1].weight
    before = kernel.detach().clone()
    optimizer.step()
    update = (kernel - before).detach().flatten(1)
    values = torch.linalg.svdvals(update)
    gradient = torch.linalg.svdvals(kernel.grad.flatten(1))
    assert values[-1] / values[0] > 0.5 > gradient[-1] / gradient[0]
    groups = [{"params": list(network.parameters())}]
    adamw = build_optimizer(ScratchConfig(optimizer="adamw"), groups, network.get_classifier())
    assert type(adamw) is torch.optim.AdamW


def test_schedules_end_at_zero() -> None:
    for schedule in ("cosine", "linear"):
        factors = [schedule_factor(step, 100, 10, schedule) for step in range(101)]
        assert factors[10] == 1 and factors[100] == pytest.approx(0)
        assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:])[::-1]
    assert schedule_factor(32, 100, 10, "linear") > 0.7
    assert schedule_factor(32, 100, 10) > schedule_factor(32, 100, 10, "linear")


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
