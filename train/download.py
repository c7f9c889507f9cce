"""Fetch photos to train on, by default Udacity's 50 landmarks: python -m train.download.

Nothing that arrives is trusted, and the folder appears only when it is whole.
"""

import errno
import http.client
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path, PureWindowsPath
from typing import IO, Any
from urllib.parse import urlsplit

import tyro
from tqdm import tqdm

UDACITY = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = ".download.json"
STALL_SECONDS = 30.0
RETRIES = 5  # in a row that got no further
BACKOFF_SECONDS = 0.5  # doubled before each of them
CHUNK_BYTES = 1 << 20
PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
DAMAGE_ERRORS = (None, errno.EINVAL, errno.ENAMETOOLONG)  # None: gzip's and bz2's own
MAX_MEMBERS = 500_000
MAX_UNPACKED_BYTES = 100 << 30
MAX_RATIO = 100  # unpacked to packed: photos stay near 1, bombs reach 1000 and more


class DownloadError(ValueError):
    """Photos that cannot be had or trusted; the message says why."""


@dataclass(frozen=True)
class DownloadConfig:
    """Fetch an archive of photos in class folders, check it and unpack it."""

    url: str = UDACITY
    """Where the archive is; http or https."""
    archive: Path | None = None
    """Instead: a zip or tar (.gz, .bz2, .xz) file on this machine."""
    out: Path = Path("data/landmark_images")
    """The folder to make; one that is there already is never touched."""
    sha256: str | None = None
    """What the archive must be; without it, any is taken and recorded."""
    size: int | None = None
    """How many bytes the archive must have."""

    def __post_init__(self) -> None:
        """Reject what is no source and no digest."""
        check_address(self.url, "http", "https")
        if self.archive and self.url != UDACITY:
            raise ValueError("give --url or --archive, not both")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits, in lower case")

    def hidden(self, ending: str = "") -> Path:
        """The archive while it is on its way; with an ending, what belongs to it."""
        return self.out.parent / f".{self.out.name}.partial{ending}"


class CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and never from https to http."""

    def redirect_request(self, *request: Any) -> urllib.request.Request | None:
        """The next request; its address is the last argument, the old request the first."""
        check_address(request[-1], "https", request[0].type)
        return super().redirect_request(*request)


def check_address(url: str, *schemes: str) -> None:
    """Raise DownloadError for other schemes, and for passwords, which would be recorded."""
    address = urlsplit(url)
    if address.scheme not in schemes or not address.hostname or "@" in address.netloc:
        raise DownloadError(f"{url} is refused: no web address, not safe, or with a user name")


def check_space(folder: Path, needed: int) -> None:
    """Raise OSError, as the full disk would, unless so many bytes are free."""
    if (free := shutil.disk_usage(folder).free) < needed:
        text = f"{needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
        raise OSError(errno.ENOSPC, f"{text}; make room or give --out on another disk")


def read_record(path: Path) -> dict[str, Any]:
    """Which archive a partial file or a folder comes from; empty where nothing says so."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def fetch_rest(config: DownloadConfig) -> dict[str, Any]:
    """Bring the partial file to its end over one connection; OSError if another may help."""
    path, notes = config.hidden(), config.hidden(".json")
    record, have = read_record(notes), file_size(path)
    size, key = record.get("size"), "etag" if record.get("etag") else "modified"
    if record.get("url") != config.url or not size or have > size:
        have = 0  # of something else, or nothing is known to check the rest by
    elif have == size:
        return record
    request = urllib.request.Request(config.url, headers={"User-Agent": "landmarks"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if record.get(key) and not record[key].startswith("W/"):  # If-Range takes no weak ones
            request.add_header("If-Range", record[key])
    opener = urllib.request.build_opener(CheckedRedirects)
    with opener.open(request, timeout=STALL_SECONDS) as response:
        seen = {"etag": response.headers["ETag"], "modified": response.headers["Last-Modified"]}
        if response.status == 206:
            part = response.headers["Content-Range"] or ""
            is_rest = part.startswith(f"bytes {have}-") and part.endswith(f"/{size}")
            if not is_rest or seen[key] not in (None, record.get(key)):
                path.unlink(missing_ok=True)
                raise ConnectionError("the archive changed on the server; starting over")
        else:
            if have:
                print("the archive changed, or the server cannot resume; starting over", flush=True)
            size, have = response.length or config.size, 0
            if config.size not in (None, size):
                raise DownloadError(f"{config.url} has {size:,} bytes, not {config.size:,}")
            path.write_bytes(b"")  # first: notes on the new must not meet bytes of the old
            record = {"url": config.url, "size": size, **seen}
            notes.write_text(json.dumps(record), encoding="utf-8")
        check_space(path.parent, 2 * (size or 0) - have)  # unpacked, photos take as much again
        limit = size or MAX_UNPACKED_BYTES
        response.length = None  # read on to the end: more than promised must not go unseen
        bar = tqdm(total=size, initial=have, unit="B", unit_scale=True, desc="downloading")
        with bar, path.open("ab") as file:
            while have <= limit and (block := response.read1(CHUNK_BYTES)):
                have += file.write(block)
                bar.update(len(block))
    if have > limit:
        path.unlink()
        raise DownloadError(f"{config.url} sends more than the {limit:,} bytes that it promised")
    if size and have < size:
        raise ConnectionError(f"only {have:,} of the promised {size:,} bytes came")
    return record


def fetch_archive(config: DownloadConfig) -> dict[str, Any]:
    """Bring the partial file to its end over as many connections as it takes; see fetch_rest."""
    path, failures = config.hidden(), 0
    furthest = file_size(path)
    while True:
        try:
            return fetch_rest(config)
        except (OSError, http.client.HTTPException) as error:
            text = (str(error) or type(error).__name__).strip("<>")
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code == 416:  # less is there than has come
                    path.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    raise DownloadError(f"{config.url}: {text}") from error
            elif getattr(error, "errno", None) == errno.ENOSPC:
                raise
            failures = 0 if file_size(path) > furthest else failures + 1
            furthest = max(furthest, file_size(path))
            if failures > RETRIES:
                raise DownloadError(f"{config.url}: {text}, {failures} times") from error
            seconds = BACKOFF_SECONDS * 2**failures
            print(f"{text}; next try in {seconds:g} s", flush=True)
            time.sleep(seconds)


def read_photos(path: Path) -> Iterator[tuple[tuple[str, ...], int, IO[bytes]]]:
    """Path, bytes and content of each file in an archive; DownloadError if one is unsafe."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    unpacked, limit = 0, min(MAX_UNPACKED_BYTES, MAX_RATIO * file_size(path))
    with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
        for count, info in enumerate(archive.infolist() if is_zip else archive, 1):
            if is_zip:
                name, size, is_folder = info.filename, info.file_size, info.is_dir()
                is_plain = info.external_attr >> 28 in (0, 4, 8)  # unknown, folder, file
            else:
                name, size, is_folder = info.name, info.size, info.isdir()
                is_plain = info.type in PLAIN_TYPES and not info.issparse()
            place = PureWindowsPath(name)  # knows drives and both slashes
            if not is_plain or size < 0 or place.anchor or ".." in place.parts:
                raise DownloadError(f"{name!r} in it is a link, a device, or leads outside")
            if not is_zip and hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
                tarfile.data_filter(info, str(path.parent))
            unpacked += size
            if count > MAX_MEMBERS or unpacked > limit:
                raise DownloadError(f"it holds over {MAX_MEMBERS:,} members or {limit:,} bytes")
            if is_folder or "__MACOSX" in place.parts or place.name in ("", ".DS_Store"):
                continue
            with archive.open(info) if is_zip else archive.extractfile(info) as source:
                yield place.parts, size, source
        if not is_zip:  # tarfile takes a damaged header for the end, and skips gzip's checksum
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(CHUNK_BYTES)[: tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
                raise DownloadError("it breaks off")


def unpack_archive(path: Path, config: DownloadConfig, record: dict[str, Any]) -> None:
    """Check all, unpack out of sight, then rename: the single top folder, else everything."""
    with path.open("rb") as file:
        record |= {"size": file_size(path), "sha256": file_digest(file, "sha256").hexdigest()}
    for name in ("size", "sha256"):
        if getattr(config, name) not in (None, record[name]):
            raise DownloadError(f"its {name} is {record[name]}, not as given")
    check_space(config.out.parent, sum(size for _, size, _ in read_photos(path)))
    hidden = config.hidden(".files")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        hidden.mkdir()
        for parts, _, source in tqdm(read_photos(path), "unpacking", unit=" files"):
            target = hidden.joinpath(*parts)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
            except (FileExistsError, NotADirectoryError) as error:
                raise DownloadError(f"two members of it are {'/'.join(parts)!r}") from error
        tops = list(hidden.iterdir())
        if not tops:
            raise DownloadError("it holds no files")
        whole = tops[0] if len(tops) == 1 and tops[0].is_dir() else hidden
        (whole / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        os.replace(whole, config.out)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def download_photos(config: DownloadConfig) -> str:
    """Make the folder unless it is there from the same source; what to tell the user."""
    path = config.archive or config.hidden()
    source = {k: v for k in ("url", "size", "sha256") if (v := getattr(config, k))}
    if config.archive:
        source |= {"url": path.resolve().as_uri(), "modified": path.stat().st_mtime_ns}
    if source.items() <= read_record(config.out / RECORD).items():
        return f"{config.out} is there already, made from {source['url']}"
    if os.path.lexists(config.out):
        raise DownloadError(f"{config.out} is there, made from something else; give another --out")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    record = source if config.archive else fetch_archive(config)
    try:
        unpack_archive(path, config, record)
    except Exception as error:  # whatever zipfile and tarfile make of damage
        if isinstance(error, OSError) and error.errno not in DAMAGE_ERRORS:
            raise
        if not config.archive:  # to be fetched anew
            path.unlink()
        text = str(error).split(":\n")[0]
        raise DownloadError(f"{source['url']} is no usable zip or tar archive: {text}") from error
    if not config.archive:
        path.unlink()
        config.hidden(".json").unlink()
    return f"train with: python -m train.transfer --data {shlex.quote(str(config.out))}"


def main(config: DownloadConfig) -> int:
    """Download, or say in one line why not and how to go on."""
    try:
        print(download_photos(config))
        return 0
    except KeyboardInterrupt:
        status, text = 130, "\nstopped"
    except (OSError, ValueError) as error:
        status, text = 1, f"error: {error}"
    if not config.archive and (kept := file_size(config.hidden())):
        command = shlex.join(["python", "-m", "train.download", *sys.argv[1:]])
        text += f"; {kept:,} bytes are kept, go on with: {command}"
    print(text, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(tyro.cli(DownloadConfig, prog="python -m train.download")))
