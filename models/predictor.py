"""The model file: one TorchScript file with preprocessing, labels and manifest inside."""

import dataclasses
import functools
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

from models.command_line import first_line
from models.files import atomic, file_digest
from models.model_file.classifier import Calibration, KnownScore, PhotoClassifier, feature_layout
from models.model_file.evidence import Box, find_box, seen_region
from models.model_file.model_archive import check_archive
from models.model_file.model_path import ModelFileError
from models.model_file.preprocess import Preprocess
from models.photos import read_photo
from models.places.landmarks import Place

FORMAT_VERSION = 2
METHODS = ("known_score", "explain", "answer")
for _name in METHODS:  # beside forward, these are part of the file
    torch.jit.export(getattr(PhotoClassifier, _name))
Photo = str | os.PathLike | bytes | PIL.Image.Image | np.ndarray


# What a damaged file makes torch and the checks of its manifest raise.
DAMAGED = (
    RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError, EOFError,
    RecursionError,
)  # fmt: skip


def script_network(
    network: nn.Module, crop_px: int, features: Any = None
) -> torch.jit.ScriptModule:
    """TorchScript of a network; traced where it cannot be scripted (some timm backbones).

    A trace is sound here: the network sees one fixed size, and the caller's parity gate runs it
    at other batch sizes.

    Features, as forward_features gives them, are for a model file, which needs that method.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of torch.jit, tracer notes on constants
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
        network: As PhotoClassifier takes it; its weights are copied in fp32, in eval mode.
        preprocess: What the network was trained for.
        class_names: K unique labels.
        manifest: JSON-ready; preprocess, class_names and temperature are set here.
        calibration: Of the probabilities; none: not calibrated.
        known: The score behind the manifest's known_threshold.

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
        "known_threshold": None,
        **manifest,
        **dataclasses.asdict(calibration or Calibration()),
        "format_version": FORMAT_VERSION,
        "class_names": list(class_names),
        "preprocess": preprocess.to_dict(),
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    with torch.no_grad():
        features = network.forward_features(torch.zeros(2, 3, *[preprocess.crop_px] * 2))
    parts = (preprocess, class_names, calibration, known)
    layout = feature_layout(network, features)
    prefix = getattr(network, "num_prefix_tokens", 0)
    classifier = PhotoClassifier(network, *parts, layout, prefix).eval()
    script = script_network(network, preprocess.crop_px, features)
    scripted = PhotoClassifier(script, *parts, layout, prefix).eval()
    with atomic(path) as partial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))  # torch.jit's end
            torch.jit.script(scripted).save(str(partial), _extra_files={"manifest.json": text})
        network.to(memory_format=torch.contiguous_format)  # what torch.export.save expects
        batch, side = torch.export.Dim("batch", min=1), torch.export.Dim.AUTO
        size = preprocess.crop_px + 8, preprocess.crop_px + 40
        program = torch.export.export(
            classifier,
            (torch.zeros(2, 3, *size, dtype=torch.uint8),),
            dynamic_shapes=({0: batch, 2: side, 3: side},),
        )
        with atomic(path.with_suffix(".pt2")) as partial_program:
            torch.export.save(program, partial_program, extra_files={"manifest.json": text})
    return path


def load_module(path: Path) -> tuple[torch.jit.ScriptModule, str]:
    """The module in a model file as it was saved, and the text of its manifest."""
    extra = {"manifest.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    return module.eval(), extra["manifest.json"]


def rewrite_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest inside a model file, atomically; the network stays as it is."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    module, _ = load_module(path)
    with atomic(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
        torch.jit.save(module, str(partial), _extra_files={"manifest.json": text})


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model file says of one photo.

    Attributes:
        probabilities: Label -> probability of the k likeliest, best first.
        known: Whether the photo shows one of the known landmarks at all; True where the file has
            no threshold.
        known_score: Higher is surer.
        evidence: (k, h, w) float32 >= 0, in the order of the labels: what speaks for each.
        region: The part of the photo that the evidence covers.
    """

    probabilities: dict[str, float]
    known: bool
    known_score: float
    evidence: np.ndarray
    region: Box

    @functools.cached_property
    def boxes(self) -> list[Box | None]:
        """Of the evidence, one a label; None where there is none."""
        return [find_box(each, self.region) for each in self.evidence]

    @property
    def label(self) -> str:
        """The likeliest."""
        return next(iter(self.probabilities))


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A loaded model file. ``Predictor.load("model.pt").classify("photo.jpg")``.

    Attributes:
        path: Where it was loaded from.
        digest: sha256 of the file, hex.
        manifest: The file's manifest.json.
        module: The TorchScript module, frozen: its parts are folded into its methods.
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
        try:
            check_archive(path)
            module, text = load_module(path)
            manifest = json.loads(text)
            if list(module.class_names) != manifest["class_names"]:
                raise ValueError("labels and manifest differ")
            Preprocess.from_dict(manifest["preprocess"])
            for place in manifest["places"].values():
                Place.from_dict(place)
            if manifest["format_version"] != FORMAT_VERSION:
                raise ValueError(f"its format is {manifest['format_version']!r:.20}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
                # Constants folded into the convolutions, on one core: 28 -> 24 ms a photo.
                module = torch.jit.freeze(module, ["class_names", *METHODS])
        except DAMAGED as error:
            raise ModelFileError(
                f"{path} is not a whole model file of this project ({first_line(error)}); "
                "export it again with: python -m train.export RUN_FOLDER"
            ) from error
        return cls(path, file_digest(path), manifest, module)

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

    def measure(self, photo: Photo) -> tuple[Tensor, Tensor, float]:
        """For evaluation: (K,) float32 probabilities and logits of a photo, and its known score."""
        image = photo if isinstance(photo, np.ndarray) else read_photo(photo, self.side_px)
        images = torch.tensor(image).permute(2, 0, 1)
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            probabilities, logits, scores, _, _ = self.module.answer(images, 1)
        return probabilities[0], logits[0], scores.item()

    def place(self, label: str) -> Place | None:
        """Where a landmark stands, if the file knows."""
        place = self.manifest["places"].get(label)
        return None if place is None else Place.from_dict(place)

    def answer(self, photo: Photo, k: int = 5) -> Answer:
        """All that the file says of one photo, in one pass of the network.

        Args:
            photo: A path, the bytes of a file, a PIL image, or (H, W, 3) uint8 RGB.
            k: How many landmarks; at most K come back.

        Raises:
            PhotoError: If the photo cannot be read; the message says why.
        """
        image = photo if isinstance(photo, np.ndarray) else read_photo(photo, self.side_px)
        # torch.tensor copies: an array may be read-only, which from_numpy warns of.
        images = torch.tensor(image).permute(2, 0, 1)
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            probabilities, _, scores, maps, classes = self.module.answer(images, k)
        preprocess = Preprocess.from_dict(self.manifest["preprocess"])
        score = scores.item()
        threshold = self.manifest["known_threshold"]
        return Answer(
            probabilities={
                self.class_names[index]: probabilities[0, index].item()
                for index in classes[0].tolist()
            },
            known=threshold is None or score >= threshold,
            known_score=score,
            evidence=maps[0].numpy(),
            region=seen_region(preprocess, image.shape[0], image.shape[1]),
        )

    def classify(self, photo: Photo, k: int = 5) -> dict[str, float]:
        """The k most likely landmarks of one photo: label -> probability, best first."""
        return self.answer(photo, k).probabilities

    def classify_batch(self, photos: Sequence[Photo], k: int = 5) -> list[dict[str, float]]:
        """Classify several photos, of any sizes; one dictionary a photo, in order."""
        return [self.classify(photo, k) for photo in photos]
