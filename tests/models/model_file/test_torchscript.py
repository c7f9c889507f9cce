"""Model files that were tampered with: refused, or harmless.

That labels are also text in a browser: test_page.py; in reports: test_evaluate.py; in XMP:
test_sidecar.py. What goes into a good file and comes out of it: test_predictor.py.
"""

import csv
import html
import json
import pickle
import re
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from models.model_file.torchscript import rewrite_manifest, save_model
from models.predictor import ModelFileError, Predictor
from models.tagging.table import write_table
from models.tagging.tagger import Tagger
from tests.support.bad_photos import encode
from tests.support.drawing import draw_landmark
from tests.support.repacked_model import repack

PHOTO = encode(draw_landmark(1, 0), "JPEG")
HOSTILE = [
    "<script>document.title='hit'</script>",
    "<img src=x onerror=\"document.title='hit'\">",
    '=HYPERLINK("http://x")',
    "</h2><b>bold",
    "two\nlines",
    "\u202eevil \x1b[2J",
]


def test_loading_tells_nobody_that_torch_jit_is_deprecated(toy_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        rewrite_manifest(shutil.copy(toy_model, path), Predictor.load(toy_model).manifest)
        assert Predictor.load(path).manifest == Predictor.load(toy_model).manifest
    assert seen == []


def test_a_flipped_byte_anywhere_in_a_model_file_is_refused(toy_twin: Path, tmp_path: Path) -> None:
    content, path = toy_twin.read_bytes(), tmp_path / "model.pt"
    with zipfile.ZipFile(toy_twin) as archive:
        parts = archive.infolist()
    for part in parts:
        sizes = content[part.header_offset + 26 : part.header_offset + 30]
        start = part.header_offset + 30 + sum(struct.unpack("<HH", sizes))
        for place in {start, start + part.compress_size // 2} if part.file_size else ():
            changed = bytearray(content)
            changed[place] ^= 0x10
            path.write_bytes(changed)
            with pytest.raises(ModelFileError) as caught:
                Predictor.load(path)
            assert len(str(caught.value).splitlines()) == 1


def test_archives_that_readers_could_disagree_about_are_refused(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(toy_model, tmp_path / "model.pt"))
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about this
        name = next(name for name in archive.namelist() if name.endswith("/manifest.json"))
        archive.writestr(name, "{}")
    with pytest.raises(ModelFileError, match="two parts of one name"):
        Predictor.load(path)
    monkeypatch.setattr("models.model_file.archive.MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(ModelFileError, match="it unpacks to over"):
        Predictor.load(toy_model)


class Opens:
    """What runs as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def test_pickled_code_in_a_model_file_does_not_run(toy_model: Path, tmp_path: Path) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "model.pt"
    pickled = pickle.dumps(Opens(mark), 2)
    pickle.loads(pickled).close()
    assert mark.exists()  # so this would tell
    mark.unlink()
    torch.save({"state": Opens(mark)}, path)
    with pytest.raises(ModelFileError):
        Predictor.load(path)
    for part in ("/data.pkl", "/constants.pkl"):
        with pytest.raises(ModelFileError):
            Predictor.load(repack(toy_model, path, part, pickled))
    Predictor.load(repack(toy_model, path, "classifier.py.debug_pkl", pickled))  # is not read
    assert not mark.exists()


class Writes(nn.Module):
    """A network that writes a file: TorchScript can."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.save(images, self.path)
        return images


def test_a_model_file_whose_code_touches_files_is_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "written", tmp_path / "model.pt"
    scripted = torch.jit.script(Writes(str(mark)))
    scripted.save(str(path))
    scripted(torch.zeros(1))
    assert mark.exists()  # so this would tell
    mark.unlink()
    with pytest.raises(ModelFileError, match="its code uses save, as no network does"):
        Predictor.load(path)
    assert not mark.exists()


@pytest.fixture(scope="module")
def hostile_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose labels, places and name are markup, formulas and control characters."""
    from models.model_file.preprocess import Preprocess
    from tests.support.tiny_network import TinyNetwork

    torch.manual_seed(0)
    network = TinyNetwork(
        nn.Conv2d(3, 8, 5, stride=2),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, len(HOSTILE))),
    )
    place = {
        "latitude": 1.0,
        "longitude": 2.0,
        "kind": HOSTILE[3],
        "city": HOSTILE[1],
        "country": "FR",
        "wikidata": "",
    }
    places = {label: place | {"name": label} for label in HOSTILE[:3]}
    path = tmp_path_factory.mktemp("hostile") / "model.pt"
    manifest = {"name": HOSTILE[1], "metrics": {}, "places": places}
    return save_model(path, network, Preprocess(32, 32), HOSTILE, manifest)


def test_hostile_labels_are_text_in_tables(
    hostile_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "=cmd()<b>.jpg"
    path.write_bytes(PHOTO)
    row = Tagger(Predictor.load(hostile_model)).tag(path.name)
    assert row["error"] is None
    for out in ("tags.csv", "tags.json"):
        write_table(tmp_path / out, [row])
    with (tmp_path / "tags.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2
    texts = [cell for cell in rows[1] if not re.fullmatch(r"-?[0-9.]+", cell)]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in texts)
    labels = {
        json.loads((tmp_path / "tags.json").read_text())[0][f"label_{i}"] for i in range(1, 6)
    }
    assert len(labels & set(HOSTILE)) >= 4


def test_hostile_labels_are_text_in_the_notebook(hostile_model: Path) -> None:
    from models.page.notebook_widget import PhotoApp

    app = PhotoApp(Predictor.load(hostile_model))
    labels = app.classify(PHOTO)
    for label in labels:
        assert html.escape(label) in app.answer.value
    for markup in ("<script", "<img", "<b>"):
        assert markup not in app.answer.value
