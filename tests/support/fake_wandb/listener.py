"""The HTTP side of the stand-in: /graphql, file_stream, and URLs that hold bytes."""

import base64
import contextlib
import gzip
import json
import socket
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote

from graphql import parse

from .graph import Execution, Refused

if TYPE_CHECKING:
    from .server import FakeWandb


class Listener(ThreadingHTTPServer):
    """The socket of one server."""

    daemon_threads = False  # so that server_close waits for them: no thread outlives a test

    def __init__(self, fake: "FakeWandb") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fake = fake
        self.clients: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: tuple) -> None:
        """Remember who is connected."""
        self.clients.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        """Forget who is gone."""
        self.clients.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Hang up on all clients, also on one that connected and says nothing."""
        for client in list(self.clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, *_: object) -> None:
        """Clients may hang up; the handler has noted all else."""


class Handler(BaseHTTPRequestHandler):
    """One request of one client; HTTP/1.0, so that no connection outlives its answer."""

    server: Listener

    def do_GET(self) -> None:
        """Answer any request."""
        size = int(self.headers.get("Content-Length") or 0)
        body, fake = self.rfile.read(size), self.server.fake
        fake.not_hanging.wait()
        if fake.is_closed or len(body) < size:  # less came: the client was killed on the way
            return
        try:
            status, answer = self._answer(fake, body)
        except Exception:
            # 400, for the client would repeat what gets a 500, or no answer, for minutes.
            fake.crashes.append(traceback.format_exc())
            status, answer = 400, {"errors": [{"message": "the stand-in crashed"}]}
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, fake: "FakeWandb", body: bytes) -> tuple[int, dict | bytes]:
        if fake.fail == "500":
            return 500, {"error": "the stand-in was told to fail"}
        if self.path in fake.storage:
            return _serve_storage(fake, self.command, self.path, body)
        login = base64.b64encode(f"api:{fake.api_key}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            error = {"message": "user is not logged in", "extensions": {"code": "PERMISSION_ERROR"}}
            return 401, {"data": None, "errors": [error]}
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        parts = unquote(self.path).strip("/").split("/")
        with fake.lock:  # so each request sees, and leaves, a whole state
            if parts == ["graphql"]:
                return _execute(fake, json.loads(body))
            if parts[0] == "files" and parts[-1] == "file_stream":
                fake.requests["file_stream"] += 1
                return 200, fake.run_graph.stream(parts[3], json.loads(body))
        fake.unknown.append(f"{self.command} {self.path}")
        return 404, {"error": "not found"}


def _execute(fake: "FakeWandb", body: dict) -> tuple[int, dict]:
    """Status and answer of a GraphQL request."""
    execution = Execution(parse(body["query"]), body.get("variables") or {}, fake.unknown_leaves)
    operation = execution.operation
    fields = list(execution.fields(operation))
    fake.requests[(operation.name or fields[0].name).value] += 1
    data: dict = {}
    for field in fields:
        name, key = field.name.value, (field.alias or field.name).value
        try:
            if name not in fake.roots[operation.operation.value]:
                fake.unknown.append(f"{operation.operation.value} {name}")
                raise Refused(f"Cannot query field {name!r}: the stand-in does not know it.")
            data[key] = execution.complete(field, fake.roots[operation.operation.value][name])
        except Refused as refusal:
            error = {"message": str(refusal), "path": [key]}
            return refusal.status, {"data": {**data, key: None}, "errors": [error]}
    return 200, {"data": data}


def _serve_storage(
    fake: "FakeWandb", method: str, path: str, body: bytes
) -> tuple[int, dict | bytes]:
    read, write, is_blob = fake.storage[path]
    with fake.lock:
        fake.requests[method] += 1
        if method == "PUT" and write:
            write(body)
            return 200, b""
        if method == "GET" and read:
            fake.downloads += is_blob
            return 200, read()
    return 405, {"error": "not for this URL"}
