"""Where the page listens: a free port, a public link, a folder for uploads."""

import contextlib
import errno
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator


class PageError(ValueError):
    """A setting that cannot work; the message names the fix."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on port, or on the next free one of the hundred after it.

    Raises:
        PageError: If the host is not this machine's, or none is free.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PageError(f"--host {host} is not known: {error}") from error
    for candidate in range(port, min(port + 100, 65536)):
        server = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere this would share a port that is in use
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, candidate, *address[2:]))
            server.listen(128)
        except OSError as error:
            server.close()
            if error.errno == errno.EADDRNOTAVAIL:  # no other port will help
                raise PageError(f"--host {host} is not an address of this machine") from error
            continue
        if candidate != port:
            print(f"port {port} is in use; taking {candidate}")
        return server
    raise PageError(f"no free port from {port} on; name another with --port")


def open_share_link(port: int) -> None:
    """Print a public link, or one line if there is no way out; never blocks the page."""
    import secrets

    from gradio import networking

    found: list[str] = []

    def connect() -> None:
        # setup_tunnel prints and raises in many ways; each means that there is no link.
        with contextlib.suppress(Exception):
            token = secrets.token_urlsafe(32)
            found.append(networking.setup_tunnel("127.0.0.1", port, token, None, None))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout=20)
    print(
        f"public link: {found[0]}"
        if found
        else "no public link (Gradio's servers are out of reach); the page goes on locally",
        flush=True,
    )


@contextlib.contextmanager
def upload_folder() -> Iterator[None]:
    """A folder for uploads of this process alone, removed at the end."""
    folder = tempfile.mkdtemp(prefix="landmarks-page-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
