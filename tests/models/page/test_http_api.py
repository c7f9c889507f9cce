"""The page for programs: POST /api/classify, its limits and password, and lines to copy."""

import base64
import contextlib
import html
import io
import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import models.page.http_api
from models.page.http_api import MAX_PHOTOS, build_api
from models.page.request_guard import BUSY, MAX_WRONG_PASSWORDS
from models.predictor import Predictor
from models.sources.served_model import ModelSource
from tests.support.bad_photos import encode
from tests.support.commands import Page
from tests.support.drawing import draw_landmark
from tests.support.page_client import answer_of, classify

PHOTOS = [encode(draw_landmark(label, 0), "JPEG") for label in (1, 2)]


def form(photos: list[bytes]) -> bytes:
    """The body of a form with these photos, with the boundary "cut"."""
    parts = (
        b'--cut\r\nContent-Disposition: form-data; name="photo"; filename="%d.jpg"\r\n\r\n%s\r\n'
        % (number, photo)
        for number, photo in enumerate(photos)
    )
    return b"".join(parts) + b"--cut--\r\n"


def post(url: str, photos: list[bytes], password: str = "") -> tuple[int, dict | list]:
    """Status and answer of /api/classify."""
    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    if password:
        token = base64.b64encode(f"ann:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    request = urllib.request.Request(f"{url}/api/classify", form(photos), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_photo_is_answered_as_classify_does(page: Page) -> None:
    status, answer = post(page.url, PHOTOS[:1])
    assert status == 200
    assert answer == answer_of(classify(page.url, PHOTOS[0])[1])


def test_several_photos_get_a_list(page: Page) -> None:
    status, answers = post(page.url, PHOTOS)
    assert status == 200
    assert answers == [post(page.url, [photo])[1] for photo in PHOTOS]


def test_a_bad_photo_gets_its_reason(page: Page) -> None:
    status, answer = post(page.url, [b"%PDF-1.4"])
    assert status == 400
    assert answer["detail"].startswith("the photo is a PDF document")
    status, answer = post(page.url, [PHOTOS[0], b"", PHOTOS[1]])
    assert status == 400
    assert answer["detail"].startswith("1.jpg: the photo is empty")
    assert post(page.url, [])[0] == 422


def test_a_photo_over_the_limit_is_refused(page: Page) -> None:
    status, answer = post(page.url, [bytes(50 * 1000**2 + 1)])
    assert status == 400
    assert "over 50 MB" in answer["detail"]


def test_too_many_photos_at_once_are_refused(page: Page) -> None:
    status, answer = post(page.url, [b"x"] * (MAX_PHOTOS + 1))
    assert status == 400
    assert f"at most {MAX_PHOTOS}" in answer["detail"]


def test_a_busy_page_says_when_to_try_again(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, done = threading.Event(), threading.Event()

    def wait(*_: object) -> list:
        working.set()
        assert done.wait(20)
        return []

    monkeypatch.setattr(models.page.http_api, "answer_photos", wait)
    monkeypatch.setattr(models.page.http_api, "MAX_WAITING", 1)
    app = FastAPI()
    app.include_router(build_api(ModelSource(SimpleNamespace(predictor=None))))
    files = {"photo": ("a.jpg", PHOTOS[0])}
    with TestClient(app) as client:
        first = threading.Thread(
            target=client.post, args=["/api/classify"], kwargs={"files": files}
        )
        first.start()
        assert working.wait(20)
        second = client.post("/api/classify", files=files)
        done.set()
        first.join()
        assert (second.status_code, second.json()) == (503, {"detail": BUSY})
        assert int(second.headers["retry-after"]) > 0
        assert client.post("/api/classify", files=files).status_code == 200  # it is free again


def test_the_openapi_documents_have_their_endpoints(page: Page) -> None:
    with urllib.request.urlopen(f"{page.url}/openapi.json", timeout=20) as response:
        own = json.load(response)
    operation = own["paths"]["/api/classify"]["post"]
    assert {"200", "400", "503"} <= set(operation["responses"])
    assert "verdict" in own["components"]["schemas"]["AnswerData"]["properties"]
    with urllib.request.urlopen(f"{page.url}/gradio_api/openapi.json", timeout=20) as response:
        assert "/gradio_api/call/v2/classify" in json.load(response)["paths"]


# --- the lines to copy --------------------------------------------------------------------------


@pytest.fixture
def lines(page: Page) -> dict[str, str]:
    """What /api shows to copy."""
    with urllib.request.urlopen(f"{page.url}/api", timeout=20) as response:
        text = response.read().decode()
    found = re.findall(r'<pre id="(\w+)">(.*?)</pre>', text, re.DOTALL)
    return {name: html.unescape(snippet) for name, snippet in found}


@pytest.mark.parametrize("name", ["curl", "gradio"])
def test_lines_for_the_shell_work(lines: dict[str, str], tmp_path: Path, name: str) -> None:
    assert shutil.which("curl"), "curl tries the lines of this test"
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0])
    run = subprocess.run(
        ["sh", "-c", lines[name]], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert '"verdict":' in run.stdout, run.stdout + run.stderr


def test_lines_for_python_work(
    lines: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_model: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0])
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(lines["python"], {})
    assert next(iter(Predictor.load(toy_model).classify(PHOTOS[0]))) in printed.getvalue()


# --- with a password ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(toy_model: Path) -> Iterator[Page]:
    running = Page("--model", toy_model, "--port", 7985, LANDMARKS_AUTH="ann:secret:word")
    yield running
    output = running.stop()
    assert "secret" not in output
    assert "Traceback" not in output


def test_a_password_is_asked_for_and_guessing_is_throttled(locked: Page) -> None:
    assert post(locked.url, PHOTOS[:1])[0] == 401
    assert post(locked.url, PHOTOS[:1], "secret:word")[0] == 200
    guesses = [post(locked.url, PHOTOS[:1], f"wrong{n}")[0] for n in range(MAX_WRONG_PASSWORDS + 1)]
    assert guesses == [401] * MAX_WRONG_PASSWORDS + [429]
    assert post(locked.url, PHOTOS[:1], "secret:word")[0] == 429
