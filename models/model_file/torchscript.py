"""Save and load the model file: TorchScript with preprocessing, labels and manifest inside.

No other file of this project names torch.jit, so that replacing TorchScript means replacing this.
"""

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.files import atomic
from models.model_file.archive import FORMAT_VERSION, MANIFEST, TWIN, add_extra, read_extra
from models.model_file.classifier import Calibration, KnownScore, PhotoClassifier, feature_layout
from models.model_file.engine import Outputs
from models.model_file.onnx_export import export_twin, round_weights, set_metadata
from models.model_file.preprocess import Preprocess

METHODS = ("known_score", "explain", "answer")
for _name in METHODS:  # beside forward, these are part of the file
    torch.jit.export(getattr(PhotoClassifier, _name))
ScriptModule = torch.jit.ScriptModule
DEPRECATIONS = (FutureWarning, DeprecationWarning)


@contextlib.contextmanager
def _without_warnings(*kinds: type[Warning]) -> Iterator[None]:
    """Hide warnings: torch.jit is deprecated, and each of its functions says so."""
    with warnings.catch_warnings():
        for kind in kinds:
            warnings.simplefilter("ignore", kind)
        yield


def script_network(network: nn.Module, crop_px: int, features: Any = None) -> ScriptModule:
    """Return a network as TorchScript; traced where it cannot be scripted (some timm backbones).

    A trace is sound here: the network sees one fixed size, and the caller's parity gate runs it
    at other batch sizes.

    Args:
        network: In eval mode.
        crop_px: Side of the square images that it sees.
        features: What its forward_features returns for two images, if the result must keep
            forward_features and forward_head, as a model file needs; None: only forward.
    """
    with torch.no_grad(), _without_warnings(Warning):  # also the tracer's notes on constants
        try:
            return torch.jit.script(network)
        except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError, OSError):
            images = torch.zeros(2, 3, crop_px, crop_px)
            parts = {"forward_features": images, "forward_head": features}
            inputs = {"forward": images} | (parts if features is not None else {})
            return torch.jit.trace_module(network, inputs)


def save_model(
    path: Path,
    network: nn.Module,
    preprocess: Preprocess,
    class_names: Sequence[str],
    manifest: dict[str, Any],
    calibration: Calibration | None = None,
    known: KnownScore | None = None,
) -> Path:
    """Write the model file, and a torch.export program (batched input only) beside it.

    Args:
        path: The TorchScript file, usually model.pt; the program gets the suffix .pt2.
        network: As PhotoClassifier takes it; saved in fp32, in eval mode, after round_weights.
        preprocess: What the network was trained for.
        class_names: K unique labels.
        manifest: JSON-ready; preprocess, class_names and temperature are set here.
        calibration: How logits become probabilities; None: by a plain softmax.
        known: The score that the manifest's known_threshold refers to.

    Returns:
        path. Each of the two files appears complete or not at all.

    Raises:
        ValueError: If two labels are equal.
    """
    if len(set(class_names)) != len(class_names):
        raise ValueError("class names must be unique")
    network = network.to(device="cpu", dtype=torch.float32).eval()
    round_weights(network)
    # Measured on two cores, EfficientNet-Lite0 at 256 px, batches of 32: twice as fast as NCHW.
    network = network.to(memory_format=torch.channels_last)
    manifest = {
        "places": {},
        "known_threshold": None,
        **manifest,
        **dataclasses.asdict(calibration or Calibration()),
        "format_version": FORMAT_VERSION,
        "class_names": list(class_names),
        "preprocess": preprocess.to_dict(),
    }
    extra = {MANIFEST: _as_text(manifest)}
    with torch.no_grad():
        features = network.forward_features(torch.zeros(2, 3, *[preprocess.crop_px] * 2))
    parts = (preprocess, class_names, calibration, known)
    layout = feature_layout(network, features)
    prefix = getattr(network, "num_prefix_tokens", 0)
    # Two classifiers around one network: torch.export wants Python code, TorchScript its own.
    classifier = PhotoClassifier(network, *parts, layout, prefix).eval()
    script = script_network(network, preprocess.crop_px, features)
    scripted = PhotoClassifier(script, *parts, layout, prefix).eval()
    with atomic(path) as partial:
        with _without_warnings(*DEPRECATIONS):
            torch.jit.script(scripted).save(str(partial), _extra_files=extra)
        network.to(memory_format=torch.contiguous_format)  # what torch.export.save expects
        batch, side = torch.export.Dim("batch", min=1), torch.export.Dim.AUTO
        # Sides that differ from each other and from crop_px, so that none is taken for another.
        size = preprocess.crop_px + 8, preprocess.crop_px + 40
        program = torch.export.export(
            classifier,
            (torch.zeros(2, 3, *size, dtype=torch.uint8),),
            dynamic_shapes=({0: batch, 2: side, 3: side},),
        )
        with atomic(path.with_suffix(".pt2")) as partial_program:
            torch.export.save(program, partial_program, extra_files=extra)
    return path


