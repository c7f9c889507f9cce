"""Passwords, and files that are nobody's business."""

import asyncio
import hashlib
import http.client
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import models.page.request_guard
from models.page.request_guard import (
    BUSY,
    LOCK_SECONDS,
    MAX_OTHER_BYTES,
    MAX_UPLOAD_BYTES,
    MAX_WRONG_IN_ALL,
    RequestGuard,
    delete_old,
)
from tests.support.bad_photos import encode
from tests.support.commands import ROOT, Page
from tests.support.drawing import draw_landmark
from tests.support.page_client import post, upload

PHOTO = encode(draw_landmark(1, 0), "JPEG")
# None may be read through the page, wherever in an address it stands.
SECRETS = ("/etc/passwd", str(ROOT / "pyproject.toml"), str(ROOT / "models" / "page" / "app.py"))
CLIMBS = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%252f", "..\\", "....//", "%c0%ae%c0%ae/")
DOORS = (
    "/gradio_api/file=",
    "/gradio_api/file/",
    "/file=",
    "/static/",
    "/assets/",
    "/svelte/",
    "/gradio_api/proxy=",
    "/gradio_api/custom_component/",
    "/gradio_api/stream/x/0/0/",
    "/pwa_icon/",
    "/gradio_api/component_server/",
    "/",
)


