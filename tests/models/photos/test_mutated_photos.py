"""Thousands of broken and hostile files: each is answered or refused, and the page survives.

The small run is for every commit; the full one:
pytest -m slow tests/models/photos/test_mutated_photos.py
"""

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from models.photos import PhotoError
from models.predictor import Predictor
from tests.support.bad_photos import encode
from tests.support.commands import ROOT, Page
from tests.support.drawing import draw_landmark
from tests.support.mutated_photos import Mutated, mutated

SEED = 0
FULL = 3000
MAX_SECONDS = 5
MAX_MEMORY_MB = 1500
STATUS = Path("/proc/self/status")
needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="no /proc: memory cannot be read")
# Pillow's, about metadata; in the page and in tag they are silenced as in models.photos.decoding.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")


def peak_mb(process: int) -> float:
    """The most memory that a process has held so far."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    raise AssertionError("no VmHWM")


def check_message(message: str, name: str) -> None:
    """What a person reads when a photo is refused."""
    assert message.startswith(name), message
    assert len(message) < 300
    assert message.isprintable(), message


def check_reader(files: list[Mutated], model: Path, folder: Path) -> Counter[str]:
    """Send files through reader and model: from a path, or from memory where none can exist."""
    predictor, outcomes = Predictor.load(model), Counter()
    for each in files:
        source = each.data
        if "/" not in each.name and len(each.name.encode()) < 256:
            source = folder / each.name
            source.write_bytes(each.data)
        started = time.perf_counter()
        try:
            assert len(predictor.answer(source).probabilities) == 5, each.how
            outcomes["answered"] += 1
        except PhotoError as error:
            check_message(str(error), "the photo " if isinstance(source, bytes) else "")
            outcomes["refused"] += 1
        assert time.perf_counter() - started < MAX_SECONDS, each.how
        if isinstance(source, Path):
            source.unlink()
    return outcomes


def classify(client: httpx.Client, name: str, data: bytes) -> tuple[int, str]:
    """Ask as curl does: the upload's status, or 200 and the event stream of the answer."""
    upload = client.post("/upload", files={"files": (name, data, "image/jpeg")})
    if upload.status_code != 200:
        return upload.status_code, upload.text
    file = {"path": upload.json()[0], "meta": {"_type": "gradio.FileData"}}
    call = client.post("/call/classify", json={"data": [file]})
    if call.status_code != 200:
        return call.status_code, call.text
    stream = client.get(f"/call/classify/{call.json()['event_id']}")
    return stream.status_code, stream.text


def check_page(files: list[Mutated], page: Page) -> Counter[str]:
    with httpx.Client(base_url=f"{page.url}/gradio_api", timeout=60) as client:
        outcomes = ask_all(files, client)
    assert set(outcomes) <= {"event: complete", "event: error", "400", "413", "422"}, outcomes
    if STATUS.exists():
        assert peak_mb(page.process.pid) < MAX_MEMORY_MB
    return outcomes


def ask_all(files: list[Mutated], client: httpx.Client) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    good = encode(draw_landmark(1, 0), "JPEG")
    expected = classify(client, "good.jpg", good)[1]
    assert expected.startswith("event: complete")
    for count, each in enumerate(files):
        started = time.perf_counter()
        status, text = classify(client, each.name, each.data)
        seconds = time.perf_counter() - started
        assert seconds < MAX_SECONDS, (each.how, seconds)
        assert status == 200 or 400 <= status < 500, (each.how, each.name, status, text)
        assert "Traceback" not in text, (each.how, text)
        outcome = str(status)
        if status == 200:  # the last event; heartbeats come before it
            outcome, data = text.strip().split("\n\n")[-1].split("\n")
        if outcome == "event: error":  # an unforeseen error would have no message
            message = json.loads(data.removeprefix("data: "))["error"]
            check_message(message, "")
            assert "<" not in message
        outcomes[outcome] += 1
        if count % 100 == 99:
            assert classify(client, "good.jpg", good)[1] == expected
    assert classify(client, "good.jpg", good)[1] == expected
    return outcomes


def test_the_same_seed_makes_the_same_files() -> None:
    assert list(mutated(40, SEED)) == list(mutated(40, SEED))
    assert [each.data for each in mutated(40, SEED)] != [each.data for each in mutated(40, 1)]
    # A file depends only on its place, so one that fails in the full run can be made by itself.
    assert list(mutated(80, SEED))[:40] == list(mutated(40, SEED))


def test_reader_and_model(toy_model: Path, tmp_path: Path) -> None:
    outcomes = check_reader(list(mutated(100, SEED)), toy_model, tmp_path)
    assert min(outcomes["answered"], outcomes["refused"]) > 20, outcomes


def test_page_and_api(page: Page) -> None:
    outcomes = check_page(list(mutated(16, SEED + 1)), page)
    assert outcomes["event: complete"] > 2 < outcomes["event: error"], outcomes


@pytest.mark.slow
def test_reader_and_model_in_full(toy_model: Path, tmp_path: Path) -> None:
    outcomes = check_reader(list(mutated(FULL, SEED)), toy_model, tmp_path)
    assert min(outcomes["answered"], outcomes["refused"]) > FULL / 10, outcomes


@pytest.mark.slow
@needs_proc
def test_page_and_api_in_full(page: Page) -> None:
    outcomes = check_page(list(mutated(FULL, SEED)), page)
    assert min(outcomes["event: complete"], outcomes["event: error"]) > FULL / 10, outcomes


@pytest.mark.slow
@needs_proc
def test_tag_in_full(toy_model: Path, tmp_path: Path) -> None:
    folder, table, peak = tmp_path / "photos", tmp_path / "tags.csv", 0.0
    folder.mkdir()
    for index, each in enumerate(mutated(FULL, SEED)):
        base = each.name.replace("/", "?")
        (folder / f"{index} {base[-200:]}").write_bytes(each.data)
    command = [sys.executable, "-m", "models.tag", folder, "--model", toy_model, "--out", table]
    with (tmp_path / "log").open("w+") as log:
        run = subprocess.Popen(
            [*map(str, command), "--workers", "1"], cwd=ROOT, stdout=log, stderr=log
        )
        while run.poll() is None:
            for process in [run.pid, *children(run.pid)]:
                try:
                    peak = max(peak, peak_mb(process))
                except (OSError, AssertionError):
                    continue  # it has just ended
            time.sleep(0.2)
        log.seek(0)
        said = log.read()
    assert run.returncode == 0, said[-2000:]
    assert "Traceback" not in said
    assert peak < MAX_MEMORY_MB
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FULL
    for row in rows:
        assert bool(row["error"]) != bool(row["label_1"]), row
        assert " failed: " not in row["error"], row  # what tag says of an unforeseen exception


def children(process: int) -> list[int]:
    """Processes that a process has started, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*"):
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found + [grandchild for child in found for grandchild in children(child)]


def test_a_name_that_is_not_text_is_refused_politely(tmp_path: Path, toy_model: Path) -> None:
    """Names on a disk are bytes; Python shows undecodable ones as half characters."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.jpg")
    Path(path).write_bytes(b"no photo")
    with pytest.raises(PhotoError) as caught:
        Predictor.load(toy_model).answer(path)
    assert str(caught.value).startswith("caf??.jpg is a text file")
