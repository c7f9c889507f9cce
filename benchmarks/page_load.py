"""Put many people at the page at once: answers, refusals, failures, waiting times, memory.

python benchmarks/page_load.py [--clients 64] [--seconds 60]; each client uploads a drawn photo of
one megapixel and asks, as curl does, again and again. First at the page, then at a Gradio page that
does nothing, which shows the limit of Gradio itself. Exits with 1 if any answer of the first page
failed.
"""

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
WARM_SECONDS = 120
# Queue and number of workers as in models.page.app.
EMPTY_PAGE = """
import contextlib, os, sys
sys.path.insert(0, sys.argv[1])
from models.page.server import listen, upload_folder
with contextlib.suppress(KeyboardInterrupt), upload_folder(), listen("127.0.0.1", 7880) as server:
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    with gr.Blocks(analytics_enabled=False) as page:
        photo = gr.Image(type="filepath")
        photo.preprocess = lambda payload: payload.path
        photo.change(lambda path: {"none": 1.0}, photo, gr.Label(), api_name="classify",
                     concurrency_limit=2)
    page.queue(max_size=32, api_open=False)
    app = gr.mount_gradio_app(FastAPI(), page, "/", ssr_mode=False)
    print(f"Nothing is open at http://127.0.0.1:{server.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[server])
"""


@dataclass(frozen=True)
class LoadConfig:
    """Ask the page from many clients at once."""

    model: Path | None = None
    """A model file or a run folder; default: what demo.py would serve."""
    clients: int = 64
    """Number of clients; each asks again as soon as it has its answer."""
    seconds: float = 60
    """Seconds of asking, after a warm-up that is not counted."""
    pause_seconds: float = 1
    """Seconds that a client waits after it was told that the page is busy."""
    seed: int = 0
    """Seed of the photo's noise."""


@dataclass
class Tally:
    """What the clients of one page experienced.

    Attributes:
        waits: Seconds from the start of the upload to the answer, for each answer.
        outcomes: How often there was an "answer", "busy", or a failure, by its name.
        seconds: Time until the last answer.
    """

    waits: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def draw_photo(seed: int) -> bytes:
    """Draw a JPEG of 1152 x 864 pixels, quality 90: smooth shapes with a camera's noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (9, 12, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((1152, 864), Image.Resampling.BICUBIC))
    noisy = (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def ask(client: httpx.AsyncClient, photo: bytes) -> str:
    """Upload, ask, read the answer; return "answer", "busy", or what failed."""
    upload = await client.post("/upload", files={"files": ("photo.jpg", photo, "image/jpeg")})
    if upload.status_code != 200:
        return f"upload {upload.status_code}"
    file = {"path": upload.json()[0], "meta": {"_type": "gradio.FileData"}}
    call = await client.post("/call/classify", json={"data": [file]})
    if call.status_code == 503:
        return "busy"
    if call.status_code != 200:
        return f"call {call.status_code}"
    stream = await client.get(f"/call/classify/{call.json()['event_id']}")
    # Heartbeats come first if an answer takes over 15 s.
    _, complete, data = stream.text.partition("event: complete\ndata: ")
    if stream.status_code != 200 or not complete:
        return f"answer {stream.status_code} {stream.text[:80]}"
    return "answer" if json.loads(data.splitlines()[0]) else "nothing"


async def press(url: str, photo: bytes, config: LoadConfig) -> Tally:
    """Run all clients until the time is up and everything that they asked by then is answered."""
    tally, limits = Tally(), httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"{url}/gradio_api", timeout=120, limits=limits, trust_env=False
    ) as client:
        first = await ask(client, photo)
        if first != "answer":
            raise RuntimeError(f"{url} does not answer: {first}")
        begin = time.monotonic()
        end = begin + config.seconds

        async def ask_on() -> None:
            while (started := time.monotonic()) < end:
                try:
                    outcome = await ask(client, photo)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                tally.outcomes[outcome] += 1
                if outcome == "answer":
                    tally.waits.append(time.monotonic() - started)
                else:
                    await asyncio.sleep(config.pause_seconds)

        async def show() -> None:
            with tqdm(total=round(config.seconds), desc=url, unit="s") as bar:
                while bar.n < bar.total:
                    await asyncio.sleep(1)
                    bar.set_postfix(tally.outcomes, refresh=False)
                    bar.update()

        await asyncio.gather(show(), *(ask_on() for _ in range(config.clients)))
        tally.seconds = time.monotonic() - begin
    return tally


def memory_mb(process: int, what: str) -> float:
    """Return VmRSS (now) or VmHWM (peak) of a process; nan where there is no /proc."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(what))


@contextlib.contextmanager
def open_page(command: list[str]) -> Iterator[tuple[int, str]]:
    """Start a page that prints "... is open at URL"; yield its process and URL, then end it."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        line = ""
        while "is open at" not in line:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} did not start")
        yield process.pid, line.split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def measure(name: str, command: list[str], photo: bytes, config: LoadConfig) -> bool:
    """Start a page, press it, print a row; tell whether nothing failed."""
    with open_page(command) as (process, url):
        time.sleep(2)
        # Warm up until all threads exist and Gradio's record of the last 2,000 sessions is full.
        asyncio.run(press(url, photo, dataclasses.replace(config, seconds=WARM_SECONDS)))
        before = memory_mb(process, "VmRSS")
        tally = asyncio.run(press(url, photo, config))
        after, most = (memory_mb(process, what) for what in ("VmRSS", "VmHWM"))
    answers, busy = tally.outcomes.pop("answer", 0), tally.outcomes.pop("busy", 0)
    p50, p95 = np.percentile(tally.waits, (50, 95)) if tally.waits else (np.nan, np.nan)
    print(
        f"| {name} | {answers:,} | {busy:,} | {tally.outcomes.total():,} | "
        f"{answers / tally.seconds:.1f} /s | {p50:.2f} s | {p95:.2f} s | "
        f"{before:.0f} MB | {after:.0f} MB | {most:.0f} MB |"
    )
    for outcome, count in tally.outcomes.items():
        print(f"{name}: failed {count} times: {outcome}", file=sys.stderr)
    return not tally.outcomes


def main(config: LoadConfig) -> int:
    """Press both pages and print the table."""
    photo = draw_photo(config.seed)
    print(
        f"{config.clients} clients, {config.seconds:g} s, photo {len(photo) / 1e6:.2f} MB, seed "
        f"{config.seed}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        "which the clients share"
    )
    print(
        "| page | answers | busy | failed | throughput | p50 | p95 | memory before | after | most |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    model = [] if config.model is None else ["--model", str(config.model.resolve())]
    is_well = measure("this page", ["demo.py", *model, "--port", "7870"], photo, config)
    measure("a page that does nothing", ["-c", EMPTY_PAGE, str(ROOT)], photo, config)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(LoadConfig)))
