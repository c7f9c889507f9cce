"""The one loop that scores photos, behind evaluate, compare, export and submission."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.photos import PhotoError, read_photo
from models.predictor import Predictor
from tests.support.drawing import draw_landmark
from train.evaluation.scoring import score_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos of different sizes, and two that cannot be read."""
    for label in range(3):
        draw_landmark(label, 0, (60 + 20 * label, 50)).save(tmp_path / f"{label}.png")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"no photo")
    return tmp_path


def test_scores_are_what_the_file_serves(folder: Path, toy_model: Path) -> None:
    predictor = Predictor.load(toy_model)
    names = ["0.png", "empty.jpg", "1.png", "2.png", "text.jpg"]
    scores = score_photos(predictor, folder, names, skip_unreadable=True)
    assert scores.photos == ["0.png", "1.png", "2.png"]
    assert list(scores.unreadable) == ["empty.jpg", "text.jpg"]
    assert "empty.jpg is empty" in scores.unreadable["empty.jpg"]
    for position, name in enumerate(scores.photos):
        answer = predictor.answer(folder / name)
        image = read_photo(folder / name, predictor.side_px).transpose(2, 0, 1)
        assert np.array_equal(scores.probabilities[position], predictor.probabilities(image))
        assert dict(scores.best(position, 5)) == answer.probabilities
        assert next(iter(answer.probabilities)) == scores.best(position, 1)[0][0]
        assert scores.known_scores[position].item() == answer.known_score
        # The toy model has the temperature 1.
        torch.testing.assert_close(
            scores.logits[position].softmax(0), scores.probabilities[position]
        )
    predictions = scores.with_labels(torch.tensor([0, 1, 2]))
    assert (predictions.photos, predictions.class_names) == (scores.photos, predictor.class_names)
    assert predictions.known_scores is scores.known_scores


def test_unreadable_photos_stop_it_unless_they_are_skipped(folder: Path, toy_model: Path) -> None:
    predictor = Predictor.load(toy_model)
    with pytest.raises(PhotoError, match=r"empty\.jpg is empty"):
        score_photos(predictor, folder, ["0.png", "empty.jpg"])
    with pytest.raises(ValueError, match=r"none of the 2 photos in .* can"):
        score_photos(predictor, folder, ["empty.jpg", "text.jpg"], skip_unreadable=True)
