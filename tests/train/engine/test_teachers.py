"""Distillation: a training that learns the answers of trained networks."""

import json
from pathlib import Path

import pytest
import torch

from models.model_file.preprocess import Preprocess
from tests.support.runs import stopped_after, tiny, train_only
from train.config import TransferConfig
from train.data.split import Split
from train.engine.device import build_accelerator
from train.engine.recipe import build_task
from train.engine.tasks import DISTILLED, distillation_loss
from train.engine.teachers import Teachers


@pytest.fixture
def teacher(landmark_photos: Path, tmp_path: Path) -> Path:
    """A run folder of a trained network."""
    assert train_only(tiny(landmark_photos, tmp_path / "teacher", seed=1)) == 0
    return tmp_path / "teacher"


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["model"]


def test_the_loss_is_zero_where_student_and_teachers_agree() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]])
    assert distillation_loss(logits, logits.softmax(1)).item() == pytest.approx(0, abs=1e-6)
    sure, even = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert distillation_loss(even, sure).item() == pytest.approx(0.6931, abs=1e-4)


def test_labels_and_teachers_share_the_loss() -> None:
    config = TransferConfig(device="cpu", mix_probability=0.0)
    accelerator = build_accelerator(config)
    answers = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]])

    def model(images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))

    batch = {"images": torch.rand(2, 3, 8, 8), "labels": torch.tensor([0, 2])}
    alone = build_task(config, accelerator, 3).loss(model, batch, False, (0, 0, 0))
    taught = build_task(config, accelerator, 3, lambda _images: answers)
    learned = distillation_loss(model(batch["images"]), answers)
    assert taught.loss(model, batch, False, (0, 0, 0)).item() == pytest.approx(
        ((1 - DISTILLED) * alone + DISTILLED * learned).item(), rel=1e-6
    )


def test_teachers_average_what_each_sees_in_its_own_normalisation(teacher: Path) -> None:
    split = Split.load(teacher / "split.json")
    one = Teachers([teacher], split, Preprocess(32, 32, mean=(0.5,) * 3, std=(0.5,) * 3))
    other = Teachers([teacher] * 2, split, Preprocess(32, 32, mean=(0.2,) * 3, std=(0.1,) * 3))
    pixels = torch.rand(4, 3, 32, 32)
    answers = one((pixels - 0.5) / 0.5)
    assert torch.allclose(answers.sum(1), torch.ones(4))
    assert torch.allclose(other((pixels - 0.2) / 0.1), answers, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_a_student_learns_from_teachers_and_resumes_to_the_same(
    landmark_photos: Path, teacher: Path, tmp_path: Path
) -> None:
    whole, cut, plain = (tmp_path / name for name in ("whole", "cut", "plain"))
    assert train_only(tiny(landmark_photos, whole, teacher=(teacher,))) == 0
    with stopped_after(4):
        assert train_only(tiny(landmark_photos, cut, teacher=(teacher,))) == 130
    assert train_only(TransferConfig(resume=cut, device="cpu", workers=0)) == 0
    assert all(torch.equal(weights(whole)[name], value) for name, value in weights(cut).items())
    assert train_only(tiny(landmark_photos, plain)) == 0
    assert any(not torch.equal(weights(plain)[n], value) for n, value in weights(whole).items())
    assert json.loads((whole / "config.json").read_text())["teacher"] == [str(teacher)]


def test_a_teacher_of_another_split_or_no_run_is_refused(
    landmark_photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    # It has seen photos that the student would validate on.
    student = tiny(landmark_photos, tmp_path / "a", teacher=(teacher,), split_seed=7)
    assert train_only(student) == 1
    assert "was trained on other photos or another split; train it" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert train_only(tiny(landmark_photos, tmp_path / "b", teacher=(tmp_path,))) == 2
    assert "no checkpoints/best.pt in" in capsys.readouterr().err
