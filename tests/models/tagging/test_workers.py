"""Tagging in several processes: photos that kill one, signals, kills, steady memory."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from models.predictor import Predictor
from models.tag import TagConfig, main
from models.tagging import workers
from models.tagging.photo_list import find_photos
from models.tagging.resumable_table import ResumableTable
from models.tagging.table import Row, read_table
from models.tagging.tagger import Tagger
from models.tagging.workers import WorkerError, tag_photos
from tests.support.commands import ROOT, STARTED
from tests.support.drawing import draw_landmark

RESUME = "run the same command again to resume"


def test_rows_come_in_order_and_say_what_the_model_says(model: Path, photos: Path) -> None:
    paths, tagger = list(find_photos([str(photos)])), Tagger(Predictor.load(model))
    rows = list(tag_photos(paths, tagger, 2))
    assert rows == [(path, tagger.tag(path)) for path in paths]
    assert len(rows) == 8


def deadly_chunk(paths: list[str]) -> list[Row]:
    """What a worker does, but photos of some names kill it."""
    if any("deadly" in path for path in paths):
        os.kill(os.getpid(), signal.SIGKILL)
    return workers._tag_chunk(paths)


def test_photos_that_kill_their_worker(
    model: Path, many_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two neighbours in different chunks, and photos before, between and after them."""
    paths = list(find_photos([str(many_photos)]))[:24]
    for number in (7, 8):
        paths[number] = shutil.copy(paths[number], many_photos / f"{number:05} deadly.jpg")
    paths = [str(path) for path in paths]
    monkeypatch.setattr(workers, "_tag_chunk", deadly_chunk)
    rows = list(tag_photos(paths, Tagger(Predictor.load(model)), 2))
    assert [path for path, _ in rows] == paths
    for path, row in rows:
        assert row["photo"] == path
        assert ("killed the process" in str(row["error"])) == ("deadly" in path)
        assert (row["label_1"] is None) == ("deadly" in path)


def test_a_model_that_is_gone_is_said(model: Path, photos: Path, tmp_path: Path) -> None:
    path = shutil.copy(model, tmp_path / "model.pt")
    tagger = Tagger(Predictor.load(path))
    path.unlink()
    with pytest.raises(WorkerError, match="no model file"):
        list(tag_photos(find_photos([str(photos)]), tagger, 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_resumes(
    number: int,
    model: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    """A system sends SIGTERM to the command; a terminal sends Ctrl-C to its workers too."""
    me, children = psutil.Process(), []
    others = set(me.children(recursive=True))  # such as a page that other tests share

    def cut(*arguments: object) -> Iterator[tuple[str, Row]]:
        for count, each in enumerate(tag_photos(*arguments)):
            if count == 5:
                children.extend(set(me.children(recursive=True)) - others)
                for child in children if number == signal.SIGINT else ():
                    child.send_signal(number)
                os.kill(os.getpid(), number)
            yield each

    out, before = tmp_path / "tags.csv", signal.getsignal(signal.SIGTERM)
    config = TagConfig((str(photos),), out, model, workers=2)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
    try:
        with monkeypatch.context() as patch:
            patch.setattr("models.tag.tag_photos", cut)
            assert main(config) == 130
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert signal.getsignal(signal.SIGTERM) == before
    shown = capfd.readouterr().err
    assert shown.endswith(f"stopped; {RESUME}\n")
    assert "Traceback" not in shown  # a worker's either
    assert len(children) >= 2
    assert os.listdir(tmp_path) == ["tags.csv.partial"]
    with ResumableTable(out, Predictor.load(model).digest) as table:
        assert table.counts().photos == 5
    assert main(config) == 0
    assert len(list(read_table(out))) == 8


def test_a_killed_run_leaves_no_process_and_resumes(
    model: Path, many_photos: Path, tmp_path: Path, one_process: None
) -> None:
    """A kill leaves the command no time for anything: its workers must notice by themselves."""
    out, log = tmp_path / "tags.csv", tmp_path / "tags.csv.partial-wal"
    arguments = [many_photos, "--out", out, "--model", model, "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "models.tag", *map(str, arguments)],
        cwd=ROOT,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    STARTED.append(process)
    while not (log.exists() and log.stat().st_size > 100_000):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert not out.exists()
    with ResumableTable(out, Predictor.load(model).digest) as table:
        done = table.counts().photos
    assert 0 < done < 1500
    # What is left is enough to see that it resumes.
    for path in sorted(many_photos.iterdir())[done + 50 :]:
        path.unlink()
    assert main(TagConfig((str(many_photos),), out, model)) == 0
    found = [row["photo"] for row in read_table(out)]
    assert found == list(find_photos([many_photos.as_posix()]))
    assert len(found) == done + 50
    assert sorted(os.listdir(tmp_path)) == ["many", "tags.csv"]


def steady(model: Path, folder: Path, out: Path, count: int, limit_mb: float) -> None:
    """Memory of this process and its workers at a third and at the end of many photos."""
    tagger, used = Tagger(Predictor.load(model)), []
    me = psutil.Process()
    with ResumableTable(out, tagger.predictor.digest) as table:
        new = filter(table.claim, find_photos([str(folder)]))
        for number, (path, row) in enumerate(tag_photos(new, tagger, 2), 1):
            table.add([(path, row)])
            if number in (count // 3, count):
                all_of_us = [me, *me.children(recursive=True)]
                used.append(sum(each.memory_info().rss for each in all_of_us) / 1e6)
        assert table.counts().photos == count
    assert len(used) == 2
    assert used[1] - used[0] < limit_mb, f"{used} MB"


def test_memory_is_steady(model: Path, many_photos: Path, tmp_path: Path) -> None:
    for path in sorted(many_photos.iterdir())[600:]:
        path.unlink()
    steady(model, many_photos, tmp_path / "tags.csv", 600, limit_mb=8)


@pytest.mark.slow
def test_memory_is_steady_over_100_000_photos(model: Path, tmp_path: Path) -> None:
    draw_landmark(0, 0).save(tmp_path / "photo.jpg")
    for part in range(10):  # a file system allows 65,000 names of one file
        folder = tmp_path / "photos" / str(part)
        folder.mkdir(parents=True)
        first = shutil.copy(tmp_path / "photo.jpg", folder / "00000.jpg")
        for number in range(1, 10_000):
            os.link(first, folder / f"{number:05}.jpg")
    steady(model, tmp_path / "photos", tmp_path / "tags.csv", 100_000, limit_mb=20)
