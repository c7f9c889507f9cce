"""Tagging on Ray: the same rows as on one machine, also when a worker is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from models.predictor import Predictor
from models.tag import TagConfig, main
from models.tagging import ray_tagging as cluster
from models.tagging.photo_list import find_photos
from models.tagging.ray_tagging import TRIES, TagBatch, tag_on_ray
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import parquet_schema, read_table, write_table
from models.tagging.tagger import Tagger
from tests.support.commands import ROOT, STARTED
from tests.support.drawing import draw_landmark


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 600 names of twenty photos of one day, one of them broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(600):
        path = folder / f"{number:04}.jpg"
        if number < 19:
            exif = Image.Exif()
            exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = f"2024:05:06 12:{number:02}:00"
            draw_landmark(number % 6, number).save(path, exif=exif.tobytes())
        elif number == 19:
            path.write_text("no photo")
        else:
            os.link(folder / f"{number % 20:04}.jpg", path)
    return folder


def named(rows: object) -> dict[str, dict]:
    """Rows by photo; each photo once."""
    rows = list(rows)
    found = {row["photo"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_rows_of_a_cluster_are_those_of_one_machine(
    toy_model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ray.parquet"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "models.tag",
            photos,
            "--out",
            out,
            "--model",
            toy_model,
            "--ray",
            "local",
            "--workers",
            "2",
        ],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    STARTED.append(process)
    started = []
    while not started:  # a worker that has begun with its photos
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
        if any((tmp_path / "ray.parquet.partial-ray").glob("begun/*")):
            family = psutil.Process(process.pid).children(recursive=True)
            started = [each for each in family if "MapWorker" in "".join(each.cmdline())]
    started[0].kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "600 photos: 570 tagged" in output
    for noise in ("Warning", "Traceback", "core_worker", "usage stats"):
        assert noise not in output
    assert sorted(os.listdir(tmp_path)) == ["photos", "ray.parquet"]
    here = tmp_path / "here.parquet"
    assert main(TagConfig((str(photos),), here, model=toy_model)) == 0
    rows = named(read_table(out))
    assert rows == named(read_table(here))
    # So the trip is the same, too: what it weighed is in both tables.
    assert sum(row["verdict_in_album"] is not None for row in rows.values()) == 570


def test_a_batch_that_kills_workers_is_given_up(
    toy_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = TagBatch(str(toy_model), None, str(tmp_path))
    paths = [os.fsencode(photos / f"000{i}.jpg") for i in range(3)]
    batch = pyarrow.table({"path": paths, "found_as": [b"a.jpg", b"b.jpg", b"c.jpg"]})
    rows = worker(batch)
    assert rows.schema == parquet_schema()
    assert rows["photo"].to_pylist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert list(tmp_path.glob("*")) == [photos]  # no note of what has ended

    def killed(*_: object) -> None:
        raise SystemExit  # as sudden as a kill, for what comes after

    with monkeypatch.context() as patch:
        patch.setattr(Tagger, "tag", killed)
        for _ in range(TRIES):
            with pytest.raises(SystemExit):
                worker(batch)
    assert worker(batch).num_rows == 0


def test_rows_of_an_interrupted_run_are_kept(
    toy_model: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_process: None,
) -> None:
    tagger = Tagger(Predictor.load(toy_model))
    found = list(find_photos([str(photos)]))[:40]
    listed: list[str] = []

    def map_nothing(lists: Path, *_: object) -> None:
        listed.extend(cluster._read_lists(lists))

    monkeypatch.setattr(cluster, "_map", map_nothing)
    monkeypatch.setattr(cluster, "connected", lambda *_: pytest.MonkeyPatch.context())
    with ResumableTable(tmp_path / "tags.csv", tagger.predictor.digest) as work:
        rows = tmp_path / "tags.csv.partial-ray" / "rows"
        rows.mkdir(parents=True)
        write_table(rows / "whole.parquet", [tagger.tag(path) for path in found[:10]])
        (rows / "half.parquet").write_bytes((rows / "whole.parquet").read_bytes()[:2000])
        new = filter(work.claim, found)
        tag_on_ray(new, tagger, work, "local", 2, lambda _: None)
        # What the cluster left out was done here.
        assert named(work.rows()) == named(tagger.tag(path) for path in found)
    assert listed == found[10:]
    assert not rows.parent.exists()


def test_a_cluster_out_of_reach_is_said(
    toy_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = TagConfig((str(photos),), tmp_path / "tags.csv", model=toy_model, ray="127.0.0.1:1")
    assert main(config) == 1
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].startswith("error: no Ray cluster answers at 127.0.0.1:1")
