"""Photos to tag, a model that knows half of them, and a way to tag without processes."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from models.model_file.torchscript import rewrite_manifest
from models.predictor import Predictor
from models.tagging.photo_list import find_photos
from models.tagging.table import Row
from models.tagging.tagger import Tagger
from tests.support.drawing import draw_landmark

PLACE = {
    "name": "Tour Rouge",
    "kind": "tower",
    "city": "Paris",
    "country": "FR",
    "latitude": 48.8584,
    "longitude": 2.2945,
    "wikidata": "Q243",
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos, two of them further down."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deep" / "er").mkdir(parents=True)
    for variant in range(8):
        place = folder / "deep" / "er" if variant > 5 else folder
        draw_landmark(variant % 3, variant).save(place / f"{variant}.jpg")
    return folder


@pytest.fixture(scope="session")
def model(toy_model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model with places, and a threshold that half of the photos reach: all are sure."""
    path = shutil.copy(toy_model, tmp_path_factory.mktemp("model") / "model.pt")
    predictor = Predictor.load(path)
    answers = [predictor.answer(photo) for photo in find_photos([str(photos)])]
    scores = sorted(answer.known_score for answer in answers)
    threshold = (scores[3] + scores[4]) / 2
    manifest = predictor.manifest | {
        "known_threshold": threshold,
        "verdicts": {"sure_threshold": threshold},
        "places": {label: PLACE for label in predictor.class_names},
    }
    rewrite_manifest(path, manifest)
    return path


def tag_here(paths: Iterable[str], tagger: Tagger, workers: int) -> Iterator[tuple[str, Row]]:
    """Do what tag_photos does, in this process."""
    assert workers >= 1
    for path in paths:
        yield path, tagger.tag(path)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag command without worker processes, whose start costs more than the photos."""
    monkeypatch.setattr("models.tag.tag_photos", tag_here)
    monkeypatch.setattr("models.tagging.ray_tagging.tag_photos", tag_here)
    monkeypatch.setattr("models.tag.warm_up", lambda _: None)


@pytest.fixture
def many_photos(tmp_path: Path) -> Path:
    """A folder of one small photo under 1,500 names."""
    folder = tmp_path / "many"
    folder.mkdir()
    draw_landmark(0, 0).save(folder / "00000.jpg")
    for number in range(1, 1500):
        os.link(folder / "00000.jpg", folder / f"{number:05}.jpg")
    return folder
