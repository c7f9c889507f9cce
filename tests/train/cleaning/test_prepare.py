"""Checking, cleaning and splitting a folder of photos."""

import csv
import json
import os
import re
import shutil
import stat
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

import train.cleaning.scan
from models.places.landmarks import find_places
from tests.support.runs import read_records
from train.cleaning.duplicate_policy import split_photos
from train.cleaning.scan import list_folder
from train.config import ScratchConfig, TransferConfig
from train.data.sources import open_source
from train.data.split import Split, index_photos
from train.engine.training_run import run_training
from train.prepare import PrepareConfig, lay_out_files, main, prepare
from train.tracking.wandb_run import LISTING, _use_dataset


def draw_scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A picture with structure of its own, at every scale that a hash looks at."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with train/ and test/, and one of everything that can be wrong; only read."""
    root = tmp_path_factory.mktemp("prepare") / "data"
    for label, name in enumerate(["00.Old_Tower", "01.New_Bridge"]):
        for part, count in (("train", 10), ("test", 3)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for photo in range(count):
                seed = 1000 * label + photo + (500 if part == "test" else 0)
                draw_scene(seed).save(folder / f"{photo}.png")
    tower, bridge = root / "train" / "00.Old_Tower", root / "train" / "01.New_Bridge"
    shutil.copy(tower / "0.png", tower / "copy.png")
    draw_scene(1, (320, 240)).save(tower / "larger.jpg", quality=90)  # of 1.png
    shutil.copy(tower / "2.png", bridge / "conflict.png")
    shutil.copy(root / "test" / "01.New_Bridge" / "0.png", bridge / "leak.png")
    shutil.copy(tower / "3.png", root / "test" / "01.New_Bridge" / "both.png")
    (tower / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tower / "notes.txt").write_text("hello")
    draw_scene(7000, (60, 50)).save(tower / "tiny.png")
    frames = [draw_scene(8000 + frame) for frame in range(3)]
    frames[0].save(bridge / "moving.gif", save_all=True, append_images=frames[1:])
    (root / "train" / "02.Empty").mkdir()
    (root / "test" / "00.old tower").mkdir()
    return root


@pytest.fixture(scope="module")
def prepared(data: Path) -> Path:
    """What the defaults make of it; only read."""
    out = data.parent / "prepared"
    prepare(settings(data, out))
    return out


def settings(data: Path, out: Path, **changes: object) -> PrepareConfig:
    return PrepareConfig(data=(data,), out=out, label_noise=False, **{"workers": 1} | changes)


def tiny_scratch(data: Path, run_dir: Path) -> ScratchConfig:
    """A training of a second: of this file, none is about the network."""
    return ScratchConfig(
        data=data,
        run_dir=run_dir,
        epochs=1,
        image_size=32,
        batch_size=8,
        width=8,
        depth=1,
        workers=0,
        device="cpu",
    )


def read_duplicates(out: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader((out / "duplicates.csv").read_text().splitlines())
    return {row["path"]: row for row in rows}


def test_everything_is_found_and_nothing_touched(data: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    out = tmp_path / "out"
    assert main(settings(data, out, workers=2)) == 0
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    summary = json.loads((out / "statistics.json").read_text())
    assert list(summary["unreadable"]) == ["train/00.Old_Tower/broken.jpg"]
    assert summary["noted"] == {
        "train/00.Old_Tower/tiny.png": ["tiny"],
        "train/01.New_Bridge/moving.gif": ["animated"],
    }
    assert summary["not_photos"] == ["train/00.Old_Tower/notes.txt"]
    assert summary["empty_classes"] == ["train/02.Empty", "test/00.old tower"]
    assert summary["alike_classes"] == [["Old Tower", "old tower"]]
    report = (out / "report.html").read_text()
    assert report.count("<img") > 10
    assert not re.search(r'(src|href)="(?!data:)', report)

    found = read_duplicates(out)
    kept = {path: row["kept"] == "True" for path, row in found.items()}
    assert kept == {
        "train/00.Old_Tower/0.png": True,
        "train/00.Old_Tower/copy.png": False,
        "train/00.Old_Tower/1.png": False,
        "train/00.Old_Tower/larger.jpg": True,
        "train/00.Old_Tower/2.png": False,
        "train/01.New_Bridge/conflict.png": False,
        "train/01.New_Bridge/leak.png": False,
        "test/01.New_Bridge/0.png": True,
        "train/00.Old_Tower/3.png": False,
        "test/01.New_Bridge/both.png": True,
    }
    kinds = {path: row["kind"] for path, row in found.items()}
    assert kinds["train/00.Old_Tower/copy.png"] == "copy"
    assert kinds["train/00.Old_Tower/larger.jpg"] == "near"

    split = json.loads((out / "splits.json").read_text())
    assert split["root"] == str(data.resolve())
    assert split["class_names"] == ["Old Tower", "New Bridge"]
    parts = [set(split[part]) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert not {path for path, stays in kept.items() if not stays} & set.union(*parts)
    assert len(split["test"]) == 7
    assert all(path.startswith("test/") for path in split["test"])
    assert len(split["val"]) == 2


def test_same_seed_same_split(data: Path, prepared: Path, tmp_path: Path) -> None:
    fingerprints = [json.loads((prepared / "splits.json").read_text())["fingerprint"]]
    for name, seed in (("same", 0), ("other", 1)):
        prepare(settings(data, tmp_path / name, seed=seed))
        fingerprints.append(
            json.loads((tmp_path / name / "splits.json").read_text())["fingerprint"]
        )
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_training_takes_the_split(prepared: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert run_training(tiny_scratch(prepared, run_dir)) == 0
    wanted, used = (
        json.loads((folder / name).read_text())
        for folder, name in ((prepared, "splits.json"), (run_dir, "split.json"))
    )
    for key in ("fingerprint", "train", "val", "class_names"):
        assert used[key] == wanted[key]
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["split"]["fingerprint"] == wanted["fingerprint"]
    assert len(read_records(run_dir)) == 1


def test_findings_are_part_of_the_data_set_artifact(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a training on prepared photos hands to W&B's client as its input."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb"))
    content = json.loads((prepared / "splits.json").read_text())
    keys = ("fingerprint", "root", "class_names", "train", "val", "test")
    used = Split(**{key: content[key] for key in keys})
    (tmp_path / LISTING).write_text("")
    logged = []

    class Run:
        def _log_artifact(self, artifact: wandb.Artifact, **_: object) -> None:
            logged.append(artifact)

    _use_dataset(Run(), TransferConfig(data=prepared), tmp_path, used)
    (artifact,) = logged
    assert set(artifact.manifest.entries) == {
        LISTING,
        "splits.json",
        "duplicates.csv",
        "statistics.json",
        "report.html",
    }
    assert artifact.metadata["split"] == content["fingerprint"]


def test_interrupted_scan_is_resumed(
    data: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(data, tmp_path / "data")
    out = shutil.copytree(prepared, tmp_path / "out")
    lines = (out / "scan.jsonl").read_text().splitlines(keepends=True)
    whole = (out / "splits.json").read_text()
    (out / "scan.jsonl").write_text("".join(lines[:10]) + lines[10][:40])
    (data / "train" / "00.Old_Tower" / "4.png").touch()  # changed, so it is read again
    read = []
    original = train.cleaning.scan.scan_photo

    def count(folder: str, path: str) -> train.cleaning.scan.PhotoRecord:
        read.append(path)
        return original(folder, path)

    monkeypatch.setattr(train.cleaning.scan, "scan_photo", count)
    prepare(settings(data, out))
    assert len(lines) - 10 <= len(read) <= len(lines) - 9
    assert "train/00.Old_Tower/4.png" in read
    again = json.loads((out / "splits.json").read_text())
    assert again == json.loads(whole) | {"root": str(data)}


@pytest.mark.parametrize("files", ["link", "copy"])
def test_files_laid_out(data: Path, prepared: Path, tmp_path: Path, files: str) -> None:
    content = json.loads((prepared / "splits.json").read_text())
    split = {part: content[part] for part in ("train", "val", "test")}
    config = settings(data, tmp_path / "out", files=files)
    for _ in range(2):  # also over an earlier layout
        lay_out_files(config, split, list_folder(data))
    laid = sorted(path for path in (config.out / "photos").rglob("*") if path.is_file())
    assert len(laid) == sum(map(len, split.values()))
    example = config.out / "photos" / "val" / Path(split["val"][0]).relative_to("train")
    assert os.path.samefile(example, data / split["val"][0]) == (files == "link")


@pytest.mark.parametrize("front", ["", "train/"])
def test_photos_in_subfolders_are_prepared_and_trained_on(tmp_path: Path, front: str) -> None:
    """Subfolders with photos of one name, one called like another class."""
    data, out = tmp_path / "data", tmp_path / "out"
    labels = {
        f"{front}{folder}/{photo}.png": "Old Tower" if "Old" in folder else "New"
        for folder in (
            "13.Old_Tower/2019",
            "13.Old_Tower/2020",
            "13.Old_Tower/New",
            "20.New",
            "20.New/x",
        )
        for photo in range(3)
    }
    for seed, path in enumerate(labels):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        draw_scene(seed).save(data / path)
    (data / "landmarks.csv").write_text("class_name,latitude,longitude\nOld Tower,48.85,2.29\n")
    prepare(settings(data, out, files="link"))
    assert find_places(["Old Tower"], out)["Old Tower"].latitude == 48.85
    content = json.loads((out / "splits.json").read_text())
    split = {part: content[part] for part in ("train", "val", "test")}
    assert sorted(path for paths in split.values() for path in paths) == sorted(labels)
    assert content["class_names"] == ["Old Tower", "New"]
    given = open_source(TransferConfig(data=out)).split([], 0.1, 0)
    found = [given.class_names[label] for label in given.labels(given.train)]
    assert found == [labels[path] for path in given.train]
    laid = list_folder(out / "photos").photos
    assert laid == {
        f"{part}/{path.removeprefix(front)}": (part, labels[path])
        for part, paths in split.items()
        for path in paths
    }
    trained = index_photos(out / "photos")
    assert sorted(path for paths in trained.values() for path in paths) == [
        f"train/{path.removeprefix(front)}" for path in split["train"]
    ]


@pytest.fixture
def merged(data: Path, tmp_path: Path) -> Path:
    """A folder of data, of corrections that repeat and add photos, and of what is made of both.

    Only the first numbers its classes; both have photos of one name.
    """
    data = shutil.copytree(data, tmp_path / "data")
    corrections, out = tmp_path / "corrections", tmp_path / "out"
    for name in ("Old_Tower", "New_Bridge", "Old_Mill", "none_of_them"):
        (corrections / name).mkdir(parents=True)
    tower, bridge = data / "train" / "00.Old_Tower", data / "test" / "01.New_Bridge"
    draw_scene(4, (320, 240)).save(corrections / "Old_Tower" / "4.png")  # larger
    shutil.copy(tower / "5.png", corrections / "New_Bridge" / "corrected.png")
    shutil.copy(bridge / "1.png", corrections / "New_Bridge" / "1.png")
    for photo in range(3):
        draw_scene(3000 + photo).save(corrections / "Old_Mill" / f"{photo}.png")
    draw_scene(4000).save(corrections / "none_of_them" / "0.png")
    head = "class_name,latitude,longitude\n"
    (data / "landmarks.csv").write_text(f"{head}Old Tower,48.85,2.29\n")
    (corrections / "landmarks.csv").write_text(f"{head}old_tower,1,2\nOld Mill,3,4\n")
    config = PrepareConfig((data, corrections), out, files="link", label_noise=False, workers=1)
    assert main(config) == 0
    return tmp_path


def test_folders_are_merged_and_duplicates_found_across(merged: Path) -> None:
    content = json.loads((merged / "out" / "splits.json").read_text())
    assert content["root"] == str(merged.resolve())
    assert content["class_names"] == ["New Bridge", "Old Mill", "Old Tower"]
    found = read_duplicates(merged / "out")
    kept = {
        path: found[path]["kept"] == "True"
        for path in (
            "data/train/00.Old_Tower/4.png",
            "corrections/Old_Tower/4.png",
            "data/train/00.Old_Tower/5.png",
            "corrections/New_Bridge/corrected.png",
            "data/test/01.New_Bridge/1.png",
            "corrections/New_Bridge/1.png",
        )
    }
    assert list(kept.values()) == [False, True, False, False, True, False]
    parts = {path: part for part in ("train", "val", "test") for path in content[part]}
    assert not {path for path, stays in kept.items() if not stays} & set(parts)
    assert parts["data/test/01.New_Bridge/1.png"] == "test"
    assert sum(path.startswith("corrections/Old_Mill/") for path in parts) == 3
    assert not any("none_of_them" in path for path in parts)
    assert "<td>data, corrections</td>" in (merged / "out" / "report.html").read_text()


def test_merged_folders_are_trained_on(merged: Path) -> None:
    out = merged / "out"
    content = json.loads((out / "splits.json").read_text())
    split = open_source(TransferConfig(data=out)).split([], 0.1, 0)
    assert split.class_names == content["class_names"]
    paths = split.train + split.val
    for path, label in zip(paths, split.labels(paths), strict=True):
        name = content["class_names"][label].replace(" ", "_")
        assert name in path, path
    # Laid out, they are a data set of the same classes in the same order.
    laid = list_folder(out / "photos").photos
    assert len(laid) == sum(len(content[part]) for part in ("train", "val", "test"))
    again = index_photos(out / "photos")
    assert list(again) == content["class_names"]
    assert sum(map(len, again.values())) == len(content["train"])
    places = find_places(["Old Tower", "Old Mill"], out)
    assert places["Old Tower"].latitude == 48.85  # the first folder says where
    assert places["Old Mill"].latitude == 3


def test_a_folder_in_another_is_refused(data: Path, tmp_path: Path) -> None:
    for other in (data, data / "train"):
        with pytest.raises(ValueError, match="overlap"):
            prepare(PrepareConfig((data, other), tmp_path / "out"))


def test_read_only_input(data: Path, tmp_path: Path) -> None:
    folders = [data, *(path for path in data.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert main(settings(data, tmp_path / "out")) == 0
    finally:
        for folder in folders:
            folder.chmod(stat.S_IRWXU)


def test_parts_are_drawn_per_class() -> None:
    photos = {f"{label}/{i}.jpg": ("train", label) for label in "ab" for i in range(20)}
    split = split_photos(photos, {"test": 0.2, "val": 0.1}, seed=0)
    assert {part: len(paths) for part, paths in split.items()} == {"train": 28, "val": 4, "test": 8}
    for part, count in (("test", 4), ("val", 2)):
        assert sum(path.startswith("a/") for path in split[part]) == count
    more = photos | {
        "c/1.jpg": ("train", "c"),
        "c/2.jpg": ("train", "c"),
        "c/3.jpg": ("train", "c"),
    }
    larger = split_photos(more, {"test": 0.2, "val": 0.1}, seed=0)
    assert [path for path in larger["val"] if path[0] != "c"] == split["val"]


def test_channel_statistics_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(3)]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    records = [train.cleaning.scan.scan_photo(str(tmp_path), f"{i}.png") for i in range(3)]
    found = train.cleaning.scan.channel_statistics(records)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    assert found["mean"] == pytest.approx(pixels.mean(0).tolist(), abs=1e-12)
    assert found["std"] == pytest.approx(pixels.std(0).tolist(), abs=1e-12)


def test_wrong_labels_are_suspected(tmp_path: Path) -> None:
    """Two kinds of drawings, three of them in the wrong folder."""
    data = tmp_path / "data"
    for label, name in enumerate(["stripes", "rings"]):
        (data / name).mkdir(parents=True)
        for photo in range(24):
            kind = 1 - label if photo < 3 and label == 0 else label
            rng = np.random.default_rng((label, photo))
            y, x = np.mgrid[:96, :128]
            wave = x + rng.uniform(0, 9) if kind == 0 else np.hypot(x - 64, y - 48)
            lines = (np.sin(wave / rng.uniform(2, 4)) > 0)[..., None]
            scene = np.asarray(draw_scene(100 * label + photo, (128, 96)))
            Image.fromarray(np.where(lines, scene, 255 - scene)).save(data / name / f"{photo}.png")
    config = PrepareConfig(data=(data,), out=tmp_path / "out", workers=1)
    assert main(config) == 0
    summary = json.loads((tmp_path / "out" / "statistics.json").read_text())
    suspected = {each["path"]: each["instead"] for each in summary["suspicious_labels"]}
    split = json.loads((tmp_path / "out" / "splits.json").read_text())
    wrong = {f"stripes/{photo}.png" for photo in range(3)} - set(split["test"])
    assert wrong <= set(suspected)
    assert all(suspected[path] == "rings" for path in wrong)
    assert len(suspected) <= len(wrong) + 2


def test_mistakes_end_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    empty = tmp_path / "empty"
    (empty / "a").mkdir(parents=True)
    for config, message in [
        (settings(tmp_path / "absent", tmp_path / "out"), "no data folder"),
        (settings(empty, tmp_path / "out"), "no photos in class folders"),
        (settings(data, data), "another folder"),
    ]:
        assert main(config) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="leave no photo"):
        settings(data, tmp_path / "out", val_fraction=0.3, test_fraction=0.7)
    assert TransferConfig().val_fraction == PrepareConfig().val_fraction


def test_a_reader_killed_for_memory_is_one_line(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def die(*_: object) -> None:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr(train.cleaning.scan, "scan_photo", die)
    assert main(PrepareConfig(data=(landmark_photos,), out=tmp_path / "out", workers=1)) == 1
    error = capsys.readouterr().err
    assert "error: a process that reads photos was killed" in error and "--workers" in error


@pytest.mark.parametrize("readable", [True, False])
def test_a_thin_class_is_reported_before_it_stops(
    readable: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for first, folder in ((0, "Old"), (10, "New")):
        (data / folder).mkdir(parents=True)
        for photo in range(5):
            draw_scene(first + photo).save(data / folder / f"{photo}.png")
    for path in sorted(data.glob("New/*" if readable else "*/*"))[1 if readable else 0 :]:
        path.write_bytes(path.read_bytes()[:200])
    out.mkdir()
    (out / "splits.json").write_text("of an earlier run, which training would use")
    for files in ("none", "link"):
        assert main(settings(data, out, files=files)) != 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"error: (class 'New' has 1 usable photo|0 classes).*report\.html", said)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "none: " in page and "New/2.png" in page
    summary = json.loads((out / "statistics.json").read_text())
    assert "New/2.png" in summary["unreadable"] and summary["problem"] in said
    assert (out / "duplicates.csv").is_file()
    assert not (out / "splits.json").exists() and not (out / "photos").exists()