def add_twin(path: Path, network: nn.Module) -> None:
    """Add the ONNX twin to a model file that has none; all other parts stay bit for bit.

    Args:
        path: The model file.
        network: The network in it, as PhotoClassifier takes it and not as TorchScript; its weights
            become those of the file.

    Raises:
        Exception: Of any kind, where the network cannot be exported; the file stays as it was.
    """
    module, text = load_module(path)
    # Not strict: TorchScript counts as weights what the network computes for itself.
    network.load_state_dict(module.network.state_dict(), strict=False)
    parts = read_parts(module, json.loads(text))
    classifier = PhotoClassifier(network.eval(), *parts, module.layout, module.prefix)
    add_extra(path, TWIN, export_twin(classifier.eval(), text))


def read_parts(
    module: ScriptModule, manifest: dict[str, Any]
) -> tuple[Preprocess, list[str], Calibration, KnownScore]:
    """Return what a loaded model file has around its network, as PhotoClassifier takes it."""
    known = KnownScore(
        module.certainty,
        module.similarity,
        module.prototypes if len(module.prototypes) else None,
        module.known_weights if len(module.known_weights) else None,
        module.known_bias,
        module.floor,
    )
    calibration = Calibration(module.temperature, module.spread, module.exponent)
    preprocess = Preprocess.from_dict(manifest["preprocess"])
    return preprocess, manifest["class_names"], calibration, known


def load_module(path: Path) -> tuple[ScriptModule, str]:
    """Return the module in a model file as it was saved, and the text of its manifest.

    Call check_archive first where the file may come from elsewhere.
    """
    extra = {MANIFEST: ""}
    with _without_warnings(*DEPRECATIONS):
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    return module.eval(), extra[MANIFEST].decode()


def rewrite_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest inside a model file, atomically; the network stays as it is."""
    module, _ = load_module(path)
    twin, text = read_extra(path, TWIN), _as_text(manifest)
    with atomic(path) as partial, _without_warnings(*DEPRECATIONS):
        torch.jit.save(module, str(partial), _extra_files={MANIFEST: text})
        if twin is not None:
            add_extra(partial, TWIN, set_metadata(twin, text))


def _as_text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False)


class TorchScriptEngine:
    """An engine (models.model_file.engine) that runs the TorchScript of a model file.

    Attributes:
        module: The module, with its constants folded into the convolutions: on one core, 24 ms a
            photo instead of 28.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], threads: int | None) -> None:
        """Load a file that check_archive has passed.

        Args:
            path: The model file.
            manifest: Its own.
            threads: How many torch uses from now on, for everything; None: as it is set.

        Raises:
            ValueError: Its labels are not those of the manifest.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        module, _ = load_module(path)
        if list(module.class_names) != manifest["class_names"]:
            raise ValueError("labels and manifest differ")
        with _without_warnings(*DEPRECATIONS):
            self.module = torch.jit.freeze(module, ["class_names", *METHODS])

    def answer(self, images: np.ndarray, count: int) -> Outputs:
        """Return everything from one pass, with min(count, K) maps; (B, 3, H, W) uint8."""
        with inference():
            # torch.tensor copies: an array may be read-only, about which from_numpy warns.
            found = self.module.answer(torch.tensor(images), count)
        return Outputs(*(each.numpy() for each in found))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return only the (B, K) probabilities; images as in answer."""
        with inference():
            return self.module(torch.tensor(images)).numpy()


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Run a loaded module without gradients, and without optimising it for each photo size.

    TorchScript would otherwise re-optimise whenever a photo has a new size, which takes seconds.
    """
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        yield
