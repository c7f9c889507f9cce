"""The page as a service: its API, what it refuses, how it starts and stops."""

import base64
import contextlib
import dataclasses
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import demo
from models.command_line import parse_flags
from models.page.server import PageError, check_certificate, is_private
from models.photos import read_photo
from models.predictor import Predictor
from tests.support.bad_photos import encode
from tests.support.commands import ROOT, Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.page_client import (
    CUT_OFF,
    ONE_OF_EACH_KIND,
    answer_of,
    call,
    classify,
    post,
    upload,
)
from tests.support.placed_model import PLACE, save_placed_model, with_position

PHOTO = encode(draw_landmark(1, 0), "JPEG")


def test_gradio_is_imported_without_its_stub_files() -> None:
    """Comparing them takes almost half of the time until a page opens."""
    script = """
import sys
sys.addaudithook(lambda event, about: event == "open" and files.append(str(about[0])))
files = []
import models.page.app
print(*(name for name in files if name.endswith(".pyi")))
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "\n"), run.stderr


# --- answers ------------------------------------------------------------------------------------


def test_python_client(page: Page, tmp_path: Path, toy_model: Path) -> None:
    from gradio_client import Client, handle_file

    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    client = Client(page.url, verbose=False)
    answer = client.predict(handle_file(str(path)), api_name="/classify")
    expected = Predictor.load(toy_model).classify(path)
    assert answer["label"] == next(iter(expected))
    assert [entry["label"] for entry in answer["confidences"]] == list(expected)
    assert [entry["confidence"] for entry in answer["confidences"]] == pytest.approx(
        list(expected.values()), abs=1e-6
    )
    assert len(expected) == 5 < len(TOY_CLASSES)
    # The toy model has no thresholds: it refuses nothing and is sure of nothing.
    assert (answer["verdict"], answer["known"]) == ("maybe", True)
    assert answer["place"] is None
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/classify"]
    assert [part["component"] for part in endpoints["/classify"]["returns"]] == ["Label"]


def test_curl_lines(page: Page) -> None:
    status, stream = classify(page.url, PHOTO)
    assert status == 200
    assert len(answer_of(stream)["confidences"]) == 5


def test_data_url(page: Page) -> None:
    encoded = base64.b64encode(PHOTO).decode()
    meta = {"meta": {"_type": "gradio.FileData"}}
    status, stream = call(page.url, {"url": f"data:image/jpeg;base64,{encoded}", **meta})
    assert status == 200
    _, wrong = call(page.url, {"url": "data:image/jpeg;base64,AAAA!", **meta})
    assert "not valid base64" in wrong
    assert answer_of(stream) == answer_of(classify(page.url, PHOTO)[1])


def confidences(page: Page, content: bytes, name: str = "photo.jpg") -> dict[str, float]:
    answer = answer_of(classify(page.url, content, name)[1])
    return {entry["label"]: entry["confidence"] for entry in answer["confidences"]}


def test_heic_and_exif_survive_the_upload(page: Page, toy_model: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    predictor = Predictor.load(toy_model)
    for format, name in (("JPEG", "turned.jpg"), ("HEIF", "phone.heic"), ("PNG", "clear.png")):
        image = draw_landmark(0, 1, (300, 90))
        if format == "PNG":
            image.putalpha(120)
        data = encode(image, format, exif=exif.tobytes())
        assert confidences(page, data, name) == pytest.approx(predictor.classify(data), abs=1e-6)


def test_a_large_photo_is_read_reduced(page: Page, toy_model: Path) -> None:
    predictor = Predictor.load(toy_model)
    image = draw_landmark(0, 0, (2000, 1500))
    data = encode(image, "JPEG")
    reduced = read_photo(data, predictor.side_px)
    assert max(reduced.shape) <= 2000 / 4
    in_full = predictor.classify(np.asarray(Image.open(io.BytesIO(data))))
    shown = confidences(page, data)
    assert shown == pytest.approx(predictor.classify(reduced), abs=1e-6)
    assert shown != pytest.approx(in_full, abs=1e-5)  # so the other would tell


def test_nothing_given_is_nothing_answered(page: Page) -> None:
    status, stream = call(page.url, None)
    assert status == 200
    assert "Traceback" not in stream


def test_health(page: Page, toy_model: Path) -> None:
    with urllib.request.urlopen(f"{page.url}/health", timeout=10) as response:
        health = json.load(response)
    digest = Predictor.load(toy_model).digest
    assert health == {"status": "ok", "model": "toy", "digest": digest}


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_bad_photo_gets_its_message_and_the_next_an_answer(page: Page, name: str) -> None:
    content, message = ONE_OF_EACH_KIND[name]
    status, stream = classify(page.url, content)
    assert status == 200
    assert stream.startswith("event: error")
    detail = json.loads(stream.split("data: ", 1)[1].splitlines()[0])
    text = detail["error"] if isinstance(detail, dict) else str(detail)
    assert text.startswith("photo.jpg ")
    assert any(part in text for part in message.split("|"))
    assert "Traceback" not in stream
    assert len(answer_of(classify(page.url, PHOTO)[1])["confidences"]) == 5


def test_html_in_a_file_name_is_harmless(page: Page) -> None:
    _, stream = classify(page.url, b"no photo", "<img src=x onerror=alert(1)>.jpg")
    assert stream.startswith("event: error")
    assert "<img" not in stream


def test_file_over_the_limit_is_refused(page: Page) -> None:
    status, text = upload(page.url, bytes(50 * 1000**2 + 1))
    assert status in (413, CUT_OFF)
    assert "Traceback" not in text
    assert len(answer_of(classify(page.url, PHOTO)[1])["confidences"]) == 5


def test_large_json_is_refused(page: Page) -> None:
    """That no part of it reaches the application: test_security.py."""
    file = {"path": "", "url": "data:image/jpeg;base64," + "A" * 9_000_000}
    body = json.dumps({"data": [file]}).encode()
    status, text = post(f"{page.url}/gradio_api/call/classify", body)
    assert status in (413, CUT_OFF)
    assert "event_id" not in text
    assert status == CUT_OFF or "too large" in text
    assert len(answer_of(classify(page.url, PHOTO)[1])["confidences"]) == 5


def test_large_json_without_a_length_is_refused(page: Page) -> None:
    host = urllib.parse.urlsplit(page.url)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(
            b"POST /gradio_api/call/classify HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"%x\r\n%s\r\n" % (1_000_000, b"A" * 1_000_000)
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # see page_client.post
            for _ in range(9):
                connection.sendall(chunk)
            # No last chunk: an application that wants the body's end would keep silent.
            answer = connection.recv(100)
            assert b"413" in answer
    assert len(answer_of(classify(page.url, PHOTO)[1])["confidences"]) == 5


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.jpg", " HTTPS://example.org/x.jpg"])
def test_remote_url_is_never_fetched(page: Page, url: str) -> None:
    status, text = call(page.url, {"path": url, "meta": {"_type": "gradio.FileData"}})
    assert status == 400
    assert "not fetched" in text


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "pyproject.toml"), "../demo.py"])
def test_files_outside_are_refused(page: Page, path: str) -> None:
    status, text = call(page.url, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert status == 400
    assert "upload them" in text
    quoted = urllib.parse.quote(path)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{page.url}/gradio_api/file={quoted}", timeout=10)
    with caught.value:
        assert caught.value.code in (403, 404)


# --- start and stop -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Ended:
    """A page that answered a photo or two and was then asked to end."""

    url: str
    answers: list[dict]
    streams: str
    output: str
    status: int
    seconds: float


def ask_and_stop(page: Page, photos: list[bytes], number: int) -> Ended:
    streams = [classify(page.url, photo)[1] for photo in photos]
    started = time.monotonic()
    output = page.stop(number)
    seconds = time.monotonic() - started
    answers = list(map(answer_of, streams))
    return Ended(page.url, answers, "".join(streams), output, page.process.returncode, seconds)


@pytest.fixture(scope="module")
def port_in_use() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def ended(toy_model: Path, port_in_use: int, uploads: Path) -> Ended:
    """On a run folder and a port in use, with no way out to share through; ended by SIGTERM."""
    page = Page(
        *("--model", toy_model.parent, "--port", port_in_use, "--share"),
        # A proxy that refuses: what a machine behind a firewall sees, at once.
        HTTPS_PROXY="http://127.0.0.1:9",
        HTTP_PROXY="http://127.0.0.1:9",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
        TMPDIR=str(uploads),
    )
    page.wait_for("no public link")
    upload(page.url, PHOTO, "kept.jpg")
    assert list(uploads.rglob("kept.jpg"))
    return ask_and_stop(page, [PHOTO], signal.SIGTERM)


@pytest.fixture(scope="module")
def ended_https(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """With a certificate, asked for photos of each verdict and one from afar; ended by Ctrl-C."""
    folder = tmp_path_factory.mktemp("https")
    photos = save_placed_model(toy_model, folder / "model.pt", PLACE)
    key, certificate = make_certificate(folder)
    page = Page(
        *("--model", folder / "model.pt", "--port", 7950),
        *("--ssl-certfile", certificate, "--ssl-keyfile", key),
    )
    given = [photos.sure, photos.maybe, photos.none, with_position(photos.sure, 12.3456, 65.4321)]
    return ask_and_stop(page, given, signal.SIGINT)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of it."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl makes the certificate of this test"
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [openssl, *command.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return key, certificate


@pytest.mark.parametrize("name", ["ended", "ended_https"])
def test_clean_stop(request: pytest.FixtureRequest, name: str) -> None:
    page: Ended = request.getfixturevalue(name)
    assert page.status == 0
    assert page.seconds < 8
    assert "Traceback" not in page.output


def test_a_port_in_use_is_passed_by(ended: Ended, port_in_use: int) -> None:
    port = urllib.parse.urlsplit(ended.url).port
    assert port_in_use < port < port_in_use + 100
    assert f"port {port_in_use} is in use; using {port}" in ended.output


def test_a_page_that_cannot_be_shared_works_locally(ended: Ended) -> None:
    assert len(ended.answers[0]["confidences"]) == 5
    assert ended.output.count("\n") == 3, ended.output  # port, address, no link
    assert "no public link" in ended.output


def test_uploads_are_gone_when_the_page_stops(ended: Ended, uploads: Path) -> None:
    assert ended.status == 0
    assert not list(uploads.rglob("*.jpg"))


def test_https_with_a_certificate_of_ones_own(ended_https: Ended) -> None:
    assert ended_https.url.startswith("https://")
    assert len(ended_https.answers) == 4


def test_answer_says_the_verdict_and_where(ended_https: Ended) -> None:
    sure, maybe, none, far = ended_https.answers
    verdicts = [(answer["verdict"], answer["known"]) for answer in ended_https.answers]
    assert verdicts == [("sure", True), ("maybe", True), ("none", False), ("maybe", True)]
    assert sure["place"] == maybe["place"] == far["place"] == PLACE.to_dict()
    assert none["place"] is None
    assert none["known_score"] < maybe["known_score"] < sure["known_score"] == far["known_score"]
    assert len(none["confidences"]) == 5
    # Where the photo was taken is told to nobody.
    assert "12.34" not in ended_https.streams
    assert "12.34" not in ended_https.output


# --- flags --------------------------------------------------------------------------------------

TEXT_FILE = str(ROOT / "pyproject.toml")
WRONG_FLAGS = {
    "no model file at absent.pt": ["--model", "absent.pt"],
    "no model.pt in": ["--model", str(ROOT / "tests")],
    "--model and --artifact exclude": ["--model", TEXT_FILE, "--artifact", "a/b/c:best"],
    "not between 1 and 65535": ["--port", "70000"],
    "must look like user:password": ["--auth", "nopassword"],
    "no file at --ssl-certfile": ["--ssl-certfile", "absent.pem", "--ssl-keyfile", "absent.pem"],
    "go together": ["--ssl-certfile", TEXT_FILE],
    "do not work together": ["--ssl-certfile", TEXT_FILE, "--ssl-keyfile", TEXT_FILE],
    "not an address of this machine": ["--host", "192.0.2.1"],
    "cannot be resolved": ["--host", "a b"],
    "at least 1 second": ["--watch", "0.5"],
    "--watch needs --artifact": ["--watch", "5", "--model", TEXT_FILE],
    "--collect keeps what anybody sends": ["--collect", "kept", "--host", "0.0.0.0"],
    "sends; add --auth": ["--collect", "kept", "--share"],
    "holds train/; name a folder of its own": ["--collect", str(ROOT)],
    "--collect /dev/null cannot be written": ["--collect", "/dev/null"],
}
CHECK_FLAGS = """
import json, sys
import demo
from models.command_line import parse_flags
for flags in json.loads(sys.argv[1]):
    print(demo.main(parse_flags(demo.PageConfig, "demo", args=flags)))
print({"torch", "gradio", "fastapi", "wandb"} & set(sys.modules))
"""


def test_wrong_flags_end_in_one_line_before_anything_heavy_is_imported() -> None:
    run = subprocess.run(
        [sys.executable, "-c", CHECK_FLAGS, json.dumps(list(WRONG_FLAGS.values()))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert run.stdout.splitlines() == ["2"] * len(WRONG_FLAGS) + ["set()"], run.stderr
    lines = run.stderr.splitlines()
    for line, message in zip(lines, WRONG_FLAGS, strict=True):
        assert line.startswith("error: ")
        assert message in line


def test_only_this_machine_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert is_private(host, share=False)
        assert not is_private(host, share=True)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        assert not is_private(host, share=False)
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/landmarks")  # behind a proxy
    assert not is_private("127.0.0.1", share=False)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    key, certificate = make_certificate(tmp_path / "one")
    check_certificate(certificate, key)
    other_key, _ = make_certificate(tmp_path / "other")
    with pytest.raises(PageError, match="do not work together"):
        check_certificate(certificate, other_key)


def test_a_file_that_is_no_model_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # put back afterwards
    assert demo.main(parse_flags(demo.PageConfig, "demo", args=["--model", TEXT_FILE])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "is no model file" in line
