"""A reverse proxy that offers a page under a path of its own, as nginx and Traefik do."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


@contextlib.contextmanager
def proxied(target: str, prefix: str) -> Iterator[str]:
    """Serve target under a prefix, which it does not see; every other path is 404.

    Args:
        target: The page's address.
        prefix: Such as /landmarks.

    Yields:
        The address under which the page is now.
    """

    async def forward(request: Request) -> Response:
        path = request.url.path
        if not path.startswith(f"{prefix}/"):
            return Response("outside", 404)
        # The host stays the browser's own, as with proxy_set_header Host in nginx.
        url = httpx.URL(target).copy_with(
            path=path.removeprefix(prefix), query=request.url.query.encode()
        )
        client = httpx.AsyncClient(timeout=None)
        answer = await client.send(
            client.build_request(
                request.method, url, headers=request.headers.raw, content=await request.body()
            ),
            stream=True,
        )
        # Passed on as it comes: the answers to a photo are a stream of events.
        sent = StreamingResponse(
            answer.aiter_raw(), answer.status_code, background=BackgroundTask(client.aclose)
        )
        sent.raw_headers = answer.headers.raw
        return sent

    app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "HEAD"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{prefix}"
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join()
