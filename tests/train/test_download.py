"""Downloads against a server on this machine that cuts, stalls, lies and changes its mind."""

import bz2
import errno
import gzip
import io
import json
import lzma
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.command_line import parse_flags
from tests.support.commands import ROOT
from train import download
from train.download import RECORD, CheckedRedirects, DownloadConfig, DownloadError, main

RANDOM = random.Random(0)
PHOTOS = {
    f"{part}/{folder}/{number}.jpg": RANDOM.randbytes(90_000 + number)
    for part in ("train", "test")
    for folder in ("00.Red_Tower", "01.Green_Castle")
    for number in range(2)
}
MODIFIED = "Mon, 01 Jan 2024 00:00:00 GMT"


def pack_zip(members: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """A zip file with these members, stored: a cut at half of it is a cut inside a photo."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return buffer.getvalue()


def pack_tar(members: dict[str, bytes] | list[tuple[str | tarfile.TarInfo, bytes]]) -> bytes:
    """A tar file with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = pack_zip({f"landmark_images/{name}": content for name, content in PHOTOS.items()})
HALF, SIZE = len(ARCHIVE) // 2, len(ARCHIVE)


class Shelf(ThreadingHTTPServer):
    """A web server with one archive; a test sets what it does wrong.

    Attributes:
        requests: Headers of each request so far.
        cuts: Of each coming request, the byte of the archive at which the connection ends.
        statuses: Of each coming request, an error to answer instead.
        extra: Bytes promised beyond (or short of) those that are sent.
        stalls: Whether a cut leaves the connection open, until released.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.etag, self.modified = ARCHIVE, '"one"', MODIFIED
        self.requests: list[dict[str, str]] = []
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.extra, self.stalls, self.knows_range, self.knows_if_range = 0, False, True, True
        self.sends_length, self.chunked, self.location = True, False, ""
        self.on_cut: Callable[[], None] = lambda: None
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/photos.zip"

    def ranges(self) -> list[str | None]:
        """What each request asked for."""
        return [headers.get("Range") for headers in self.requests]

    def handle_error(self, *_: object) -> None:
        """A client that leaves is no error here."""


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Shelf

    def do_GET(self) -> None:
        shelf = self.server
        shelf.requests.append(dict(self.headers))
        if shelf.location:
            self.send_response(302)
            self.send_header("Location", shelf.location)
            shelf.location = ""
            return self.end_headers()
        if shelf.statuses:
            return self.send_error(shelf.statuses.pop(0))
        content, start = shelf.content, 0
        validator = self.headers.get("If-Range")
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fits = not shelf.knows_if_range or validator in (None, shelf.etag, shelf.modified)
        if shelf.knows_range and asked and fits:
            start = int(asked[1])
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            whole = len(content) + shelf.extra
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        for name, value in (("ETag", shelf.etag), ("Last-Modified", shelf.modified)):
            if value:
                self.send_header(name, value)
        if shelf.sends_length:
            self.send_header("Content-Length", str(len(content) - start + shelf.extra))
        if shelf.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cut = shelf.cuts.pop(0) if shelf.cuts else len(content)
        part = content[start : max(start, cut)]
        if shelf.chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part) + (
                b"0\r\n\r\n" if cut == len(content) else b""
            )
        self.wfile.write(part)
        self.wfile.flush()
        if cut < len(content):
            shelf.on_cut()
            if shelf.stalls:
                shelf.released.wait(20)

    def log_message(self, *_: object) -> None:
        """Nothing on the screen of the tests."""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    server = Shelf()
    thread = threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds become waits of milliseconds; the command line is a known one."""
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(sys, "argv", ["download.py", "--out", "some where"])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the photos go; its folder has to be made."""
    return tmp_path / "data" / "landmark_images"


def photos_in(folder: Path) -> dict[str, bytes]:
    """Content by path, without the record."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def left_beside(out: Path) -> list[str]:
    """Names of the hidden files and folders of an unfinished download."""
    return sorted(path.name for path in out.parent.glob(".*"))


def partial_bytes(out: Path) -> bytes:
    return (out.parent / f".{out.name}.partial").read_bytes()


def fail(config: DownloadConfig, capsys: pytest.CaptureFixture[str], status: int = 1) -> str:
    """Run; the error, which must be one line."""
    capsys.readouterr()
    assert main(config) == status
    last = capsys.readouterr().err.split("\r")[-1].splitlines()[-1]
    assert last.startswith("error: "), last
    assert not config.out.exists()
    return last


def test_an_archive_arrives_whole(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    packed = {f"landmark_images/{name}": content for name, content in PHOTOS.items()}
    rubbish = {
        "__MACOSX/landmark_images/._a": b"x",
        "landmark_images/train/.DS_Store": b"x",
        "landmark_images/train/00.Red_Tower/@eaDir/0.jpg": b"x",
        "Thumbs.db": b"x",
    }
    shelf.content = pack_zip(packed | rubbish)
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == PHOTOS
    digest = sha256(shelf.content).hexdigest()
    assert json.loads((out / RECORD).read_text()) == {
        "url": shelf.url,
        "size": len(shelf.content),
        "etag": '"one"',
        "modified": MODIFIED,
        "sha256": digest,
    }
    assert shelf.ranges() == [None]
    assert left_beside(out) == []
    printed = capsys.readouterr()
    assert f"python -m train.transfer --data {out}" in printed.out
    assert re.search(r"downloading: 100%.*B/s", printed.err)


def test_a_second_run_asks_nothing(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    config = DownloadConfig(shelf.url, out=out)
    assert main(config) == 0
    (out / "mine.txt").write_text("stays")
    capsys.readouterr()
    digest = sha256(ARCHIVE).hexdigest()
    for again in (config, DownloadConfig(shelf.url, out=out, sha256=digest, size=SIZE)):
        assert main(again) == 0
        assert f"{out} is there already, made from {shelf.url}" in capsys.readouterr().out
    others = [{"url": shelf.url + "2"}, {"url": shelf.url, "sha256": "0" * 64}]
    for other in [*others, {"url": shelf.url, "size": 7}]:
        assert main(DownloadConfig(out=out, **other)) == 2
        assert "give another --out" in capsys.readouterr().err
    assert (out / "mine.txt").read_text() == "stays"
    assert len(shelf.requests) == 1


@pytest.mark.parametrize("made", ["folder", "empty folder", "file", "dangling link"])
def test_what_is_there_is_never_touched(
    made: str, shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    out.parent.mkdir()
    if made == "file":
        out.write_text("mine")
    elif made == "dangling link":
        out.symlink_to(out.parent / "nowhere")
    else:
        out.mkdir()
        if made == "folder":
            (out / "photo.jpg").write_text("mine")
    assert main(DownloadConfig(shelf.url, out=out)) == 2
    assert "made from something else; give another --out" in capsys.readouterr().err
    assert shelf.requests == []
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("etag", "modified", "validator"),
    [
        ('"one"', MODIFIED, '"one"'),
        ('W/"one"', MODIFIED, None),
        ("", MODIFIED, MODIFIED),
        ("", "", None),
    ],
    ids=["etag", "weak etag", "date", "only a size"],
)
def test_cuts_are_resumed(
    etag: str, modified: str, validator: str | None, shelf: Shelf, out: Path
) -> None:
    shelf.etag, shelf.modified = etag, modified
    shelf.cuts = [1000, 1000, HALF, HALF + 1]
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == PHOTOS
    starts = [f"bytes={start}-" for start in (1000, 1000, HALF, HALF + 1)]
    assert shelf.ranges() == [None, *starts]
    assert [headers.get("If-Range") for headers in shelf.requests[1:]] == [validator] * 4


def test_many_cuts_are_no_reason_to_give_up(shelf: Shelf, out: Path) -> None:
    shelf.cuts = list(range(1000, SIZE, SIZE // 20))
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == PHOTOS
    assert len(shelf.requests) > 20


def test_a_stall_is_a_cut(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    shelf.stalls, shelf.cuts, started = True, [HALF, HALF], time.monotonic()
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == PHOTOS
    assert shelf.ranges() == [None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert "timed out; next try in" in capsys.readouterr().out
    assert time.monotonic() - started < 5


def test_no_progress_is_given_up_and_taken_up_again(
    shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    shelf.cuts = [HALF] * 7
    config = DownloadConfig(shelf.url, out=out)
    error = fail(config, capsys)
    assert f"only {HALF:,} of the promised {SIZE:,} bytes came" in error
    assert error.endswith(
        f"{HALF:,} bytes are kept, resume with: python -m train.download --out 'some where'"
    )
    assert len(shelf.requests) == download.RETRIES + 2
    assert partial_bytes(out) == ARCHIVE[:HALF]
    assert main(config) == 0
    assert shelf.ranges()[-1] == f"bytes={HALF}-"
    assert photos_in(out) == PHOTOS


def test_a_server_that_ignores_range(
    shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    shelf.knows_range, shelf.cuts = False, [HALF]
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == PHOTOS
    assert shelf.ranges() == [None, f"bytes={HALF}-"]
    assert "the server cannot resume; starting over" in capsys.readouterr().out


@pytest.mark.parametrize("knows_if_range", [True, False])
@pytest.mark.parametrize("etag", ['"two"', ""])
def test_a_file_that_changes_midway(
    knows_if_range: bool, etag: str, shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    """Also where the server sends the rest of the new file, and where only its date tells."""

    def change() -> None:
        shelf.content = pack_zip(
            {f"landmark_images/{n}": b"new" + c[3:] for n, c in PHOTOS.items()}
        )
        shelf.etag, shelf.modified = etag, "Tue, 02 Jan 2024 00:00:00 GMT"

    shelf.etag = '"one"' if etag else ""
    shelf.cuts, shelf.on_cut, shelf.knows_if_range = [HALF], change, knows_if_range
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert {content[:3] for content in photos_in(out).values()} == {b"new"}
    assert json.loads((out / RECORD).read_text())["modified"] == shelf.modified
    assert re.search("archive changed.*starting over", capsys.readouterr().out)


def test_a_file_that_changes_only_its_size(shelf: Shelf, out: Path) -> None:
    def change() -> None:
        shelf.content = pack_zip({f"new/{name}": content * 2 for name, content in PHOTOS.items()})

    shelf.cuts, shelf.on_cut, shelf.etag, shelf.modified = [HALF], change, "", ""
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == {name: content * 2 for name, content in PHOTOS.items()}


def test_a_file_that_shrinks_below_what_has_come(shelf: Shelf, out: Path) -> None:
    def shrink() -> None:
        shelf.content = pack_zip({"a/b.jpg": b"new", "a/c.jpg": b"new"})

    shelf.cuts, shelf.on_cut, shelf.knows_if_range = [HALF], shrink, False
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == {"b.jpg": b"new", "c.jpg": b"new"}


@pytest.mark.parametrize("extra", [100, -100])
@pytest.mark.parametrize("knows_range", [True, False])
def test_lies_about_the_size(
    extra: int, knows_range: bool, shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    shelf.extra, shelf.knows_range = extra, knows_range
    error = fail(DownloadConfig(shelf.url, out=out), capsys)
    if extra < 0:
        assert f"sends more than the {SIZE - 100:,} bytes that it promised" in error
        assert len(shelf.requests) == 1
        assert ".landmark_images.partial" not in left_beside(out)
    else:
        assert "bytes came" in error or "416" in error


def test_more_than_promised_after_a_cut(
    shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    def grow() -> None:
        shelf.content, shelf.extra = ARCHIVE + b"x" * 100, -100

    shelf.cuts, shelf.on_cut = [HALF], grow
    assert "sends more than" in fail(DownloadConfig(shelf.url, out=out), capsys)


def test_no_length_at_all(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    """The end of the connection is the end of the file, so only the archive can tell."""
    shelf.sends_length, shelf.cuts = False, [HALF]
    config = DownloadConfig(shelf.url, out=out)
    assert "is no usable zip or tar archive: File is not a zip file" in fail(config, capsys)
    assert ".landmark_images.partial" not in left_beside(out)
    shelf.cuts = [HALF]
    assert main(DownloadConfig(shelf.url, out=out, size=SIZE)) == 0
    assert shelf.ranges() == [None, None, f"bytes={HALF}-"]


def test_a_cut_in_chunks_starts_over(shelf: Shelf, out: Path) -> None:
    shelf.sends_length, shelf.chunked, shelf.cuts = False, True, [HALF]
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert photos_in(out) == PHOTOS
    assert shelf.ranges() == [None, None]


def test_errors_of_the_server(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    config = DownloadConfig(shelf.url, out=out)
    shelf.statuses = [404]
    assert f"{shelf.url}: HTTP Error 404: Not Found" in fail(config, capsys)
    assert len(shelf.requests) == 1
    shelf.statuses = [500] * 10
    assert "HTTP Error 500" in fail(config, capsys)
    assert len(shelf.requests) == 1 + download.RETRIES + 1
    shelf.statuses = [503, 429]
    assert main(config) == 0


def test_no_server(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    gone = Shelf()
    gone.server_close()
    assert "refused" in fail(DownloadConfig(gone.url, out=out), capsys)


def test_size_and_digest_are_verified(
    shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    digest = sha256(ARCHIVE).hexdigest()
    error = fail(DownloadConfig(shelf.url, out=out, sha256="0" * 64), capsys)
    assert f"its sha256 is {digest}, not as given" in error
    assert ".landmark_images.partial" not in left_beside(out)
    assert f"has {SIZE:,} bytes, not 7" in fail(DownloadConfig(shelf.url, out=out, size=7), capsys)
    assert ".landmark_images.partial" not in left_beside(out)
    assert main(DownloadConfig(shelf.url, out=out, sha256=digest, size=SIZE)) == 0


def test_redirects(shelf: Shelf, out: Path, capsys: pytest.CaptureFixture) -> None:
    config = DownloadConfig(shelf.url, out=out)
    for address in ("ftp://127.0.0.1/photos.zip", "file:///etc/hostname", "http://a:b@127.0.0.1/"):
        shelf.location = address
        assert re.search("is refused|HTTP Error 302", fail(config, capsys))
    shelf.location = shelf.url + "?elsewhere"
    assert main(config) == 0
    assert len(shelf.requests) == 5
    secure = urllib.request.Request("https://example.org/photos.zip")
    follow = partial(CheckedRedirects().redirect_request, secure, None, 302, "Found", {})
    assert follow("https://example.com/photos.zip").full_url == "https://example.com/photos.zip"
    with pytest.raises(DownloadError, match="not safe"):
        follow("http://example.com/photos.zip")


def test_ctrl_c_keeps_what_has_come(shelf: Shelf, out: Path) -> None:
    shelf.stalls, shelf.cuts = True, [HALF]
    command = [sys.executable, "-m", "train.download", "--url", shelf.url, "--out", str(out)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        hidden = out.parent / f".{out.name}.partial"
        for _ in range(1000):
            if hidden.exists() and hidden.stat().st_size > HALF / 2:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    kept = partial_bytes(out)
    assert errors.splitlines()[-1] == (
        f"stopped; {len(kept):,} bytes are kept, resume with: python -m train.download "
        f"--url {shelf.url} --out {out}"
    )
    assert "Traceback" not in errors
    assert not out.exists()
    assert kept and ARCHIVE.startswith(kept)
    assert main(DownloadConfig(shelf.url, out=out)) == 0
    assert shelf.ranges() == [None, f"bytes={len(kept)}-"]
    assert photos_in(out) == PHOTOS


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_nothing_is_visible_until_all_is_there(
    stop: BaseException, shelf: Shelf, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop while unpacking leaves the archive, so that the next run fetches nothing."""
    copied, copy = [], shutil.copyfileobj

    def copy_some(source: io.BufferedIOBase, target: io.BufferedIOBase, size: int) -> None:
        assert not out.exists()
        if len(copied) == 3:
            raise stop
        copied.append(copy(source, target, size))

    monkeypatch.setattr(shutil, "copyfileobj", copy_some)
    config = DownloadConfig(shelf.url, out=out)
    assert main(config) == (130 if isinstance(stop, KeyboardInterrupt) else 1)
    assert not out.exists()
    assert left_beside(out) == [f".{out.name}.partial", f".{out.name}.partial.json"]
    monkeypatch.setattr(shutil, "copyfileobj", copy)
    assert main(config) == 0
    assert photos_in(out) == PHOTOS
    assert len(shelf.requests) == 1
    assert left_beside(out) == []


def test_space_is_checked_first(
    shelf: Shelf, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = shutil.disk_usage(out.parents[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=SIZE + 10))
    config = DownloadConfig(shelf.url, out=out)
    error = fail(config, capsys)
    assert "0.00 GB are needed, 0.00 GB are free; make room or give --out on another" in error
    assert partial_bytes(out) == b""
    assert len(shelf.requests) == 1
    out.parent.joinpath("photos.tar.xz").write_bytes(lzma.compress(pack_tar(PHOTOS)))
    packed = DownloadConfig(archive=out.parent / "photos.tar.xz", out=out)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=10_000))
    assert "make room" in fail(packed, capsys)
    assert packed.archive.exists()


@pytest.mark.parametrize(
    "packed",
    [
        ARCHIVE,
        pack_tar(PHOTOS),
        gzip.compress(pack_tar(PHOTOS)),
        bz2.compress(pack_tar(PHOTOS)),
        lzma.compress(pack_tar(PHOTOS)),
        pack_zip({name.replace("/", "\\"): content for name, content in PHOTOS.items()}),
        pack_tar([("./", b""), *((f"./{name}", content) for name, content in PHOTOS.items())]),
    ],
    ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "backslashes", "dots"],
)
def test_a_file_of_this_machine(
    packed: bytes, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture
) -> None:
    archive = tmp_path / "photos.archive"
    archive.write_bytes(packed)
    config = DownloadConfig(archive=archive, out=out, sha256=sha256(packed).hexdigest())
    assert main(config) == 0
    assert photos_in(out) == PHOTOS
    assert archive.read_bytes() == packed
    record = json.loads((out / RECORD).read_text())
    assert (record["url"], record["size"]) == (archive.as_uri(), len(packed))
    assert main(config) == 0
    assert "is there already" in capsys.readouterr().out
    archive.write_bytes(packed + b"\0")
    assert main(DownloadConfig(archive=archive, out=out)) == 2
    assert main(DownloadConfig(archive=tmp_path / "none.zip", out=tmp_path / "new")) == 2
    assert "none.zip" in capsys.readouterr().err


def zip_member(name: str, mode: int = 0, flags: int = 0) -> bytes:
    """A zip file of a photo, and of one member with these Unix bits or zip flags."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    packed = bytearray(pack_zip([("a/photo.jpg", b"photo"), (info, b"/etc/passwd")]))
    directory = packed.rindex(b"PK\1\2")
    packed[directory + 8] |= flags
    packed[packed.rindex(b"PK\3\4") + 6] |= flags
    return bytes(packed)


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, **changes: object) -> bytes:
    """A tar file of a photo, and of one member of a kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "photo.jpg"
    for key, value in changes.items():
        setattr(info, key, value)
    return pack_tar([("a/photo.jpg", b"photo"), (info, b"")])


UNSAFE_NAMES = [
    "../x.jpg",
    "a/../../x.jpg",
    "/x.jpg",
    "C:\\x.jpg",
    "c:x.jpg",
    "a\\..\\..\\x",
    "\\\\h\\s\\x",
]
UNSAFE = {
    **{f"zip {name}": zip_member(name) for name in UNSAFE_NAMES},
    **{f"tar {name}": tar_member(name) for name in UNSAFE_NAMES},
    "tar ../": tar_member("../x", tarfile.DIRTYPE),
    "zip link": zip_member("a/x", stat.S_IFLNK | 0o777),
    "zip device": zip_member("a/x", stat.S_IFCHR | 0o666),
    "zip pipe": zip_member("a/x", stat.S_IFIFO | 0o666),
    "tar link": tar_member("a/x", tarfile.SYMTYPE),
    "tar link outside": tar_member("a/x", tarfile.SYMTYPE, linkname="/etc"),
    "tar hard link": tar_member("a/x", tarfile.LNKTYPE, linkname="a/photo.jpg"),
    "tar device": tar_member("a/x", tarfile.CHRTYPE),
    "tar block device": tar_member("a/x", tarfile.BLKTYPE),
    "tar pipe": tar_member("a/x", tarfile.FIFOTYPE),
    "tar sparse": tar_member("a/x", tarfile.GNUTYPE_SPARSE),
    "tar sparse in pax": tar_member(
        "a/x", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": "9"}
    ),
    "tar unknown": tar_member("a/x", b"Z"),
    "tar negative": tar_member("a/x", pax_headers={"size": "-1000"}),
}


@pytest.mark.parametrize("packed", UNSAFE.values(), ids=UNSAFE)
def test_unsafe_members(
    packed: bytes, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "bad").write_bytes(packed)
    error = fail(DownloadConfig(archive=tmp_path / "bad", out=out), capsys)
    assert "in it is a link, a device, or leads outside" in error
    assert left_beside(out) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["bad", "data"]


def damaged_tar() -> bytes:
    """A tar file with a wrong byte in the header of its third member."""
    packed = bytearray(pack_tar(PHOTOS))
    packed[packed.index(list(PHOTOS)[2].encode())] ^= 1
    return bytes(packed)


PLAIN = pack_tar(PHOTOS)
ZIPPED = gzip.compress(PLAIN)
DAMAGED = {
    "page": b"<html>please log in</html>",
    "empty": b"",
    "zip cut": ARCHIVE[:HALF],
    "zip magic": b"PK\3\4",
    "zip byte": ARCHIVE[:HALF] + bytes([ARCHIVE[HALF] ^ 1]) + ARCHIVE[HALF + 1 :],
    "tar cut": PLAIN[:100_000],
    "tar cut between": PLAIN[: PLAIN.index(list(PHOTOS)[2].encode())],
    "tar header": damaged_tar(),
    "gz cut": ZIPPED[:-200],
    "gz sum": ZIPPED[:-8] + b"####" + ZIPPED[-4:],
    "bz2 byte": bz2.compress(PLAIN)[:60] + b"#" * 200,
    "xz cut": lzma.compress(PLAIN)[:-40],
    "long name": pack_zip({"a/" + 300 * "b": b"1"}),
    "no files": pack_zip({"a/": b""}),
    "no files in tar": pack_tar({}),
    "nul in name": tar_member("a/x", pax_headers={"path": "a/x\0y"}),
    "encrypted": zip_member("a/x", flags=1),
    "twice in zip": pack_zip({"a/b": b"1", "a/c": b"2"}).replace(b"a/c", b"a/b"),
    "twice in tar": pack_tar([("a/b.jpg", b"1"), ("a/b.jpg", b"2")]),
    "file and folder": pack_zip({"a/b": b"1", "a/b/c": b"2"}),
    "file and deep folder": pack_tar({"a/b": b"1", "a/b/c/d": b"2"}),
}
REASONS = {"no files": "holds no files", "encrypted": "is encrypted", "twice": "two members"}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_archives(
    name: str, shelf: Shelf, out: Path, capsys: pytest.CaptureFixture
) -> None:
    """They leave no photos, and the next run fetches them again."""
    shelf.content = DAMAGED[name]
    error = fail(DownloadConfig(shelf.url, out=out), capsys)
    assert "is no usable zip or tar archive: " in error
    for start, reason in REASONS.items():
        assert not name.startswith(start) or reason in error
    assert set(left_beside(out)) <= {f".{out.name}.partial.json"}
    shelf.content = ARCHIVE
    assert main(DownloadConfig(shelf.url, out=out)) == 0


def test_bombs(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    zeros = bytes(1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/zeros.jpg", zeros)
    config = DownloadConfig(archive=tmp_path / "bomb", out=out)
    claim = tarfile.TarInfo("a/photo.jpg")
    claim.size = 10**9
    claims = claim.tobuf() + bytes(10_240)
    for packed in (buffer.getvalue(), gzip.compress(pack_tar({"a/b": zeros})), claims):
        config.archive.write_bytes(packed)
        assert f"or {100 * len(packed):,} bytes" in fail(config, capsys)
    config.archive.write_bytes(ARCHIVE)
    with monkeypatch.context() as patch:
        patch.setattr(download, "MAX_UNPACKED_BYTES", sum(map(len, PHOTOS.values())) - 1)
        assert "it holds over" in fail(config, capsys)
    monkeypatch.setattr(download, "MAX_MEMBERS", len(PHOTOS) - 1)
    folders = pack_tar([(f"{n}/", b"") for n in range(9)])
    for packed in (ARCHIVE, folders):
        config.archive.write_bytes(packed)
        assert f"it holds over {len(PHOTOS) - 1} members" in fail(config, capsys)
    monkeypatch.undo()
    config.archive.write_bytes(ARCHIVE)
    assert main(config) == 0


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (["a/b/1.jpg", "c/2.jpg"], ["a/b/1.jpg", "c/2.jpg"]),
        (["1.jpg"], ["1.jpg"]),
        (["a/b/1.jpg"], ["b/1.jpg"]),
        (["a/1.jpg", "2.jpg"], ["a/1.jpg", "2.jpg"]),
    ],
)
def test_a_single_top_folder_is_left_out(
    names: list[str], made: list[str], tmp_path: Path, out: Path
) -> None:
    (tmp_path / "photos.zip").write_bytes(pack_zip(dict.fromkeys(names, b"photo")))
    assert main(DownloadConfig(archive=tmp_path / "photos.zip", out=out)) == 0
    assert sorted(photos_in(out)) == sorted(made)


def test_rests_of_something_else_are_not_used(shelf: Shelf, out: Path) -> None:
    """Bytes of another address, without notes, with broken notes, or more than there can be."""
    hidden, notes = (out.parent / f".{out.name}.partial{ending}" for ending in ("", ".json"))
    known = {"url": shelf.url, "size": SIZE, "etag": '"one"', "modified": MODIFIED}
    for content, note in [
        (b"x" * 100, known | {"url": "http://127.0.0.1/else"}),
        (b"x" * 100, None),
        (b"x" * 100, [1]),
        (b"x" * 100, {}),
        (b"x" * (SIZE + 1), known),
    ]:
        shutil.rmtree(out.parent, ignore_errors=True)
        (out.parent / f".{out.name}.partial.files").mkdir(parents=True)
        hidden.write_bytes(content)
        if note is not None:
            notes.write_text(json.dumps(note))
        assert main(DownloadConfig(shelf.url, out=out)) == 0
        assert photos_in(out) == PHOTOS
        assert left_beside(out) == []
    assert set(shelf.ranges()) == {None}


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--url", "ftp://example.org/a.zip"], "is refused"),
        (["--url", "file:///a.zip"], "is refused"),
        (["--url", "photos.zip"], "is refused"),
        (["--url", "https://me:word@example.org/"], "is refused"),
        (["--url", "http://example.org/a.zip", "--archive", "a.zip"], "not both"),
        (["--sha256", "12"], "64 hexadecimal"),
        (["--output", "photos"], "did you mean --out?"),
    ],
)
def test_wrong_flags(flags: list[str], reason: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse_flags(DownloadConfig, prog="python -m train.download", args=flags)
    printed = capsys.readouterr()
    assert reason in re.sub(r"[\s│]+", " ", printed.err + printed.out)


def test_the_default_is_udacity() -> None:
    config = parse_flags(DownloadConfig, prog="python -m train.download", args=[])
    assert config.url.startswith("https://udacity-dlnfd.s3-us-west-1.amazonaws.com/")
    assert config.out == Path("data/landmark_images")
