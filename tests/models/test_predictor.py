"""The model file: what goes in comes out the same, and nothing else is needed to run it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.files import file_digest
from models.model_file.classifier import Calibration, KnownScore, PhotoClassifier, temperatures
from models.model_file.onnx_export import round_weights
from models.model_file.preprocess import Preprocess
from models.model_file.torchscript import add_twin, save_model
from models.photos import PhotoError
from models.predictor import ModelFileError, Predictor
from models.sources.served_model import BUNDLED
from tests.support.drawing import draw_landmark
from tests.support.tiny_network import TinyNetwork

CLASSES = ["Red Tower", "Green Castle", "Blue Bridge"]
PREPROCESS = Preprocess(40, 32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def build_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = TinyNetwork(
        nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
    round_weights(network)  # as a model file holds them
    return network


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    return save_model(path, build_network(), PREPROCESS, CLASSES, {"name": "tiny", "metrics": {}})


@pytest.fixture(scope="module")
def twin_path(model_path: Path) -> Path:
    """The same model file with its ONNX twin."""
    path = shutil.copy(model_path, model_path.with_name("twin.pt"))
    add_twin(path, build_network())
    return path


@pytest.fixture(params=["onnx", "torchscript"])
def predictor(request: pytest.FixtureRequest, twin_path: Path) -> Predictor:
    """The model file, answering through each of its engines."""
    return Predictor.load(twin_path, use_twin=request.param == "onnx")


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def test_contract_of_the_file_with_torch_alone(model_path: Path) -> None:
    extra = {"manifest.json": ""}
    with pytest.warns(Warning, match=r"torch\.jit"):
        module = torch.jit.load(model_path, _extra_files=extra)
    manifest = json.loads(extra["manifest.json"])
    assert module.class_names == CLASSES == manifest["class_names"]
    assert manifest["temperature"] == 1.0
    assert manifest["known_threshold"] is None
    assert manifest["places"] == {}
    assert Preprocess.from_dict(manifest["preprocess"]) == PREPROCESS
    for shape in [(3, 16, 16), (3, 90, 31), (3, 31, 400)]:
        probabilities = module(torch.tensor(random_images(*shape)))
        assert probabilities.shape == (3,)
        assert probabilities.dtype == torch.float32
        assert probabilities.sum().item() == pytest.approx(1)
    assert module(torch.tensor(random_images(5, 3, 50, 70))).shape == (5, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 20, 20)), "images must be uint8 RGB, values 0 to 255"),
        (np.zeros((20, 20), np.uint8), "images must have the shape (3, H, W) or (B, 3, H, W)"),
        (
            np.zeros((20, 20, 3), np.uint8),
            "images must have 3 channels first: (B, 3, H, W), red green blue",
        ),
        (np.zeros((3, 15, 20), np.uint8), "images must be at least 16 pixels high and wide"),
    ],
)
def test_wrong_input_is_said(predictor: Predictor, images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        predictor.probabilities(images)
    # To whoever has only torch, the file says the same.
    with pytest.raises(Exception, match=re.escape(message)):
        Predictor.load(predictor.path, use_twin=False).engine.module(torch.tensor(images))


def test_file_runs_where_only_torch_is(model_path: Path, tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'models', 'train', 'timm', 'torchvision', 'PIL'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import torch\n"
        "m = torch.jit.load(sys.argv[1])\n"
        "p = m(torch.full((2, 3, 60, 45), 99, dtype=torch.uint8))\n"
        "print(m.class_names, p.shape, [n for n in sys.modules if n[:4] == 'timm'])\n"
        "x = torch.full((2, 3, 60, 45), 99, dtype=torch.uint8)\n"
        "print(m.known_score(x).shape, [t.shape for t in m.explain(x)])\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", script, model_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert first == f"{CLASSES} torch.Size([2, 3]) []"
    assert second == "torch.Size([2]) [torch.Size([2, 3, 15, 15]), torch.Size([2, 3])]"


def test_file_equals_the_network_it_was_made_from(predictor: Predictor) -> None:
    network = build_network().eval()
    images = random_images(4, 3, 61, 83)
    with torch.no_grad():
        eager = PhotoClassifier(network, PREPROCESS, CLASSES).eval()(torch.tensor(images))
    np.testing.assert_allclose(predictor.probabilities(images), eager, atol=1e-5)


def test_temperature_softens(tmp_path: Path) -> None:
    images = random_images(3, 60, 60)
    parts = (build_network(), PREPROCESS, CLASSES, {}, Calibration(4.0))
    path = save_model(tmp_path / "soft.pt", *parts)
    with torch.no_grad():
        classifier = PhotoClassifier(build_network().eval(), PREPROCESS, CLASSES).eval()
        sharp = classifier(torch.tensor(images))
    expected = torch.softmax(sharp.log() / 4, dim=0)
    predictor = Predictor.load(path)
    np.testing.assert_allclose(predictor.probabilities(images), expected, atol=1e-5)
    assert predictor.manifest["temperature"] == 4.0
    probabilities, logits, _ = predictor.measure(images.transpose(1, 2, 0))
    torch.testing.assert_close(torch.tensor(logits).softmax(0), sharp)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_adaptive_temperature_is_that_of_the_fit(tmp_path: Path) -> None:
    calibration = Calibration(0.6, 0.05, 1.3)
    parts = (build_network(), PREPROCESS, CLASSES, {}, calibration)
    predictor = Predictor.load(save_model(tmp_path / "m.pt", *parts))
    for seed in range(60, 63):
        probabilities, logits, _ = predictor.measure(random_images(seed, 60, 3))
        logits = torch.tensor(logits)[None]
        expected = (logits / temperatures(logits, calibration)).softmax(1)[0]
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_known_score_is_what_was_fitted(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.nn.functional.normalize(torch.rand(5, 8, generator=generator), dim=1)
    network = build_network().eval()
    images = torch.tensor(random_images(4, 3, 61, 83))
    classifier = PhotoClassifier(network, PREPROCESS, CLASSES).eval()
    with torch.no_grad():
        features = network.forward_features(classifier.squares(images))
        largest = network.forward_head(features).softmax(1).amax(1)
        direction = torch.nn.functional.normalize(features.mean((2, 3)), dim=1)
        nearest = (direction @ prototypes.T).amax(1)
        expected = 2 * torch.logit(largest) + 0.7 * nearest + direction @ torch.arange(8.0) - 3
        floor = nearest.mean().item()  # some are below it
        expected -= 200 * (floor - nearest).clamp(min=0)
    known = KnownScore(2.0, 0.7, prototypes, torch.arange(8.0), -3.0, floor)
    manifest = {"known_threshold": 0.0}
    path = save_model(tmp_path / "m.pt", network, PREPROCESS, CLASSES, manifest, known=known)
    module = Predictor.load(path).engine.module
    scores = module.known_score(images)
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)
    assert module.known_score(images[0]).shape == (1,)
    add_twin(path, network)
    predictor = Predictor.load(path)
    answers = [predictor.answer(image.permute(1, 2, 0).numpy()) for image in images]
    assert [answer.known for answer in answers] == (expected >= 0).tolist()
    assert answers[0].known_score == pytest.approx(expected[0].item(), abs=1e-3)


def test_explain_gives_maps_of_the_best_classes(predictor: Predictor) -> None:
    module = Predictor.load(predictor.path, use_twin=False).engine.module
    images = torch.tensor(random_images(2, 3, 50, 70))
    with torch.inference_mode():
        maps, classes = module.explain(images)
        best = module(images).topk(3).indices
    assert maps.dtype == torch.float32
    assert maps.shape == (2, 3, 15, 15)
    assert maps.min() >= 0
    assert torch.equal(classes, best)
    image = images[0].permute(1, 2, 0).numpy()
    answer = predictor.answer(image)
    np.testing.assert_allclose(answer.evidence, maps[0], atol=1e-5)
    assert list(answer.probabilities) == [CLASSES[index] for index in classes[0].tolist()]
    assert answer.label == CLASSES[classes[0, 0]]
    assert len(answer.boxes) == 3
    assert answer.known  # no threshold was fitted
    assert predictor.answer(image, k=2).evidence.shape == (2, 15, 15)
    assert list(predictor.classify(image, k=9)) == list(answer.probabilities)


@pytest.mark.parametrize(
    ("backbone", "options", "side"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}, 4),
        ("regnety_002", {}, 2),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, 64)}, 2),
    ],
)
def test_maps_and_twins_of_other_kinds_of_networks(
    tmp_path: Path, backbone: str, options: dict, side: int
) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(backbone, num_classes=3, scriptable=True, **options).eval()
    path = save_model(tmp_path / "m.pt", network, Preprocess(64, 64), CLASSES, {})
    plain = Predictor.load(path)
    images = torch.tensor(random_images(1, 3, 100, 100))
    with torch.inference_mode():
        maps, _ = plain.engine.module.explain(images)
    assert maps.shape == (1, 3, side, side)
    assert maps.flatten(2).std(2).max() > 0
    add_twin(path, network)
    twin = Predictor.load(path)
    for shape in [(90, 130, 3), (130, 90, 3), (17, 400, 3)]:
        image = random_images(*shape)
        answers = [each.answer(image) for each in (plain, twin)]
        assert answers[0].label == answers[1].label
        np.testing.assert_allclose(answers[1].evidence, answers[0].evidence, atol=1e-3)
        assert answers[1].probabilities == pytest.approx(answers[0].probabilities, abs=1e-4)


def test_batch_equals_one_by_one(predictor: Predictor) -> None:
    images = random_images(64, 3, 37, 52)
    single = np.stack([predictor.probabilities(image) for image in images])
    np.testing.assert_allclose(predictor.probabilities(images), single, atol=1e-5)


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_export_program_equals_the_file(tmp_path: Path, mode: str) -> None:
    preprocess = Preprocess(32, 32, mode)
    path = save_model(tmp_path / "model.pt", build_network(), preprocess, CLASSES, {})
    program = torch.export.load(path.with_suffix(".pt2")).module()
    predictor = Predictor.load(path)
    for shape in [(1, 3, 90, 60), (1, 3, 60, 90), (1, 3, 64, 64), (7, 3, 33, 200), (2, 3, 16, 16)]:
        images = random_images(*shape)
        found = predictor.probabilities(images)
        np.testing.assert_allclose(program(torch.tensor(images)).detach(), found, atol=1e-5)


def test_classify_gives_the_best_first(predictor: Predictor, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    draw_landmark(1, 0).save(photo)
    answer = predictor.classify(photo)
    assert set(answer) == set(CLASSES)
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    assert len(predictor.classify(photo, k=2)) == 2
    array = np.asarray(draw_landmark(1, 0))
    assert predictor.classify(photo.read_bytes()) == answer == predictor.classify(array)
    assert predictor.classify_batch([photo, array]) == [answer, answer]
    with pytest.raises(PhotoError):
        predictor.classify(b"nothing")


def test_bad_model_files_are_refused(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model file"):
        Predictor.load(tmp_path / "absent.pt")
    content = model_path.read_bytes()
    cases = {"empty": b"", "text": b"hello", "half": content[: len(content) // 2]}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        said = "is no model file" if name == "text" else "not a complete model file"
        with pytest.raises(ModelFileError, match=said):
            Predictor.load(tmp_path / name)
    foreign = torch.jit.trace(nn.ReLU(), torch.zeros(1))
    foreign.save(str(tmp_path / "foreign.pt"))
    with pytest.raises(ModelFileError, match="not a complete model file"):
        Predictor.load(tmp_path / "foreign.pt")


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unique"):
        save_model(tmp_path / "m.pt", build_network(), PREPROCESS, ["a", "a", "b"], {})


@pytest.mark.parametrize("name", ["landmarks.pt", "scratch.pt"])
def test_bundled_model_is_whole(name: str) -> None:
    path = BUNDLED.with_name(name)
    predictor = Predictor.load(path)
    assert len(predictor.class_names) == 50
    assert path.stat().st_size <= 30e6
    assert predictor.digest == file_digest(path)
    assert predictor.digest[:12] in path.with_name("TEST_LOG.md").read_text(encoding="utf-8")
    # The cards tell people what the files themselves record.
    card = path.with_name("MODEL_CARD.md" if path == BUNDLED else "SCRATCH_CARD.md")
    measured = predictor.manifest["metrics"]
    for part in ("val", "test"):
        assert f"{measured[f'{part}/top1']:.1%}".replace("%", " %") in card.read_text("utf-8")


def test_a_run_folder_loads_like_its_model_file(toy_model: Path) -> None:
    assert Predictor.load(toy_model.parent).digest == file_digest(toy_model)