def get(page: Page, path: str) -> tuple[int, bytes]:
    """A GET of exactly this path: urllib and httpx would tidy up the dots."""
    address = urllib.parse.urlsplit(page.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    try:
        connection.putrequest("GET", path)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


# --- passwords ----------------------------------------------------------------------------------


class Door:
    """A guard in front of an application with one password, asked from any address at any time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int = 0) -> None:
        self.now, self.asked, self.status = 1000.0, 0, status
        monkeypatch.setattr(models.page.request_guard.time, "monotonic", lambda: self.now)
        self.guard = RequestGuard(self.app, tmp_path)

    async def app(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        self.asked += 1
        right = b"password=right" in (await receive())["body"]
        status = self.status or (200 if right else 400)
        await send({"type": "http.response.start", "headers": [], "status": status})
        await send({"type": "http.response.body", "body": b"of the application"})

    def knock(
        self, password: str, address: str = "192.0.2.1", path: str = "/login"
    ) -> tuple[int, str]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": f"password={password}".encode()}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "headers": []}
        scope |= {"path": path, "client": (address, 1)}
        asyncio.run(self.guard(scope, receive, send))
        assert [message["type"][14:] for message in sent] == ["start", "body"]
        self.headers = dict(sent[0]["headers"])
        return sent[0]["status"], sent[1]["body"].decode()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Door:
    return Door(monkeypatch, tmp_path)


def test_five_wrong_passwords_close_the_door_for_a_minute(door: Door) -> None:
    assert [door.knock("wrong")[0] for _ in range(7)] == [400] * 5 + [429] * 2
    assert door.asked == 5  # a guess too many is not even compared
    assert door.knock("right")[0] == 429
    assert door.knock("right", "192.0.2.2")[0] == 200  # from elsewhere
    door.now += LOCK_SECONDS + 1
    assert door.knock("right")[0] == 200  # later


def test_the_right_password_forgets_only_the_wrong_ones_of_its_address(door: Door) -> None:
    for _ in range(4):
        door.knock("wrong")
        door.knock("wrong", "192.0.2.2")
    assert door.knock("right")[0] == 200
    assert [door.knock("wrong")[0] for _ in range(6)] == [400] * 5 + [429]
    assert [door.knock("wrong", "192.0.2.2")[0] for _ in range(2)] == [400, 429]


def test_changing_addresses_do_not_help_a_guesser(door: Door) -> None:
    """Behind a proxy on this machine, an address is what a header claims."""
    statuses = [door.knock("wrong", f"2001:db8::{i:x}")[0] for i in range(MAX_WRONG_IN_ALL + 20)]
    assert statuses == [400] * MAX_WRONG_IN_ALL + [429] * 20
    assert len(door.guard.wrong_logins) == MAX_WRONG_IN_ALL  # nor do they fill the memory
    door.now += LOCK_SECONDS + 1
    assert door.knock("right")[0] == 200
    assert len(door.guard.wrong_logins) == 0


def test_a_full_queue_is_told_politely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    door = Door(monkeypatch, tmp_path, status=503)
    status, text = door.knock("", path="/gradio_api/call/classify")
    assert (status, json.loads(text)) == (503, {"detail": BUSY})
    assert "try again" in BUSY
    assert int(door.headers[b"retry-after"]) > 0


def test_passwords_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio compares, not this project: that it does so through hmac is pinned here."""
    import gradio.route_utils

    compared = []
    monkeypatch.setattr(
        gradio.route_utils.hmac, "compare_digest", lambda *pair: compared.append(pair) or False
    )
    assert not gradio.route_utils.compare_passwords_securely("guess", "secret")
    assert compared == [(b"guess", b"secret")]


@pytest.fixture(scope="module")
def locked(toy_model: Path) -> Iterator[Page]:
    """A page that asks for a password with a colon in it."""
    running = Page("--model", toy_model, "--port", 7980, LANDMARKS_AUTH="ann:secret:word")
    yield running
    output = running.stop()
    assert running.process.returncode == 0
    assert "secret" not in output
    assert "Traceback" not in output


def test_nothing_is_served_without_the_password(locked: Page) -> None:
    for path in ("/config", "/gradio_api/info", "/gradio_api/file=/etc/passwd"):
        assert get(locked, path)[0] == 401, path
    for path in ("call/classify", "queue/join", "upload", "run/classify", "call/v2/classify"):
        status, text = post(f"{locked.url}/gradio_api/{path}", b'{"data": [null]}')
        assert status == 401, (path, text)
    assert b"secret" not in get(locked, "/")[1]


def login(page: Page, password: str) -> int:
    body = urllib.parse.urlencode({"username": "ann", "password": password}).encode()
    return post(f"{page.url}/login", body, "application/x-www-form-urlencoded")[0]


def test_password_is_asked_for_and_guessing_is_throttled(locked: Page) -> None:
    assert get(locked, "/config")[0] == 401
    assert login(locked, "secret:word") == 200
    assert [login(locked, f"wrong{i}") for i in range(6)] == [400] * 5 + [429]
    assert login(locked, "secret:word") == 429


# --- files --------------------------------------------------------------------------------------


def test_no_address_leads_to_a_file_outside(page: Page, toy_model: Path) -> None:
    for secret in (*SECRETS, str(toy_model)):
        content = Path(secret).read_bytes()[:200]
        paths = [f"{door}{secret}" for door in DOORS]
        paths += [f"{door}{climb * 12}{secret[1:]}" for door in DOORS for climb in CLIMBS]
        for path in paths:
            status, body = get(page, path.replace(" ", "%20"))
            assert status < 500, path
            assert content not in body, path


@pytest.mark.parametrize(
    "photo",
    [
        SECRETS[1],
        {"path": SECRETS[1], "meta": {"_type": "gradio.FileData"}},
        {"url": f"file://{SECRETS[1]}", "meta": {"_type": "gradio.FileData"}},
        {"url": "http://127.0.0.1:1/a.jpg", "meta": {"_type": "gradio.FileData"}},
    ],
)
def test_the_pages_own_endpoint_reads_only_uploads(page: Page, photo: object) -> None:
    """What the browser asks, which no document names."""
    functions = json.loads(get(page, "/config")[1])["dependencies"]
    number = next(each["id"] for each in functions if each["api_name"] == "show")
    asked = {"data": [photo], "fn_index": number, "session_hash": "stranger"}
    status, text = post(f"{page.url}/gradio_api/queue/join", json.dumps(asked).encode())
    if status == 200:
        text = get(page, "/gradio_api/queue/data?session_hash=stranger")[1].decode()
        assert '"data":["","","",""' in text  # no answer
    else:
        assert status == 400
    assert Path(SECRETS[1]).read_text()[:40] not in text
    assert Path(SECRETS[1]).name not in text


def test_other_peoples_uploads_cannot_be_found(page: Page) -> None:
    """An upload lies under a digest with a secret in it, in a folder of a random name."""
    status, text = upload(page.url, PHOTO, "a.jpg")
    assert status == 200
    path = Path(json.loads(text)[0])
    assert len(path.parent.name) == 64
    assert path.parent.name != hashlib.sha256(PHOTO).hexdigest()
    assert len(path.parent.parent.name) >= len("landmarks-page-") + 8
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        for end in ("", "/", "/*", "/."):
            status, body = get(page, f"/gradio_api/file={folder}{end}")
            assert status in (400, 403, 404), (folder, end)
            assert b"a.jpg" not in body


def test_doors_that_gradio_keeps_for_developers_are_shut(page: Page) -> None:
    api = f"{page.url}/gradio_api"
    for path in ("vibe-edit/", "undo-vibe-edit/", "vibe-code", "vibe-starter-queries/"):
        assert post(f"{api}/{path}", b'{"prompt": "", "code": "x"}')[0] >= 400
    monitoring = ("/monitoring", "/monitoring/summary", "/gradio_api/profiling/traces")
    for path in (*monitoring, "/gradio_api/runs", "/docs"):
        assert get(page, path)[0] in (400, 401, 403, 404), path
    assert post(f"{api}/run/classify", b'{"data": [null]}')[0] >= 400


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/gradio_api/call/classify", MAX_OTHER_BYTES), ("/gradio_api/upload", MAX_UPLOAD_BYTES)],
)
def test_a_body_over_the_limit_is_read_no_further(tmp_path: Path, path: str, limit: int) -> None:
    """Whatever length it says it has; and of JSON the application sees nothing at all."""
    chunk = b"A" * 2**20
    given, seen, sent = 0, [], []

    async def app(scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(len(message["body"]))
        seen.append(message["type"])

    async def receive() -> dict[str, Any]:
        nonlocal given
        given += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"9")]}
    asyncio.run(RequestGuard(app, tmp_path)(scope, receive, send))
    assert limit < given <= limit + len(chunk)
    if path.endswith("/upload"):
        assert sum(seen[:-1]) <= limit
        assert seen[-1] == "http.disconnect"
    else:
        assert seen == []
        assert sent[0]["status"] == 413
        assert b"too large" in sent[1]["body"]


