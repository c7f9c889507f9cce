"""Answer photos with a model file: from models.predictor import Predictor, ModelFileError.

Without torch, unless the file has no ONNX twin.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from models.command_line import first_line
from models.environment import install_command
from models.files import file_digest
from models.model_file.archive import FORMAT_VERSION, MANIFEST, TWIN, check_archive, read_extra
from models.model_file.engine import Engine, check_images
from models.model_file.evidence import Box, find_box, seen_region
from models.model_file.model_path import ModelFileError, find_model
from models.model_file.preprocess import Preprocess
from models.model_file.verdict import Thresholds, Verdict, doubt, is_far
from models.photos import read_photo
from models.photos.gps import Position
from models.places.landmarks import Place, distance_km
from models.places.place_level import PlaceLevel, find_place_level

__all__ = ["Answer", "ModelFileError", "Photo", "Predictor"]

Photo = str | os.PathLike | bytes | PIL.Image.Image | np.ndarray
"""A path, the bytes of a file, a PIL image, or (H, W, 3) uint8 RGB."""

# What a damaged file makes its readers and the checks of its manifest raise.
DAMAGED = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    RecursionError,
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model file says about one photo.

    Attributes:
        probabilities: Label -> probability of the k likeliest, best first.
        verdict: "sure": name it; "maybe": it looks like the likeliest label; "none": it shows none
            of the known landmarks. Never "sure" where the file has no threshold for it.
        known_score: What the verdict is decided by; higher is surer.
        evidence: (k, h, w) float32 >= 0, in the order of the labels: what speaks for each.
        region: The part of the photo that the evidence covers.
    """

    probabilities: dict[str, float]
    verdict: Verdict
    known_score: float
    evidence: np.ndarray
    region: Box

    @functools.cached_property
    def boxes(self) -> list[Box | None]:
        """Where the evidence is strongest, one box per label; None where there is no evidence."""
        return [find_box(each, self.region) for each in self.evidence]

    @property
    def known(self) -> bool:
        """Whether the photo shows one of the known landmarks at all: the verdict is not "none"."""
        return self.verdict != "none"

    @property
    def label(self) -> str:
        """The likeliest label."""
        return next(iter(self.probabilities))


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A loaded model file. ``Predictor.load("model.pt").classify("photo.jpg")``.

    Attributes:
        path: Where it was loaded from.
        digest: sha256 of the file, in hex.
        manifest: The file's manifest.json.
        engine: Runs its ONNX twin, or its TorchScript.
    """

    path: Path
    digest: str
    manifest: dict[str, Any]
    engine: Engine

    @classmethod
    def load(
        cls, path: str | os.PathLike, threads: int | None = None, use_twin: bool = True
    ) -> "Predictor":
        """Load a model file, or the model.pt of a run folder, and check it.

        Args:
            path: The file or the folder.
            threads: How many compute one photo; None: all cores.
            use_twin: False answers through torch even where the file has an ONNX twin, to compare.

        Raises:
            ModelFileError: If it is missing, damaged, or lacks the manifest or labels.
        """
        path = find_model(Path(path))
        try:
            check_archive(path)  # first: the file may come from anybody
            if (text := read_extra(path, MANIFEST)) is None:
                raise ValueError("it has no manifest")
            manifest = json.loads(text)
            # Parsed now, so that a wrong manifest fails here and not at the first photo.
            Thresholds.from_manifest(manifest)
            Preprocess.from_dict(manifest["preprocess"])
            for place in manifest["places"].values():
                Place.from_dict(place)
            if manifest["format_version"] != FORMAT_VERSION:
                raise ValueError(f"its format is {manifest['format_version']!r:.20}")
            engine = _load_engine(path, manifest, threads, use_twin)
        except ModuleNotFoundError as error:
            raise ModelFileError(
                f"{path} needs {error.name}; install: {install_command()}"
            ) from error
        except DAMAGED as error:
            raise ModelFileError(
                f"{path} is not a complete model file of this project ({first_line(error)}); "
                "export it again with: python -m train.export RUN_FOLDER"
            ) from error
        return cls(path, file_digest(path), manifest, engine)

    @property
    def class_names(self) -> list[str]:
        """The K labels, in the order of the probabilities."""
        return self.manifest["class_names"]

    @property
    def thresholds(self) -> Thresholds:
        """The known scores from which an answer counts as maybe and as sure."""
        return Thresholds.from_manifest(self.manifest)

    @property
    def side_px(self) -> int:
        """The shortest side, in pixels, that a decoded photo may have without losing detail."""
        return self.manifest["preprocess"]["resize_px"]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the (K,) or (B, K) float32 probabilities of (3, H, W) or (B, 3, H, W) uint8.

        Raises:
            ValueError: If type or shape is wrong, or a side is below 16 px.
        """
        if images.ndim == 3:
            return self.probabilities(images[None])[0]
        check_images(images)
        return self.engine.probabilities(images)

    def measure(self, photo: Photo) -> tuple[np.ndarray, np.ndarray, float]:
        """Return what an evaluation needs: (K,) float32 probabilities, (K,) logits, known score."""
        found = self.engine.answer(self._pixels(photo), 1)
        return found.probabilities[0], found.logits[0], found.known_scores[0].item()

    def place(self, label: str) -> Place | None:
        """Return where a landmark stands, or None if the file does not say."""
        place = self.manifest["places"].get(label)
        return None if place is None else Place.from_dict(place)

    def place_level(self, answer: Answer, away_km: float | None = None) -> PlaceLevel | None:
        """Return how exactly one may say where the best guess of an answer is; None: not at all.

        Args:
            answer: Of this model, after weigh_position.
            away_km: How far from the guess the photo was taken, if known.
        """
        if answer.verdict == "sure":
            return "landmark"
        # Only a score that was fitted to photos of other things is a probability.
        if answer.verdict == "none" or is_far(away_km) or self.thresholds.sure is None:
            return None
        places = {label: self.place(label) for label in answer.probabilities}
        return find_place_level(answer.probabilities, answer.known_score, places)

    def answer(self, photo: Photo, k: int = 5) -> Answer:
        """Return everything that the file says about one photo, from one pass of the network.

        Args:
            photo: A path, the bytes of a file, a PIL image, or (H, W, 3) uint8 RGB.
            k: Number of landmarks; a file with fewer returns all of its own.

        Raises:
            PhotoError: If the photo cannot be read; the message says why.
        """
        images = self._pixels(photo)
        found = self.engine.answer(images, k)
        preprocess = Preprocess.from_dict(self.manifest["preprocess"])
        score = found.known_scores[0].item()
        return Answer(
            probabilities={
                self.class_names[index]: found.probabilities[0, index].item()
                for index in found.classes[0].tolist()
            },
            verdict=self.thresholds.judge(score),
            known_score=score,
            evidence=found.maps[0],
            region=seen_region(preprocess, *images.shape[2:]),
        )

    def classify(self, photo: Photo, k: int = 5) -> dict[str, float]:
        """Return the k likeliest landmarks of one photo: label -> probability, best first."""
        return self.answer(photo, k).probabilities

    def classify_batch(self, photos: Sequence[Photo], k: int = 5) -> list[dict[str, float]]:
        """Classify several photos of any sizes; one dictionary per photo, in order."""
        return [self.classify(photo, k) for photo in photos]

    def _pixels(self, photo: Photo) -> np.ndarray:
        """Read a photo as (1, 3, H, W) uint8."""
        image = photo if isinstance(photo, np.ndarray) else read_photo(photo, self.side_px)
        images = image.transpose(2, 0, 1)[None]
        check_images(images)
        return images


def weigh_position(
    answer: Answer, place: Place | None, position: Position | None
) -> tuple[Answer, float | None]:
    """Doubt an answer if the photo was taken far from the landmark.

    Args:
        answer: The model's.
        place: Place of its best label, if known.
        position: From the photo's own GPS data, if it has any.

    Returns:
        The answer, no longer sure if so, and the distance in km; None if either is unknown.
    """
    if place is None or position is None:
        return answer, None
    away_km = distance_km(position.latitude, position.longitude, place.latitude, place.longitude)
    return dataclasses.replace(answer, verdict=doubt(answer.verdict, away_km)), away_km


def _load_engine(
    path: Path, manifest: dict[str, Any], threads: int | None, use_twin: bool
) -> Engine:
    """Load what answers; torch is imported only for a file without a twin."""
    program = read_extra(path, TWIN) if use_twin else None
    if program is not None:
        from models.model_file.onnx_twin import OnnxTwin

        return OnnxTwin(program, manifest, threads)
    from models.model_file.torchscript import TorchScriptEngine

    return TorchScriptEngine(path, manifest, threads)
