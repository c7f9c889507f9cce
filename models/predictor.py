"""The model file: one TorchScript file with preprocessing, labels and manifest inside."""

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from models.classifier import PhotoClassifier
from models.photos import read_photo
from models.preprocess import Preprocess

FORMAT_VERSION = 1
Photo = str | os.PathLike | bytes | PIL.Image.Image | np.ndarray


class ModelFileError(ValueError):
    """A model file that is missing, damaged or not one of ours; the message names the fix."""


def script_network(network: nn.Module, crop_px: int) -> torch.jit.ScriptModule:
    """TorchScript of a network; traced where it cannot be scripted (some timm backbones).

    A trace is sound here: the network sees one fixed size, and the caller's parity gate runs it
    at other batch sizes.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of torch.jit, tracer notes on constants
        try:
            return torch.jit.script(network)
        except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError, OSError):
            return torch.jit.trace(network, torch.zeros(2, 3, crop_px, crop_px))


def save_model(
    path: Path,
    network: nn.Module,
    preprocess: Preprocess,
    class_names: Sequence[str],
    manifest: dict[str, Any],
) -> Path:
    """Write the model file, and a torch.export program (batched input only) beside it.

    Args:
        path: The TorchScript file, usually model.pt; the program gets the suffix .pt2.
        network: (B, 3, S, S) -> (B, K) logits; its weights are copied in fp32, in eval mode.
        preprocess: What the network was trained for.
        class_names: K unique labels.
        manifest: JSON-ready; preprocess, class_names, temperature are set here.

    Returns:
        path. Both files appear whole or not at all.
    """
    if len(set(class_names)) != len(class_names):
        raise ValueError("class names must be unique")
    network = network.to(device="cpu", dtype=torch.float32).eval()
    # Measured on two cores, EfficientNet-Lite0 at 256 px, batches of 32: twice as fast as NCHW.
    network = network.to(memory_format=torch.channels_last)
    manifest = {
        "places": {},
        "temperature": 1.0,
        "known_threshold": None,
        **manifest,
        "format_version": FORMAT_VERSION,
        "class_names": list(class_names),
        "preprocess": preprocess.to_dict(),
    }
    temperature = manifest["temperature"]
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    classifier = PhotoClassifier(network, preprocess, class_names, temperature).eval()
    scripted = PhotoClassifier(
        script_network(network, preprocess.crop_px), preprocess, class_names, temperature
    ).eval()
    partial = path.with_name(path.name + ".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))  # torch.jit's end
        torch.jit.script(scripted).save(str(partial), _extra_files={"manifest.json": text})
    network.to(memory_format=torch.contiguous_format)  # what torch.export.save expects
    batch, side = torch.export.Dim("batch", min=1), torch.export.Dim.AUTO
    example = torch.zeros(2, 3, preprocess.crop_px + 8, preprocess.crop_px + 40, dtype=torch.uint8)
    program = torch.export.export(
        classifier, (example,), dynamic_shapes=({0: batch, 2: side, 3: side},)
    )
    partial_program = path.with_name(path.stem + ".partial.pt2")
    torch.export.save(program, partial_program, extra_files={"manifest.json": text})
    os.replace(partial_program, path.with_suffix(".pt2"))
    os.replace(partial, path)
    return path


def rewrite_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest inside a model file, atomically; the network stays as it is."""
    module = Predictor.load(path).module
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
        torch.jit.save(module, str(partial), _extra_files={"manifest.json": text})
    os.replace(partial, path)


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A loaded model file. ``Predictor.load("model.pt").classify("photo.jpg")``.

    Attributes:
        path: Where it was loaded from.
        digest: sha256 of the file, hex.
        manifest: The file's manifest.json.
        module: The TorchScript module.
    """

    path: Path
    digest: str
    manifest: dict[str, Any]
    module: torch.jit.ScriptModule

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Predictor":
        """Load and check a model file.

        Raises:
            ModelFileError: If it is missing, damaged, or lacks the manifest or labels.
        """
        path = Path(path)
        if not path.is_file():
            raise ModelFileError(f"no model file at {path}; give a .pt file or a run folder")
        extra = {"manifest.json": ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
                module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
            manifest = json.loads(extra["manifest.json"])
            if list(module.class_names) != manifest["class_names"]:
                raise ValueError("labels and manifest differ")
            Preprocess.from_dict(manifest["preprocess"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{path} is not a whole model file of this project ({first_line(error)}); "
                "export it again with: python -m train.export RUN_FOLDER"
            ) from error
        return cls(path, file_digest(path), manifest, module.eval())

    @property
    def class_names(self) -> list[str]:
        """The K labels, in the order of the probabilities."""
        return self.manifest["class_names"]

    @property
    def side_px(self) -> int:
        """The short side, in pixels, that a decoded photo needs at least."""
        return self.manifest["preprocess"]["resize_px"]

    def probabilities(self, images: Tensor) -> Tensor:
        """The file's own answer: (3, H, W) or (B, 3, H, W) uint8 -> (K,) or (B, K) float32."""
        # Without this, TorchScript re-optimises for each new photo size, seconds at a time.
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            return self.module(images)

    def classify(self, photo: Photo, k: int = 5) -> dict[str, float]:
        """The k most likely landmarks of one photo.

        Args:
            photo: A path, the bytes of a file, a PIL image, or (H, W, 3) uint8 RGB.
            k: How many; at most K come back.

        Returns:
            Label -> probability, best first.

        Raises:
            PhotoError: If the photo cannot be read; the message says why.
        """
        image = photo if isinstance(photo, np.ndarray) else read_photo(photo, self.side_px)
        # torch.tensor copies: an array may be read-only, which from_numpy warns of.
        best = self.probabilities(torch.tensor(image).permute(2, 0, 1))
        values, indices = best.topk(min(k, len(self.class_names)))
        return {
            self.class_names[index]: value
            for index, value in zip(indices.tolist(), values.tolist(), strict=True)
        }

    def classify_batch(self, photos: Sequence[Photo], k: int = 5) -> list[dict[str, float]]:
        """Classify several photos, of any sizes; one dictionary a photo, in order."""
        return [self.classify(photo, k) for photo in photos]


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
