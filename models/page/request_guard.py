"""Guard the page: limit request bodies, refuse remote files, slow down password guessing.

It also answers politely when the queue is full, and deletes old uploads.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from models.photos import MAX_BYTES

# Gradio limits each uploaded file, but not JSON with a data: URL inside.
MAX_UPLOAD_BYTES = 10 * MAX_BYTES
MAX_OTHER_BYTES = 8 * 1000**2
MAX_WRONG_PASSWORDS = 5
# From all addresses together: behind a proxy on this machine, the address is a header's claim.
MAX_WRONG_IN_ALL = 100
LOCK_SECONDS = 60
PROGRAMS = "/api/classify"
LOCKED = "Too many wrong passwords; try again in a minute."
BUSY = "The page is busy; try again in a moment."
RETRY_SECONDS = 5
KEEP_SECONDS = 600
CLEAN_EVERY_SECONDS = 60

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequestGuard:
    """ASGI middleware in front of the page.

    Refuses with one line of JSON: bodies over the limit (413), files that were not uploaded (400;
    Gradio would fetch a URL), and logins from an address with too many wrong passwords (429).
    Answers politely when the queue is full (503). While the application runs, deletes what was
    uploaded over ten minutes ago; Gradio's own task for that stops for good if an upload arrives
    while it goes through its list.

    Args:
        app: The ASGI application behind it.
        uploads: The folder of the uploads.
        auth: The user and password to ask programs for; people log in on Gradio's own page.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        uploads: Path,
        auth: tuple[str, str] | None = None,
    ) -> None:
        """Start with no wrong passwords."""
        self.app = app
        self.auth = auth and base64.b64encode(":".join(auth).encode())
        self.uploads = uploads.resolve()
        self.wrong_logins: deque[tuple[float, str]] = deque()  # when, from where

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] == "lifespan":
            cleaner = asyncio.create_task(self._clean())
            await self.app(scope, receive, send)
            cleaner.cancel()
            return
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        if path.endswith("/upload"):
            await self._limited_upload(scope, receive, send)
            return
        if path.endswith(PROGRAMS):
            await self._authorise(scope, receive, send)
            return
        body = await _read_body(receive, MAX_OTHER_BYTES)
        if body is None:
            await _refuse(send, 413, "The request is too large; upload the photo as a file.")
        elif not all(self._is_uploaded(path) for path in _file_paths(body)):
            await _refuse(send, 400, "Files at a URL or path are not fetched; upload them.")
        elif path.endswith("/login"):
            await self._login(scope, _replay(body, receive), send)
        else:
            await self.app(scope, _replay(body, receive), _polite(send))

    async def _clean(self) -> None:
        """Delete old uploads every minute, until the application ends."""
        while True:
            await asyncio.sleep(CLEAN_EVERY_SECONDS)
            await asyncio.to_thread(delete_old, self.uploads, KEEP_SECONDS)

    def _is_uploaded(self, path: str) -> bool:
        """Tell whether a path is a file in the folder of uploads, links resolved."""
        try:
            return Path(path).resolve().is_relative_to(self.uploads) and Path(path).is_file()
        except (OSError, ValueError):
            return False

    async def _limited_upload(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass an upload on without collecting it, and cut it off at the limit.

        Its length is checked first; a body that is longer than it says, or has no length, is
        counted while it passes.
        """
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if int(length) > MAX_UPLOAD_BYTES:
            await _refuse(send, 413, "Too many photos at once, or too large ones; send fewer.")
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= MAX_UPLOAD_BYTES else {"type": "http.disconnect"}

        await self.app(scope, counted, send)

    async def _authorise(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a program's photos on if it knows the password; a stranger's are not even read."""
        address = (scope.get("client") or ("?",))[0]
        given = dict(scope["headers"]).get(b"authorization", b"").removeprefix(b"Basic ")
        if self.auth is None:
            await self._limited_upload(scope, receive, send)
        elif self._is_locked(address):
            await _refuse(send, 429, LOCKED)
        elif hmac.compare_digest(given, self.auth):
            self._forget_wrong(address)
            await self._limited_upload(scope, receive, send)
        else:
            self.wrong_logins.append((time.monotonic(), address))
            ask = (b"www-authenticate", b'Basic realm="Landmarks"')
            await _refuse(send, 401, "Wrong user or password.", [ask])

    async def _login(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a login on, unless too many were wrong within the last minute."""
        address = (scope.get("client") or ("?",))[0]
        if self._is_locked(address):
            await _refuse(send, 429, LOCKED)
            return
        # Counted as wrong until the answer is there: guesses sent in parallel count too.
        self.wrong_logins.append((time.monotonic(), address))

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._forget_wrong(address)
            await send(message)

        await self.app(scope, receive, watch)

    def _is_locked(self, address: str) -> bool:
        """Tell whether too many passwords were wrong within the last minute, here or in all."""
        now = time.monotonic()
        while self.wrong_logins and now - self.wrong_logins[0][0] > LOCK_SECONDS:
            self.wrong_logins.popleft()
        here = sum(source == address for _, source in self.wrong_logins)
        return here >= MAX_WRONG_PASSWORDS or len(self.wrong_logins) >= MAX_WRONG_IN_ALL

    def _forget_wrong(self, address: str) -> None:
        """Forget an address's wrong passwords, since it knows the right one."""
        others = [entry for entry in self.wrong_logins if entry[1] != address]
        self.wrong_logins = deque(others)


def delete_old(folder: Path, seconds: float) -> None:
    """Delete old files below a folder, and the folders that this leaves empty.

    Args:
        folder: Stays itself.
        seconds: Age at which a file goes.
    """
    latest = time.time() - seconds
    for parent, _, names in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # in use, or gone already
            # Read first: deleting a file changes its folder's time.
            was_idle = os.stat(parent).st_mtime < latest
            for name in names:
                path = os.path.join(parent, name)
                # ctime: copying a file can keep its old modification time.
                if os.lstat(path).st_ctime < latest:
                    os.remove(path)
            if was_idle and not os.path.samefile(parent, folder):
                os.rmdir(parent)


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Return a request's body, or None as soon as it exceeds the limit."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was already read to the application, then whatever follows."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _file_paths(body: bytes) -> list[str]:
    """Return every "path" in a JSON body, however deep: how Gradio's FileData names a file."""
    try:
        # A stack instead of recursion, which deeply nested input would exhaust.
        todo = [json.loads(body)]
    except (ValueError, RecursionError):
        return []
    found = []
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if isinstance(value.get("path"), str):
                found.append(value["path"])
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return found


def _polite(send: Send) -> Send:
    """Replace Gradio's 503, which reports queue sizes, by one that says what to do, and when."""
    is_busy = False

    async def watch(message: Message) -> None:
        nonlocal is_busy
        if message["type"] == "http.response.start" and message["status"] == 503:
            is_busy = True
            retry = (b"retry-after", b"%d" % RETRY_SECONDS)
            await _refuse(send, 503, BUSY, [retry])
        elif not is_busy:
            await send(message)

    return watch


async def _refuse(
    send: Send, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with one line of JSON, as FastAPI writes its own errors."""
    body = json.dumps({"detail": detail}).encode()
    sized = (b"content-length", b"%d" % len(body))
    head = [(b"content-type", b"application/json"), sized, *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
