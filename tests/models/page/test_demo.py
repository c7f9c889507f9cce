"""The page as a service: its API, what it refuses, how it starts and stops."""

import base64
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
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from models.predictor import Predictor
from tests.support.bad_photos import BAD_PHOTOS, encode
from tests.support.commands import ROOT, Page
from tests.support.drawing import TOY_CLASSES, draw_landmark
from tests.support.placed_model import PLACE, save_placed_model, with_position

PHOTO = encode(draw_landmark(1, 0), "JPEG")


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
    """Status and body of a POST, whatever the status."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def upload(page: Page, content: bytes, name: str = "photo.jpg") -> tuple[int, str]:
    boundary = "----boundary"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return post(f"{page.url}/gradio_api/upload", body, f"multipart/form-data; boundary={boundary}")


def call(page: Page, file: dict | None) -> tuple[int, str]:
    """What curl does: POST the data, then read the event stream."""
    status, text = post(
        f"{page.url}/gradio_api/call/classify", json.dumps({"data": [file]}).encode()
    )
    if status != 200:
        return status, text
    event = json.loads(text)["event_id"]
    stream = f"{page.url}/gradio_api/call/classify/{event}"
    with urllib.request.urlopen(stream, timeout=60) as response:
        return response.status, response.read().decode()


def classify(page: Page, content: bytes, name: str = "photo.jpg") -> tuple[int, str]:
    status, text = upload(page, content, name)
    if status != 200:
        return status, text
    return call(page, {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}})


def answer_of(stream: str) -> dict:
    assert stream.startswith("event: complete"), stream
    return json.loads(stream.split("data: ", 1)[1].splitlines()[0])[0]


def test_python_client(page: Page, tmp_path: Path, toy_model: Path) -> None:
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
    assert answer["known"] is True  # the toy model has no threshold
    assert answer["place"] is None
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/classify"]
    assert [part["component"] for part in endpoints["/classify"]["returns"]] == ["Label"]


def test_curl_lines(page: Page) -> None:
    status, stream = classify(page, PHOTO)
    assert status == 200
    assert len(answer_of(stream)["confidences"]) == 5


def test_answer_says_if_the_landmark_is_known_and_where(toy_model: Path, tmp_path: Path) -> None:
    known, unknown = save_placed_model(toy_model, tmp_path / "model.pt", PLACE)
    page = Page("--model", tmp_path / "model.pt", "--port", 7965)
    try:
        status, stream = classify(page, with_position(known, 12.3456, 65.4321))
        assert status == 200
        assert json.loads(stream.split("data: ", 1)[1].splitlines()[0])[1:] == []
        assert "12.34" not in stream  # where the photo was taken is not told
        answer, other = answer_of(stream), answer_of(classify(page, unknown)[1])
    finally:
        output = page.stop()
    assert answer["known"] is True
    assert answer["place"] == PLACE.to_dict()
    assert other["known"] is False
    assert other["place"] is None
    assert other["known_score"] < answer["known_score"]
    assert len(other["confidences"]) == 5
    assert "12.34" not in output


def test_data_url(page: Page) -> None:
    encoded = base64.b64encode(PHOTO).decode()
    meta = {"meta": {"_type": "gradio.FileData"}}
    status, stream = call(page, {"url": f"data:image/jpeg;base64,{encoded}", **meta})
    assert status == 200
    _, wrong = call(page, {"url": "data:image/jpeg;base64,AAAA!", **meta})
    assert "not valid base64" in wrong
    assert answer_of(stream) == answer_of(classify(page, PHOTO)[1])


def test_heic_and_exif_survive_the_upload(page: Page, toy_model: Path, tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    predictor = Predictor.load(toy_model)
    for format, name in (("JPEG", "turned.jpg"), ("HEIF", "phone.heic"), ("PNG", "clear.png")):
        image = draw_landmark(0, 1, (300, 90))
        if format == "PNG":
            image.putalpha(120)
        data = encode(image, format, exif=exif.tobytes())
        answer = answer_of(classify(page, data, name)[1])
        expected = predictor.classify(data)
        shown = {entry["label"]: entry["confidence"] for entry in answer["confidences"]}
        assert shown == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photo_gets_its_message_and_the_next_an_answer(page: Page, name: str) -> None:
    content, message = BAD_PHOTOS[name]
    status, stream = classify(page, content)
    assert status == 200
    assert stream.startswith("event: error")
    detail = json.loads(stream.split("data: ", 1)[1].splitlines()[0])
    text = detail["error"] if isinstance(detail, dict) else str(detail)
    assert text.startswith("photo.jpg ")
    assert any(part in text for part in message.split("|"))
    assert "Traceback" not in stream
    assert len(answer_of(classify(page, PHOTO)[1])["confidences"]) == 5


def test_there_are_thirty_causes() -> None:
    assert len(BAD_PHOTOS) >= 30
    assert len({content for content, _ in BAD_PHOTOS.values()}) == len(BAD_PHOTOS)


def test_nothing_given_is_nothing_answered(page: Page) -> None:
    status, stream = call(page, None)
    assert status == 200
    assert "Traceback" not in stream


def test_html_in_a_file_name_is_harmless(page: Page) -> None:
    _, stream = classify(page, b"no photo", "<img src=x onerror=alert(1)>.jpg")
    assert stream.startswith("event: error")
    assert "<img" not in stream


def test_file_over_the_limit_is_refused(page: Page) -> None:
    status, text = upload(page, bytes(50 * 1000**2 + 1))
    assert status == 413
    assert "Traceback" not in text


def test_large_json_is_refused(page: Page) -> None:
    file = {"path": "", "url": "data:image/jpeg;base64," + "A" * 9_000_000}
    status, text = call(page, file)
    assert status == 413
    assert "too large" in text


def test_large_json_without_a_length_is_refused(page: Page) -> None:
    host = urllib.parse.urlsplit(page.url)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(
            b"POST /gradio_api/call/classify HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"%x\r\n%s\r\n" % (1_000_000, b"A" * 1_000_000)
        for _ in range(9):
            connection.sendall(chunk)
        assert b"413" in connection.recv(100)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.jpg", " HTTPS://example.org/x.jpg"])
def test_remote_url_is_never_fetched(page: Page, url: str) -> None:
    status, text = call(page, {"path": url, "meta": {"_type": "gradio.FileData"}})
    assert status == 400
    assert "not fetched" in text


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "pyproject.toml"), "../demo.py"])
def test_files_outside_are_refused(page: Page, path: str) -> None:
    status, text = call(page, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert status == 400
    assert "upload them" in text
    quoted = urllib.parse.quote(path)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{page.url}/gradio_api/file={quoted}", timeout=10)
    with caught.value:
        assert caught.value.code in (403, 404)


def test_health(page: Page, toy_model: Path) -> None:
    with urllib.request.urlopen(f"{page.url}/health", timeout=10) as response:
        health = json.load(response)
    digest = Predictor.load(toy_model).digest
    assert health == {"status": "ok", "model": "toy", "digest": digest}


def login(page: Page, password: str) -> int:
    body = urllib.parse.urlencode({"username": "ann", "password": password}).encode()
    return post(f"{page.url}/login", body, "application/x-www-form-urlencoded")[0]


def test_password_is_asked_for_and_guessing_is_throttled(toy_model: Path) -> None:
    page = Page("--model", toy_model, "--port", 7920, LANDMARKS_AUTH="ann:secret:word")
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{page.url}/config", timeout=10)
        caught.value.close()
        assert caught.value.code == 401
        assert login(page, "secret:word") == 200
        assert [login(page, f"wrong{i}") for i in range(6)] == [400] * 5 + [429]
        assert login(page, "secret:word") == 429
    finally:
        output = page.stop()
    assert page.process.returncode == 0
    assert "secret" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop_and_next_free_port(toy_model: Path, number: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 7930))
        taken.listen()
        page = Page("--model", toy_model.parent, "--port", 7930)  # a run folder
    assert page.url == "http://127.0.0.1:7931"
    started = time.monotonic()
    output = page.stop(number)
    assert page.process.returncode == 0
    assert time.monotonic() - started < 8
    assert "port 7930 is in use; taking 7931" in output
    assert "Traceback" not in output


def test_share_without_a_way_out_goes_on_locally(toy_model: Path) -> None:
    # A proxy that refuses: what a machine behind a firewall sees, at once.
    page = Page(
        "--model", toy_model, "--port", 7940, "--share",
        HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9",
        NO_PROXY="127.0.0.1", no_proxy="127.0.0.1",
    )  # fmt: skip
    deadline = time.monotonic() + 25
    while "no public link" not in "".join(page.lines) and time.monotonic() < deadline:
        page.lines.append(page.process.stdout.readline())
    assert len(answer_of(classify(page, PHOTO)[1])["confidences"]) == 5
    output = page.stop()
    assert output.count("\n") == 2, output
    assert "no public link" in output


def test_https_with_a_certificate_of_ones_own(toy_model: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "openssl makes the certificate of this test"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    page = Page(
        "--model", toy_model, "--port", 7950, "--ssl-certfile", certificate, "--ssl-keyfile", key
    )
    assert page.url.startswith("https://")
    page.stop()
    assert page.process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "absent.pt"], "no model file at absent.pt"),
        (["--model", str(ROOT / "tests")], "no model.pt in"),
        (["--model", str(ROOT / "pyproject.toml")], "not a complete model file"),
        (["--port", "70000"], "not between 1 and 65535"),
        (["--auth", "nopassword"], "must look like user:password"),
        (["--ssl-certfile", "absent.pem", "--ssl-keyfile", "absent.pem"], "no file at"),
        (["--ssl-certfile", str(ROOT / "pyproject.toml")], "go together"),
        (["--host", "192.0.2.1"], "not an address of this machine"),
    ],
)
def test_wrong_flags_end_in_one_line(arguments: list[str], message: str, toy_model: Path) -> None:
    if "--model" not in arguments:
        arguments = ["--model", str(toy_model), *arguments]
    run = subprocess.run(
        [sys.executable, "demo.py", *arguments], capture_output=True, text=True, cwd=ROOT,
        timeout=60,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_uploads_are_gone_when_the_page_stops(toy_model: Path, tmp_path: Path) -> None:
    page = Page("--model", toy_model, "--port", 7960, TMPDIR=str(tmp_path))
    classify(page, PHOTO)
    assert list(tmp_path.rglob("photo.jpg"))
    page.stop()
    assert not list(tmp_path.rglob("photo.jpg"))


def test_handler_reads_a_large_photo_reduced(toy_model: Path) -> None:
    buffer = io.BytesIO()
    draw_landmark(0, 0, (2000, 1500)).save(buffer, "JPEG")
    assert len(Predictor.load(toy_model).classify(buffer.getvalue())) == 5
