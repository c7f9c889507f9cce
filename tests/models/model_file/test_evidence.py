"""Where the evidence lies in the photo: what the network saw, masks and boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.model_file.evidence import Box, find_box, largest_part, seen_region, spread
from models.model_file.preprocess import Preprocess
from models.model_file.resize import resize_images
from models.model_file.torchscript import save_model
from models.predictor import Predictor

WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("size", [(60, 90), (90, 60), (64, 64), (200, 61), (33, 47)])
def test_the_region_is_what_the_network_sees(mode: str, size: tuple[int, int]) -> None:
    preprocess = Preprocess(48 if mode == "crop" else 32, 32, mode)
    height, width = size
    region = seen_region(preprocess, height, width)
    # A ramp along each axis tells which part of the photo an output pixel shows.
    ramps = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    ramps[0, 0] = (torch.arange(width) + 1)[None, :]
    ramps[0, 1] = (torch.arange(height) + 1)[:, None]
    squares = resize_images(ramps, preprocess.resize_px, preprocess.crop_px, mode == "pad")[0]
    across, down = (region.left, region.width, width), (region.top, region.height, height)
    for channel, (start, extent, length) in enumerate((across, down)):
        seen = squares[channel][16] if channel == 0 else squares[channel][:, 16]
        centres = (start + (np.arange(32) + 0.5) / 32 * extent) * length + 0.5
        inside = (centres > 2) & (centres < length - 1)
        assert inside.sum() > 3
        assert np.abs(seen.numpy() - centres)[inside].max() < 1.1


def test_spread_lays_the_map_where_it_belongs() -> None:
    evidence = np.zeros((4, 4), np.float32)
    evidence[1, 2] = 5.0
    laid = spread(evidence, WHOLE, 80, 160)
    assert laid.shape == (80, 160)
    assert laid.max() == pytest.approx(1, abs=0.05)
    row, column = np.unravel_index(laid.argmax(), laid.shape)
    assert abs(row - 30) <= 1
    assert abs(column - 100) <= 1
    half = spread(np.ones((4, 4), np.float32), Box(0.25, 0.0, 0.5, 1.0), 40, 80)
    assert half[:, 20:60].min() == pytest.approx(1)
    assert half[:, :19].max() == 0 == half[:, 61:].max()
    beyond = spread(np.ones((4, 4), np.float32), Box(-0.5, 0.0, 2.0, 1.0), 40, 80)
    assert beyond.min() == pytest.approx(1)


def test_the_box_holds_only_the_largest_part() -> None:
    evidence = np.zeros((16, 16), np.float32)
    evidence[2:6, 8:14] = 1.0
    evidence[12, 1] = 1.0
    box = find_box(evidence, WHOLE, 0.5)
    assert box.overlap(Box(8 / 16, 2 / 16, 6 / 16, 4 / 16)) > 0.85
    assert find_box(np.zeros((4, 4), np.float32), WHOLE) is None
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = mask[2:4, 2:4] = True
    assert largest_part(mask).sum() == 4
    assert not largest_part(np.zeros((3, 3), bool)).any()


def test_boxes_stay_inside_the_photo() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        evidence = rng.random((8, 8), dtype=np.float32) ** 4
        region = seen_region(Preprocess(32, 32, "pad"), *rng.integers(16, 300, 2).tolist())
        box = find_box(evidence, region)
        if box is not None:
            assert min(box.left, box.top) >= 0
            assert max(box.left + box.width, box.top + box.height) <= 1 + 1e-9
            assert box.area > 0


def test_overlap_of_boxes() -> None:
    assert WHOLE.overlap(WHOLE) == pytest.approx(1)
    assert WHOLE.overlap(Box(0, 0, 0.5, 0.5)) == pytest.approx(0.25)
    assert Box(0, 0, 0.4, 1).overlap(Box(0.5, 0, 0.5, 1)) == 0


def test_evidence_finds_the_class_where_it_is() -> None:
    from models.model_file.classifier import PhotoClassifier
    from tests.support.tiny_network import TinyNetwork

    # Features are the three colours in an 8 x 8 grid; the head names the brightest colour.
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False))
    head[2].weight.data = torch.eye(3)
    classifier = PhotoClassifier(
        TinyNetwork(nn.AvgPool2d(8), head), Preprocess(64, 64), ["red", "green", "blue"]
    ).eval()
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    images[0, 0, 8:24, 40:56] = 255
    images[1, 2, 48:, :16] = 255
    with torch.no_grad():
        maps, classes = classifier.explain(images)
    assert classes[:, 0].tolist() == [0, 2]
    assert maps.shape == (2, 3, 8, 8)
    assert maps[0, 0].argmax().item() in {8 * 1 + 5, 8 * 1 + 6, 8 * 2 + 5, 8 * 2 + 6}
    box = find_box(maps[0, 0].numpy(), WHOLE)
    assert box.overlap(Box(40 / 64, 8 / 64, 16 / 64, 16 / 64)) > 0.5
    assert find_box(maps[1, 0].numpy(), WHOLE).overlap(Box(0, 48 / 64, 16 / 64, 16 / 64)) > 0.5


def test_a_head_that_takes_no_single_place_still_answers(tmp_path: Path) -> None:
    from tests.support.tiny_network import TinyNetwork

    # Its features have places, but the head wants all 16 of them.
    network = TinyNetwork(nn.AdaptiveAvgPool2d(4), nn.Sequential(nn.Flatten(), nn.Linear(48, 2)))
    saved = save_model(tmp_path / "model.pt", network, Preprocess(32, 32), ["A", "B"], {})
    answer = Predictor.load(saved).answer(np.full((40, 60, 3), 99, np.uint8))
    assert answer.evidence.shape == (2, 1, 1)
    assert sum(answer.probabilities.values()) == pytest.approx(1)