def test_an_upload_that_says_it_is_too_large_is_not_read(tmp_path: Path) -> None:
    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    length = b"%d" % (MAX_UPLOAD_BYTES + 1)
    scope = {"type": "http", "method": "POST", "headers": [(b"content-length", length)]}
    guard = RequestGuard(None, tmp_path)  # no application to ask
    asyncio.run(guard(scope | {"path": "/gradio_api/upload"}, None, send))
    assert sent[0]["status"] == 413


# --- uploads ------------------------------------------------------------------------------------


def test_uploads_go_after_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old/a.jpg", "old/deep/b.jpg", "mixed/c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PHOTO)
    now = time.time()
    delete_old(tmp_path, 600)
    assert len(list(tmp_path.rglob("*.jpg"))) == 3
    monkeypatch.setattr(models.page.request_guard.time, "time", lambda: now + 601)
    delete_old(tmp_path, 600)
    assert list(tmp_path.rglob("*.jpg")) == []
    monkeypatch.setattr(models.page.request_guard.time, "time", lambda: now + 1300)
    (tmp_path / "new").mkdir()
    os.utime(tmp_path / "new", (now + 1290, now + 1290))
    delete_old(tmp_path, 600)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_uploads_are_looked_through_while_the_page_lives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked = threading.Event()
    monkeypatch.setattr(models.page.request_guard, "CLEAN_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(models.page.request_guard, "delete_old", lambda *_: looked.set())

    async def app(scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        await asyncio.to_thread(looked.wait, 10)

    asyncio.run(RequestGuard(app, tmp_path)({"type": "lifespan"}, None, None))
    assert looked.is_set()
