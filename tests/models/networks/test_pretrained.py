"""Backbones: shapes, gradients, freezing that freezes, weights from where they are."""

from pathlib import Path

import pytest
import timm
import torch

from models.networks.pretrained import (
    BackboneError,
    build_pretrained,
    check_image_sizes,
    freeze_backbone,
    layer_learning_rates,
    normalisation,
    set_train_mode,
    unfreeze,
)

BACKBONES = ["tf_efficientnet_lite0", "resnet18"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_and_gradients(backbone: str) -> None:
    torch.manual_seed(0)
    model = build_pretrained(backbone, 7, pretrained=False)
    set_train_mode(model)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all((p.grad != 0).any() for p in model.get_classifier().parameters())
    assert (next(model.parameters()).grad != 0).any()  # the stem: gradients flow all the way


@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_backbone_does_not_move_and_the_head_does(backbone: str) -> None:
    torch.manual_seed(0)
    model = build_pretrained(backbone, 3, pretrained=False)
    freeze_backbone(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(layer_learning_rates(model, 0.05, 0.8), lr=0.01)
    for _ in range(2):
        set_train_mode(model)
        model(torch.randn(4, 3, 64, 64)).logsumexp(1).sum().backward()
        optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    head = {name for name in before if name.startswith(("classifier.", "fc."))}
    assert moved == head  # batch-norm statistics included

    unfreeze(model)
    set_train_mode(model)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_learning_rate_falls_towards_the_input(backbone: str) -> None:
    model = build_pretrained(backbone, 3, pretrained=False)
    scale = {
        id(parameter): group["lr_scale"]
        for group in layer_learning_rates(model, 0.05, 0.8)
        for parameter in group["params"]
    }
    scales = [scale[id(parameter)] for parameter in model.parameters()]
    assert len(scales) == len(scale)
    assert scales[-1] == 1.0
    assert scales[0] < 0.3
    assert scales == sorted(scales)


def test_one_batch_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    model = build_pretrained("test_resnet", 4, pretrained=False).train()
    images, labels = torch.randn(8, 3, 48, 48), torch.arange(8) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_wheel_weights_are_imagenet_weights() -> None:
    model = build_pretrained("efficientnet_lite0", 5)
    assert normalisation(model) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    fresh = build_pretrained("tf_efficientnet_lite0", 5, pretrained=False)
    stem, fresh_stem = model.conv_stem.weight, fresh.conv_stem.weight
    assert not torch.equal(stem, fresh_stem)
    # Trained batch norms have seen data; fresh ones have mean 0 and variance 1.
    assert model.bn1.running_var.std() > 0.1
    again = build_pretrained("tf_efficientnet_lite0", 5)
    assert torch.equal(stem, again.conv_stem.weight)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_local_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    source = timm.create_model("resnet18", num_classes=1000)
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(source.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(source.state_dict(), path)
    model = build_pretrained("resnet18", 3, weights=path)
    assert torch.equal(model.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    assert model.fc.weight.shape == (3, 512)


def test_errors_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no backbone 'resnet81'; the nearest: resnet"):
        build_pretrained("resnet81", 3, pretrained=False)
    with pytest.raises(BackboneError, match="no weights file"):
        build_pretrained("resnet18", 3, weights=tmp_path / "absent.pth")
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(BackboneError, match="does not hold the weights of resnet18"):
        build_pretrained("resnet18", 3, weights=tmp_path / "bad.pth")


def test_unreachable_hub_names_two_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    with pytest.raises(BackboneError, match=r"--weights FILE.*--no-pretrained"):
        build_pretrained("resnet18", 3)


def test_fixed_input_size_is_said() -> None:
    model = build_pretrained("vit_tiny_patch16_224", 3, pretrained=False)
    check_image_sizes(model, {224})
    with pytest.raises(BackboneError, match="--image-size 224 --eval-image-size 224"):
        check_image_sizes(model, {192, 256})
    check_image_sizes(build_pretrained("resnet18", 3, pretrained=False), {192, 256})
