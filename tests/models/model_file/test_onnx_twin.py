"""The ONNX twin: it answers as TorchScript does, without torch, and reports to nobody."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models.model_file.archive import add_extra, has_twin, read_extra
from models.model_file.onnx_export import round_weights
from models.model_file.onnx_twin import OnnxTwin
from models.model_file.preprocess import Preprocess
from models.model_file.torchscript import add_twin, load_module, rewrite_manifest, save_model
from models.predictor import ModelFileError, Predictor
from tests.support.bad_photos import encode
from tests.support.commands import ROOT, Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.page_client import answer_of, classify
from tests.support.tiny_network import TinyNetwork, toy_network

# Landscape, portrait, odd sides, elongated, the smallest.
SHAPES = [(300, 400), (400, 300), (1000, 777), (17, 400), (400, 17), (16, 16)]


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_answers_are_those_of_torch(tmp_path: Path, mode: str) -> None:
    preprocess = Preprocess(32, 32, mode)
    path = save_model(tmp_path / "model.pt", toy_network(), preprocess, TOY_CLASSES, {})
    add_twin(path, toy_network())
    twin, plain = Predictor.load(path), Predictor.load(path, use_twin=False)
    for height, width in SHAPES:
        image = np.asarray(draw_landmark(1, 0, (width, height)))
        ours, theirs = twin.answer(image), plain.answer(image)
        assert list(ours.probabilities) == list(theirs.probabilities)
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
        assert ours.known_score == pytest.approx(theirs.known_score, abs=1e-3)
        assert (ours.verdict, ours.region) == (theirs.verdict, theirs.region)
        np.testing.assert_allclose(ours.evidence, theirs.evidence, atol=1e-4)


def test_a_twin_leaves_the_rest_of_the_file_as_it_was(toy_model: Path, toy_twin: Path) -> None:
    with zipfile.ZipFile(toy_model) as before, zipfile.ZipFile(toy_twin) as after:
        added = set(after.namelist()) - set(before.namelist())
        assert [name.partition("/")[2] for name in added] == ["extra/model.onnx"]
        for name in before.namelist():
            assert before.read(name) == after.read(name)
            header = before.getinfo(name).header_offset
            assert header == after.getinfo(name).header_offset  # so tensors stay aligned
    assert has_twin(toy_twin) and not has_twin(toy_model)
    with pytest.raises(ValueError, match=r"has model\.onnx already"):
        add_extra(toy_twin, "model.onnx", b"")
    assert load_module(toy_twin)[1] == load_module(toy_model)[1]


def normed_network() -> TinyNetwork:
    """A network whose convolutions the exporter multiplies with the scales of batch norms."""
    norm = nn.BatchNorm2d(8)
    nn.init.uniform_(norm.weight, 0.1, 3)
    nn.init.uniform_(norm.running_var, 0.1, 3)
    conv = nn.Conv2d(3, 8, 3)
    nn.init.zeros_(conv.weight[0])  # a channel that died in training
    return TinyNetwork(
        nn.Sequential(conv, norm, nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)),
    ).eval()


@pytest.mark.parametrize("is_rounded", [True, False])
def test_a_twin_stores_rounded_weights_in_half_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_rounded: bool
) -> None:
    """Those of files of earlier versions are not rounded, and stay as they are."""
    if not is_rounded:
        monkeypatch.setattr("models.model_file.torchscript.round_weights", lambda network: None)
    network = normed_network()
    path = save_model(tmp_path / "model.pt", network, Preprocess(32, 32), TOY_CLASSES, {})
    add_twin(path, network)
    graph = onnx.load_model_from_string(read_extra(path, "model.onnx")).graph
    halves = [each.dims for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT16]
    assert halves == ([[8, 3, 3, 3], [6, 32]] if is_rounded else [])
    twin, plain = Predictor.load(path), Predictor.load(path, use_twin=False)
    image = np.asarray(draw_landmark(1, 0, (50, 40)))
    for ours, theirs in zip(twin.measure(image), plain.measure(image), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_rounding_changes_weights_little_and_nothing_else() -> None:
    before, network = normed_network(), normed_network()
    before.load_state_dict(network.state_dict())
    network.head[2].weight.data[0, 0] = 1e6  # 16 bits end at 65,504
    before.head[2].weight.data[0, 0] = 1e6
    round_weights(network)
    changed = set()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name], rtol=5e-4, atol=3e-8)
        changed |= set() if value.equal(before.state_dict()[name]) else {name}
    assert changed == {"features.0.weight"}


def test_a_new_manifest_reaches_the_twin(toy_twin: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(toy_twin.read_bytes())
    image = np.asarray(draw_landmark(0, 0))
    before = Predictor.load(path)
    rewrite_manifest(path, before.manifest | {"name": "renamed"})
    after = Predictor.load(path)
    assert after.manifest["name"] == "renamed"
    assert isinstance(after.engine, OnnxTwin)
    assert after.answer(image).probabilities == before.answer(image).probabilities


def test_a_twin_names_no_folder_of_the_machine_that_made_it(toy_twin: Path) -> None:
    program = read_extra(toy_twin, "model.onnx")
    for text in (str(ROOT), "site-packages", ".py"):
        assert text.encode() not in program


def test_threads_are_those_that_were_asked_for(
    toy_twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.model_file.onnx_twin.cores", lambda: 3)
    for asked, used in ((None, 3), (1, 1)):
        engine = Predictor.load(toy_twin, threads=asked).engine
        assert engine._session.get_session_options().intra_op_num_threads == used


# Found before the real one; says where it was imported.
FAKE_TORCH = """
import sys, traceback
with open({mark!r}, "a") as file:
    traceback.print_stack(file=file)
