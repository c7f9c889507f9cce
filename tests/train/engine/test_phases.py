"""The phases of a training: schedule, optimizers and crops."""

import numpy as np
import pytest
import torch

from models.model_file.preprocess import Preprocess
from train.config import AutoencoderConfig, ScratchConfig, TransferConfig
from train.data.loading import build_transforms
from train.engine.phases import build_optimizer, schedule_factor
from train.engine.recipe import build_network, build_phases


def test_schedule_warms_up_and_ends_at_zero() -> None:
    factors = [schedule_factor(step, 100, 10) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.001


def test_schedules_end_at_zero() -> None:
    for schedule in ("cosine", "linear"):
        factors = [schedule_factor(step, 100, 10, schedule) for step in range(101)]
        assert factors[10] == 1 and factors[100] == pytest.approx(0)
        assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:])[::-1]
    assert schedule_factor(32, 100, 10, "linear") > 0.7
    assert schedule_factor(32, 100, 10) > schedule_factor(32, 100, 10, "linear")


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


def test_phases_of_each_command() -> None:
    def lengths(config: TransferConfig | ScratchConfig | AutoencoderConfig) -> list[tuple]:
        return [(each.name, each.epochs, each.mix, each.average) for each in build_phases(config)]

    head, rest = ("head", 2, False, False), ("all", 10, True, True)
    assert lengths(TransferConfig(head_epochs=2)) == [head, rest]
    assert lengths(TransferConfig(pretrained=False))[0][1] == 0
    assert lengths(TransferConfig(head_epochs=99))[1][1] == 0
    assert lengths(ScratchConfig(epochs=10)) == [rest]
    assert lengths(AutoencoderConfig(epochs=7)) == [("all", 7, False, False)]


def test_warmup() -> None:
    (phase,) = build_phases(ScratchConfig(warmup_epochs=1.5))
    assert phase.warmup_steps(9) == 14
    for epochs, steps in ((3, 30), (60, 7), (7, 10)):
        (phase,) = build_phases(AutoencoderConfig(epochs=epochs))
        assert phase.warmup_steps(steps) == round(0.05 * (epochs * steps))
