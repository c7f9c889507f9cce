"""Open the page: a photo in, the five most likely landmarks out. python demo.py --help."""

import os
import signal
import sys
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path

import tyro

from models.page.server import PageError, listen, open_share_link, upload_folder
from models.photos.memory import share_memory


@dataclass(frozen=True)
class PageConfig:
    """Tell which landmark is in a photo, on a web page."""

    model: Path | None = None
    """A model file or a run folder (runs/ID)."""
    artifact: str | None = None
    """Else a W&B model, entity/project/landmarks:best (or LANDMARKS_ARTIFACT). With neither: the
    best of WANDB_ENTITY / WANDB_PROJECT where W&B has a key, else the bundled model."""
    watch: float | None = None
    """Seconds between looks for a newer W&B model, which then replaces the one that answers."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """The next free port is taken when this one is in use."""
    share: bool = False
    """Also offer a public link, through Gradio's servers."""
    auth: str | None = None
    """user:password to ask for (or set LANDMARKS_AUTH, which other users of the machine cannot
    see in the process list)."""
    ssl_certfile: Path | None = None
    """Serve https with this certificate (PEM); a browser gives other machines no webcam without."""
    ssl_keyfile: Path | None = None
    """The certificate's key (PEM)."""


def check_config(config: PageConfig) -> tuple[str, str] | None:
    """The (user, password) asked for, if any.

    Raises:
        PageError: For what would fail later with a traceback.
    """
    if not 0 < config.port < 65536:
        raise PageError(f"--port {config.port} is not between 1 and 65535")
    for flag, path in (("certfile", config.ssl_certfile), ("keyfile", config.ssl_keyfile)):
        if path is not None and not path.is_file():
            raise PageError(f"no file at --ssl-{flag} {path}")
    if (config.ssl_certfile is None) != (config.ssl_keyfile is None):
        raise PageError("--ssl-certfile and --ssl-keyfile go together")
    if config.watch is not None and config.watch < 1:
        raise PageError("--watch needs at least 1 second")
    if config.model is not None and config.artifact is not None:
        raise PageError("--model and --artifact exclude each other")
    auth = config.auth or os.environ.get("LANDMARKS_AUTH")
    if not auth:
        return None
    user, _, password = auth.partition(":")
    if not user or not password:
        raise PageError("--auth (or LANDMARKS_AUTH) must look like user:password")
    return user, password


def show_in_browser(url: str) -> None:
    """Open the page where somebody sits in front of a screen."""
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY")
    if sys.stdout.isatty() and screen:
        threading.Timer(1.0, webbrowser.open, [url]).start()


def serve(config: PageConfig) -> None:
    """Load the model, open the page, and stay until Ctrl-C or SIGTERM."""
    auth = check_config(config)
    share_memory()
    from models.sources.served_model import ModelSource

    source = ModelSource.open(config.model, config.artifact)
    if config.watch and source.wanted is None:
        raise PageError("--watch needs --artifact, or a W&B key")
    with listen(config.host, config.port) as server:
        import uvicorn

        from models.page.app import build_app

        port = server.getsockname()[1]
        settings = uvicorn.Config(
            build_app(source, auth), log_level="warning", timeout_graceful_shutdown=3,
            ssl_certfile=config.ssl_certfile, ssl_keyfile=config.ssl_keyfile,
        )  # fmt: skip
        scheme = "https" if config.ssl_certfile else "http"
        shown = f"[{config.host}]" if ":" in config.host else config.host
        print(f"Landmarks is open at {scheme}://{shown}:{port}", flush=True)
        if scheme == "http" and config.host not in ("127.0.0.1", "localhost", "::1"):
            print(
                "hint: over plain http a browser gives other machines no webcam; "
                "use --ssl-certfile and --ssl-keyfile"
            )
        source.start(config.watch)
        show_in_browser(f"{scheme}://{shown}:{port}")
        if config.share:
            threading.Thread(target=open_share_link, args=(port,), daemon=True).start()
        # uvicorn stops cleanly and then raises the signal again, for us to end with status 0.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        uvicorn.Server(settings).run(sockets=[server])


def main(config: PageConfig) -> int:
    """Open the page."""
    from models.predictor import ModelFileError

    try:
        with upload_folder():
            serve(config)
    except (PageError, ModelFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while a model was being fetched
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(PageConfig, prog="python demo.py")))
