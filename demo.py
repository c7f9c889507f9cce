"""Open the page: a photo in, the five best matches out. python demo.py --help.

Flags are checked before gradio is imported, which takes seconds.
"""

import os
import signal
import sys
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from models.command_line import parse_flags
from models.environment import has_wandb_key
from models.model_file.model_path import ModelFileError, find_model
from models.page.server import (
    PageError,
    check_certificate,
    check_collection,
    check_host,
    is_private,
    listen,
    open_share_link,
    upload_folder,
)

EXAMPLES = (
    "python demo.py",
    "python demo.py --model runs/ID",
    "python demo.py --host 0.0.0.0 --auth user:password --ssl-certfile cert.pem "
    "--ssl-keyfile key.pem",
    "python demo.py --collect corrections",
)


@dataclass(frozen=True)
class PageConfig:
    """Tell which landmark is in a photo, on a web page."""

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "model": ("model", "artifact", "watch"),
        "address": ("host", "port", "share"),
        "access": ("auth", "ssl_certfile", "ssl_keyfile"),
        "learn": ("collect",),
    }

    model: Path | None = None
    """A model file or a run folder (runs/ID)."""
    artifact: str | None = None
    """A W&B model instead: entity/project/landmarks:best (or set LANDMARKS_ARTIFACT). Without
    --model and --artifact: the best of WANDB_ENTITY / WANDB_PROJECT if W&B has a key, else the
    bundled model."""
    watch: float | None = None
    """Seconds between checks for a newer W&B model, which then replaces the current one."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on; if it is in use, the next free one."""
    share: bool = False
    """Also offer a public link, through Gradio's servers."""
    auth: str | None = None
    """Ask for this user:password (or set LANDMARKS_AUTH, which other users of the machine cannot
    see in the process list)."""
    ssl_certfile: Path | None = None
    """Serve https with this certificate (PEM); without https, browsers on other machines offer no
    webcam."""
    ssl_keyfile: Path | None = None
    """The certificate's key (PEM)."""
    collect: Path | None = None
    """Ask under each answer whether it is right, and keep the photos that people answered for in
    this folder: one folder per landmark, for train.prepare, and none_of_them, for --outside."""


def check_config(config: PageConfig) -> tuple[str, str] | None:
    """Refuse what would fail later, after seconds and with a traceback.

    Returns:
        The user and password to ask for, if any.

    Raises:
        PageError: If a flag cannot work; the message names it.
        ModelFileError: If there is no model at --model.
    """
    if not 0 < config.port < 65536:
        raise PageError(f"--port {config.port} is not between 1 and 65535")
    for flag, path in (("certfile", config.ssl_certfile), ("keyfile", config.ssl_keyfile)):
        if path is not None and not path.is_file():
            raise PageError(f"no file at --ssl-{flag} {path}")
    if (config.ssl_certfile is None) != (config.ssl_keyfile is None):
        raise PageError("--ssl-certfile and --ssl-keyfile go together")
    if config.ssl_certfile is not None and config.ssl_keyfile is not None:
        check_certificate(config.ssl_certfile, config.ssl_keyfile)
    if config.model is not None and config.artifact is not None:
        raise PageError("--model and --artifact exclude each other")
    if config.watch is not None:
        if config.watch < 1:
            raise PageError("--watch needs at least 1 second")
        named = config.artifact or os.environ.get("LANDMARKS_ARTIFACT")
        # As in ModelSource.open: a path comes first, and without a key nothing is looked for.
        if config.model is not None or not (named or has_wandb_key()):
            raise PageError("--watch needs --artifact, or a W&B key")
    auth = check_auth(config.auth or os.environ.get("LANDMARKS_AUTH"))
    if config.collect is not None:
        if auth is None and not is_private(config.host, config.share):
            raise PageError("--collect keeps what anybody sends; add --auth, or LANDMARKS_AUTH")
        check_collection(config.collect)
    if config.model is not None:
        find_model(config.model)
    check_host(config.host)
    return auth


def check_auth(auth: str | None) -> tuple[str, str] | None:
    """Split user:password; a password may contain colons.

    Raises:
        PageError: If either is missing.
    """
    if not auth:
        return None
    user, _, password = auth.partition(":")
    if not user or not password:
        raise PageError("--auth (or LANDMARKS_AUTH) must look like user:password")
    return user, password


def show_in_browser(url: str) -> None:
    """Open the page in a browser if somebody sits in front of a screen."""
    has_screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY")
    if sys.stdout.isatty() and has_screen:
        threading.Timer(1.0, webbrowser.open, [url]).start()


def serve(config: PageConfig, auth: tuple[str, str] | None) -> None:
    """Load the model, open the page, and stay until Ctrl-C or SIGTERM.

    Args:
        config: Checked by check_config.
        auth: The user and password to ask for, if any.

    Raises:
        PageError: If no port is free.
        ModelFileError: If the model cannot be loaded.
    """
    from models.photos.memory import share_memory
    from models.sources.served_model import ModelSource

    share_memory()  # before any thread is started
    source = ModelSource.open(config.model, config.artifact)
    with listen(config.host, config.port) as server:
        import uvicorn

        from models.page.app import build_app

        port = server.getsockname()[1]
        settings = uvicorn.Config(
            build_app(source, auth, config.collect),
            log_level="warning",
            timeout_graceful_shutdown=3,
            ssl_certfile=config.ssl_certfile,
            ssl_keyfile=config.ssl_keyfile,
        )
        scheme = "https" if config.ssl_certfile else "http"
        name = f"[{config.host}]" if ":" in config.host else config.host  # IPv6
        url = f"{scheme}://{name}:{port}"
        print(f"Landmarks is open at {url}", flush=True)
        if scheme == "http" and config.host not in ("127.0.0.1", "localhost", "::1"):
            print(
                "hint: over plain http, browsers on other machines offer no webcam; "
                "use --ssl-certfile and --ssl-keyfile"
            )
        source.start(config.watch)
        show_in_browser(url)
        if config.share:
            threading.Thread(target=open_share_link, args=(port,), daemon=True).start()
        # uvicorn stops cleanly and then raises the signal again; ignored here, so that the exit
        # status is 0.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        uvicorn.Server(settings).run(sockets=[server])


def main(config: PageConfig) -> int:
    """Open the page; return the exit status."""
    try:
        auth = check_config(config)
        with upload_folder():
            serve(config, auth)
    except (PageError, ModelFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while a model is being fetched
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(PageConfig, prog="python demo.py", examples=EXAMPLES)))
