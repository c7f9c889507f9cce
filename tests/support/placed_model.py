"""Make a model file with each of the three verdicts for a drawn photo, and places of landmarks."""

import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import ExifTags, Image

from models.model_file.torchscript import rewrite_manifest
from models.model_file.verdict import Thresholds
from models.places.landmarks import Place
from models.predictor import Predictor
from tests.support.bad_photos import encode
from tests.support.drawing import TOY_CLASSES, draw_landmark

PLACE = Place("Tour dorée", "tower", "Paris", "FR", 48.8584, 2.2945, "")
# What a model file from anybody may hold; JavaScript and Handlebars have templates like these.
HOSTILE = "<img src=x onerror=alert(1)>${alert(1)}"
HOSTILE_PLACE = Place(HOSTILE, "{{value}}<b>", '"><i>Paris', "FR", 48.8584, 2.2945, "")


class Judged(NamedTuple):
    """One photo of each verdict, as JPEGs."""

    sure: bytes
    maybe: bytes
    none: bytes


def draw_photo(label: int) -> bytes:
    """A drawn photo as a JPEG."""
    return encode(draw_landmark(label, 0, (400, 300)), "JPEG")


def with_position(jpeg: bytes, latitude: float, longitude: float) -> bytes:
    """The same photo, which now says where it was taken."""
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
        ExifTags.GPS.GPSLatitude: (abs(latitude), 0.0, 0.0),
        ExifTags.GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
        ExifTags.GPS.GPSLongitude: (abs(longitude), 0.0, 0.0),
    }
    data = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data + jpeg[2:]


def save_placed_model(toy_model: Path, path: Path, place: Place) -> Judged:
    """Write a model file with thresholds between three photos.

    Its manifest says that 0.2 % of other photos are called sure and 6 % at least maybe, and that
    one in five photos with the verdict maybe shows something else.

    Args:
        toy_model: What to copy.
        path: The model file.
        place: Where all its landmarks are.
    """
    predictor = Predictor.load(shutil.copy(toy_model, path))
    scored = sorted(
        (predictor.answer(photo).known_score, photo) for photo in map(draw_photo, range(5))
    )
    (low, none), (middle, maybe), (high, sure) = scored[0], scored[2], scored[-1]
    thresholds = Thresholds(
        maybe=(low + middle) / 2,
        sure=(middle + high) / 2,
        passes={"sure": {"scenes": 0.004, "things": 0.0}, "maybe": {"scenes": 0.1, "things": 0.02}},
        outside_photos={"scenes": 250, "things": 1000},
        wrong_share=0.2,
    )
    places = {label: place.to_dict() for label in predictor.class_names}
    rewrite_manifest(path, predictor.manifest | thresholds.to_manifest() | {"places": places})
    return Judged(sure, maybe, none)


def rename_classes(path: Path, name: str) -> None:
    """Give a model file other labels, as anybody could."""
    module = torch.jit.load(str(path))
    labels = [f"{name} {i}" for i in range(len(TOY_CLASSES))]
    manifest = Predictor.load(path).manifest
    places = dict(zip(labels, manifest["places"].values(), strict=True))
    module.class_names = labels
    module.save(str(path))
    rewrite_manifest(path, manifest | {"class_names": labels, "places": places})
