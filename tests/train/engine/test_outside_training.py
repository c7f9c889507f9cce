"""Photos of other things in a training: the loss, the batches, resume, and too few of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import train.data.outside
from tests.support.drawing import draw_landmark
from tests.support.runs import read_records, stopped_after, tiny, train_only
from train.config import TransferConfig
from train.data.batches import OUTSIDE
from train.data.outside import OutsidePhotos
from train.engine.device import build_accelerator
from train.engine.recipe import build_task
from train.engine.run_folder import open_outside
from train.engine.tasks import uniform_loss


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two kinds of photos; ten of a half are enough to learn from."""
    monkeypatch.setattr(train.data.outside, "MIN_PHOTOS", 2)
    for kind, label in (("cats", 4), ("food", 5)):
        folder = tmp_path / "others" / kind
        folder.mkdir(parents=True)
        for number in range(20):
            draw_landmark(label, number).save(folder / f"{number:02}.png")
    return tmp_path / "others"


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["model"]


def test_the_loss_of_other_photos_is_zero_for_a_uniform_answer() -> None:
    assert uniform_loss(torch.full((3, 7), 2.5)).item() == pytest.approx(0, abs=1e-6)
    certain = torch.tensor([[4.0, 0.0]])
    expected = float(np.log(0.5) - np.log(certain.softmax(1)[0].numpy()).mean())
    assert uniform_loss(certain).item() == pytest.approx(expected, rel=1e-5)


def test_other_photos_add_to_the_loss_and_are_never_mixed() -> None:
    class Recorder(torch.nn.Module):
        seen = torch.zeros(0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen = images
            return images.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0])

    config = TransferConfig(device="cpu", mix_probability=1.0, outside_weight=0.25)
    task, model = build_task(config, build_accelerator(config), 3), Recorder()
    images = torch.rand(6, 3, 8, 8)
    labels = torch.tensor([0, OUTSIDE, 1, 2, OUTSIDE, 0])
    torch.manual_seed(0)
    task.loss(model, {"images": images, "labels": labels}, True, (0, 0, 0))
    assert torch.equal(model.seen[4:], images[labels == OUTSIDE])
    assert not torch.equal(model.seen[:4], images[labels != OUTSIDE])
    own = {"images": images[labels != OUTSIDE], "labels": labels[labels != OUTSIDE]}
    both = task.loss(model, {"images": images, "labels": labels}, False, (0, 0, 0))
    expected = task.loss(model, own, False, (0, 0, 0)) + 0.25 * uniform_loss(
        model(images[labels == OUTSIDE])
    )
    assert both.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_training_learns_that_others_are_none_and_resumes_to_the_same(
    landmark_photos: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tiny(landmark_photos, tmp_path / "whole", outside=(others,))
    assert train_only(config) == 0
    assert "cats 10 + 10, food 10 + 10" in capsys.readouterr().out
    assert read_records(tmp_path / "whole")[0]["images_per_second"] > 0
    cut = tmp_path / "cut"
    with stopped_after(4):
        assert train_only(tiny(landmark_photos, cut, outside=(others,))) == 130
    # What comes to the folder later changes nothing for a run that has begun.
    draw_landmark(4, 99).save(others / "cats" / "00a.png")
    assert train_only(TransferConfig(resume=cut, device="cpu", workers=0)) == 0
    whole, resumed = weights(tmp_path / "whole"), weights(cut)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    plain = tmp_path / "plain"
    assert train_only(tiny(landmark_photos, plain, outside=(others,), outside_weight=0.0)) == 0
    assert any(not torch.equal(whole[name], weights(plain)[name]) for name in whole)


def test_a_fifth_of_half_a_is_kept_for_the_score(others: Path) -> None:
    photos = OutsidePhotos.find([others])
    network, score = photos.for_network(), photos.for_score()
    assert (len(network), len(score)) == (16, 4)
    assert not set(network) & set(score)
    assert network | score == photos.all_learned()
    assert not set(photos.all_learned()) & {p for each in photos.measure.values() for p in each}
    assert network["cats/00.png"] == "cats"


def test_a_run_keeps_its_outside_photos(others: Path, tmp_path: Path) -> None:
    assert open_outside(TransferConfig(), tmp_path) is None
    found = open_outside(TransferConfig(outside=(others,)), tmp_path)
    found.save(tmp_path / "outside.json")
    assert open_outside(TransferConfig(outside=(tmp_path / "gone",)), tmp_path) == found
    assert json.loads((tmp_path / "outside.json").read_text())["root"] == str(others)


@pytest.mark.parametrize(
    ("learn", "measure", "said"),
    [
        ({"cats": 10}, {"cats": 10}, "Too few to learn anything from; 200 would do"),
        ({"cats": 50}, {"cats": 50}, "they teach only the known score. Too few to measure 5 in"),
        ({"cats": 300}, {"cats": 300}, "cats 300 + 300"),
        ({"cats": 300, "food": 99}, {"cats": 300, "food": 99}, "Of food (99) not one may pass"),
    ],
)
def test_too_few_photos_are_said(learn: dict[str, int], measure: dict[str, int], said: str) -> None:
    lists = (
        {kind: [f"{kind}/{number}" for number in range(count)] for kind, count in half.items()}
        for half in (learn, measure)
    )
    line = OutsidePhotos("others", *lists).describe()
    assert said in line
    assert said != "cats 300 + 300" or line.endswith(said)