raise ImportError("torch is not here")
"""


@pytest.fixture
def no_torch(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH in which torch cannot be imported; imported.txt says who tried."""
    folder = tmp_path / "no_torch"
    folder.mkdir()
    mark = str(folder / "imported.txt")
    (folder / "torch.py").write_text(FAKE_TORCH.format(mark=mark))
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Run Python with a folder before all others, in the folder of the project."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_photos_are_tagged_without_torch(
    toy_twin: Path, toy_model: Path, no_torch: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "tags.json"
    photos.mkdir()
    for label in range(3):
        draw_landmark(label, 0).save(photos / f"{label}.png")
    command = ("-m", "models.tag", photos, "--out", out, "--workers", 2, "--model")
    tagged = run(no_torch, *command, toy_twin)
    assert tagged.returncode == 0, tagged.stderr
    assert not (no_torch / "imported.txt").exists()
    predictor = Predictor.load(toy_model)
    for row in json.loads(out.read_text()):
        assert row["label_1"] == predictor.answer(row["photo"]).label
    # In the home folder, where onnxruntime would keep a database of what it reports.
    assert not list(no_torch.rglob("*onnxruntime*"))


def test_the_page_opens_and_answers_without_torch(toy_twin: Path, no_torch: Path) -> None:
    page = Page("--model", toy_twin, "--port", 7940, PYTHONPATH=str(no_torch))
    try:
        photo = encode(draw_landmark(1, 0), "JPEG")
        answer = answer_of(classify(page.url, photo)[1])
        assert answer["label"] == Predictor.load(toy_twin).answer(photo).label
    finally:
        output = page.stop()
    assert not (no_torch / "imported.txt").exists(), (no_torch / "imported.txt").read_text()
    assert "Traceback" not in output


LOAD = """
import sys
from models.predictor import ModelFileError, Predictor
try:
    Predictor.load(sys.argv[1])
except ModelFileError as error:
    print(error)
"""


def test_a_missing_package_is_named(toy_model: Path, toy_twin: Path, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(
        "import sys\nsys.modules['torch'] = sys.modules['onnxruntime'] = None\n" + LOAD
    )
    for model, package in ((toy_model, "torch"), (toy_twin, "onnxruntime")):
        loaded = run(ROOT, tmp_path / "block.py", model)
        assert f"needs {package}; install: " in loaded.stdout, loaded.stderr
        assert loaded.stdout.count("\n") == 1


def test_a_file_without_a_twin_still_answers(toy_model: Path, toy_twin: Path) -> None:
    image = np.asarray(draw_landmark(2, 0))
    assert (
        Predictor.load(toy_model).answer(image).label
        == Predictor.load(toy_twin).answer(image).label
    )
    with pytest.raises(ModelFileError):
        Predictor.load(toy_model.with_name("absent.pt"))
