"""Decide where the page listens: host, free port, certificate, public link, folder for uploads.

Light, so that demo.py can check its flags before it imports gradio.
"""

import contextlib
import errno
import ipaddress
import os
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from models.files import check_folder

PORTS_TRIED = 100
LINK_SECONDS = 20


class PageError(ValueError):
    """A setting that cannot work; the message names the fix."""


def check_host(host: str) -> None:
    """Refuse a host that the page cannot listen on, whatever the port.

    Raises:
        PageError: If its name cannot be resolved, or it is another machine's.
    """
    with contextlib.suppress(OSError):  # listen tells what else there is
        _bind(host, 0).close()


def is_private(host: str, share: bool) -> bool:
    """Tell whether only this machine reaches the page: no other address, public link or proxy."""
    is_local = host == "localhost"
    with contextlib.suppress(ValueError):  # a name
        is_local = ipaddress.ip_address(host).is_loopback
    return is_local and not share and "GRADIO_ROOT_PATH" not in os.environ


def check_collection(folder: Path) -> None:
    """Refuse a folder that cannot keep photos by class.

    Raises:
        PageError: It cannot be written, or is a data set with train/, which hides other classes.
    """
    if (folder / "train").is_dir():
        raise PageError(f"--collect {folder} holds train/; name a folder of its own")
    try:
        check_folder(folder, "--collect")
    except ValueError as error:
        raise PageError(str(error)) from error


def check_certificate(certfile: Path, keyfile: Path) -> None:
    """Refuse a certificate and key that do not make an https server.

    Raises:
        PageError: If one of them is not PEM, or the key is another certificate's.
    """
    try:
        if b"ENCRYPTED" in keyfile.read_bytes():
            return  # uvicorn will ask for its password, which is not to be typed twice
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except OSError as error:  # ssl.SSLError too
        raise PageError(
            f"--ssl-certfile {certfile} and --ssl-keyfile {keyfile} do not work together: {error}"
        ) from error


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on port, or on the next free one of the hundred after it.

    Raises:
        PageError: If the host is not this machine's, or no port is free.
    """
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        try:
            server = _bind(host, candidate)
        except OSError:
            continue
        if candidate != port:
            print(f"port {port} is in use; using {candidate}")
        return server
    raise PageError(f"no free port from {port} on; choose another with --port")


def _bind(host: str, port: int) -> socket.socket:
    """Open a listening socket; OSError if the port is in use, PageError if the host is wrong."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PageError(f"--host {host} cannot be resolved: {error}") from error
    server = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # on Windows this option would share a port that is in use
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port, *address[2:]))
        server.listen(128)
    except OSError as error:
        server.close()
        if error.errno == errno.EADDRNOTAVAIL:  # no other port will help
            raise PageError(f"--host {host} is not an address of this machine") from error
        raise
    return server


def open_share_link(port: int) -> None:
    """Print a public link, or one line if there is none; the page itself never waits for it."""
    import secrets

    from gradio import networking

    found: list[str] = []

    def connect() -> None:
        # setup_tunnel prints and raises in many ways; each means that there is no link.
        with contextlib.suppress(Exception):
            token = secrets.token_urlsafe(32)
            found.append(networking.setup_tunnel("127.0.0.1", port, token, None, None))

    # In a thread of its own, because setup_tunnel has no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout=LINK_SECONDS)
    print(
        f"public link: {found[0]}"
        if found
        else "no public link (Gradio's servers cannot be reached); the page works locally",
        flush=True,
    )


@contextlib.contextmanager
def upload_folder() -> Iterator[None]:
    """Give this process a folder of its own for uploads, and remove it at the end."""
    folder = tempfile.mkdtemp(prefix="landmarks-page-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
