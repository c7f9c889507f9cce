"""Fetch photos to train on, by default Udacity's 50 landmarks: python -m train.download.

Nothing that arrives is trusted, and the folder appears only when it is complete.
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
from pathlib import Path, PureWindowsPath
from typing import IO, Any
from urllib.parse import urlsplit

from tqdm import tqdm

from models.command_line import parse_flags
from models.files import check_folder, file_digest

EXAMPLES = (
    "python -m train.download",
    "python -m train.download --url https://example.org/photos.zip --out data/photos",
    "python -m train.download --archive photos.tar.gz --out data/photos",
)
UDACITY = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = ".download.json"
STALL_SECONDS = 30.0
RETRIES = 5  # in a row, each without a new byte
BACKOFF_SECONDS = 0.5  # before the first retry; doubled before each further one
CHUNK_BYTES = 1 << 20
PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
# OSErrors that a damaged archive causes; gzip's and bz2's own have no number. All others are the
# disk's.
DAMAGE_ERRORS = (None, errno.EINVAL, errno.ENAMETOOLONG)
MAX_MEMBERS = 500_000
MAX_UNPACKED_BYTES = 100 << 30
MAX_RATIO = 100  # unpacked to packed bytes: photos stay near 1, zip bombs exceed 1000


class DownloadError(ValueError):
    """Photos that cannot be fetched or trusted; the message says why."""


@dataclass(frozen=True)
class DownloadConfig:
    """Fetch an archive of photos in class folders, check it and unpack it."""

    url: str = UDACITY
    """Address of the archive, http or https."""
    archive: Path | None = None
    """A zip or tar (.gz, .bz2, .xz) file on this machine, instead of --url."""
    out: Path = Path("data/landmark_images")
    """Folder to create; an existing one is never touched."""
    sha256: str | None = None
    """Expected digest of the archive; without it, any archive is accepted."""
    size: int | None = None
    """Expected size of the archive in bytes."""

    def __post_init__(self) -> None:
        """Reject unsafe addresses, two sources, and what is no digest."""
        check_address(self.url, "http", "https")
        if self.archive and self.url != UDACITY:
            raise ValueError("give --url or --archive, not both")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits, in lower case")

    def hidden(self, ending: str = "") -> Path:
        """Return the path of the unfinished archive, or with an ending that of its companions."""
        return self.out.parent / f".{self.out.name}.partial{ending}"


class CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects only to http and https, and never from https to http."""

    def redirect_request(self, *request: Any) -> urllib.request.Request | None:
        """Return the next request, unless its address is refused."""
        # urllib passes the old request first and the new address last.
        check_address(request[-1], "https", request[0].type)
        return super().redirect_request(*request)


def check_address(url: str, *schemes: str) -> None:
    """Check that an address is one of these schemes and holds no user name or password.

    Raises:
        DownloadError: It is not; a password would end up in the record.
    """
    address = urlsplit(url)
    if address.scheme not in schemes or not address.hostname or "@" in address.netloc:
        raise DownloadError(f"{url} is refused: no web address, not safe, or with a user name")


def check_space(folder: Path, needed: int) -> None:
    """Check that a number of bytes is free on a folder's disk.

    Raises:
        OSError: It is not; ENOSPC, as a full disk would raise later.
    """
    if (free := shutil.disk_usage(folder).free) < needed:
        text = f"{needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
        raise OSError(errno.ENOSPC, f"{text}; make room or give --out on another disk")


def read_record(path: Path) -> dict[str, Any]:
    """Read which archive a partial file or a folder comes from; {} if there is no valid record."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def fetch_rest(config: DownloadConfig) -> dict[str, Any]:
    """Complete the partial file over one connection.

    Returns:
        The record of the archive: url, size, etag, modified.

    Raises:
        OSError, HTTPException: The connection failed; another attempt may help.
        DownloadError: Another attempt would not help.
    """
    path, notes = config.hidden(), config.hidden(".json")
    record, have = read_record(notes), file_size(path)
    size, key = record.get("size"), "etag" if record.get("etag") else "modified"
    if record.get("url") != config.url or not size or have > size:
        have = 0  # from another address, or without the size that the rest is checked by
    elif have == size:
        return record
    request = urllib.request.Request(config.url, headers={"User-Agent": "landmarks"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if record.get(key) and not record[key].startswith("W/"):  # If-Range allows no weak ETag
            request.add_header("If-Range", record[key])
    opener = urllib.request.build_opener(CheckedRedirects)
    with opener.open(request, timeout=STALL_SECONDS) as response:
        seen = {"etag": response.headers["ETag"], "modified": response.headers["Last-Modified"]}
        if response.status == 206:  # the rest, as asked for
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
            # In this order: a record of the new archive must never describe bytes of the old one.
            path.write_bytes(b"")
            record = {"url": config.url, "size": size, **seen}
            notes.write_text(json.dumps(record), encoding="utf-8")
        check_space(path.parent, 2 * (size or 0) - have)  # archive and unpacked photos
        limit = size or MAX_UNPACKED_BYTES
        # Else http.client stops at the promised length, and a longer answer would go unnoticed.
        response.length = None
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
    """Complete the partial file over as many connections as it takes.

    Gives up after RETRIES attempts in a row that brought nothing new.

    Returns:
        The record of the archive; see fetch_rest.

    Raises:
        DownloadError: The server refuses, or brings nothing new.
        OSError: The disk is full.
    """
    path, failures = config.hidden(), 0
    furthest = file_size(path)
    while True:
        try:
            return fetch_rest(config)
        except (OSError, http.client.HTTPException) as error:
            text = (str(error) or type(error).__name__).strip("<>")
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code == 416:  # the archive is now shorter than what we have of it
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
    """Yield path, size and content of each file in an archive, except hidden and system ones.

    Raises:
        DownloadError: A member is unsafe, or the archive is too large or breaks off.
        Exception: Whatever zipfile and tarfile make of a damaged archive.
    """
    from models.photos.folder_walk import is_left_out

    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    unpacked, limit = 0, min(MAX_UNPACKED_BYTES, MAX_RATIO * file_size(path))
    with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
        for count, info in enumerate(archive.infolist() if is_zip else archive, 1):
            if is_zip:
                name, size, is_folder = info.filename, info.file_size, info.is_dir()
                is_plain = info.external_attr >> 28 in (0, 4, 8)  # Unix type: none, folder, file
            else:
                name, size, is_folder = info.name, info.size, info.isdir()
                is_plain = info.type in PLAIN_TYPES and not info.issparse()
            place = PureWindowsPath(name)  # on every system: it knows drives and both slashes
            if not is_plain or size < 0 or place.anchor or ".." in place.parts:
                raise DownloadError(f"{name!r} in it is a link, a device, or leads outside")
            if not is_zip and hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
                tarfile.data_filter(info, str(path.parent))
            unpacked += size
            if count > MAX_MEMBERS or unpacked > limit:
                raise DownloadError(f"it holds over {MAX_MEMBERS:,} members or {limit:,} bytes")
            if is_folder or not place.name or any(map(is_left_out, place.parts)):
                continue
            with archive.open(info) if is_zip else archive.extractfile(info) as source:
                yield place.parts, size, source
        # tarfile takes a damaged header for the end of the archive. Reading on to the real end
        # also makes gzip compare its checksum.
        if not is_zip:
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(CHUNK_BYTES)[: tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
                raise DownloadError("it breaks off")


def unpack_archive(path: Path, config: DownloadConfig, record: dict[str, Any]) -> None:
    """Check the archive, unpack it into a hidden folder, and rename that to --out.

    If everything lies in one top folder, that becomes --out.

    Args:
        path: The archive.
        config: Expected size and digest, and out.
        record: Where the archive comes from; kept in --out, with size and digest.

    Raises:
        DownloadError: The archive is not as expected, unsafe, or empty.
        OSError: The disk is full.
    """
    record |= {"size": file_size(path), "sha256": file_digest(path)}
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


def check_flags(config: DownloadConfig) -> dict[str, str | int]:
    """Check what --archive and --out name; return what is known of the archive before it is read.

    Raises:
        DownloadError: There is no such archive, or --out exists from another source.
        ValueError: The folder of --out cannot be written.
        OSError: --archive cannot be read.
    """
    source = {k: v for k in ("url", "size", "sha256") if (v := getattr(config, k))}
    if config.archive:
        if not config.archive.is_file():
            raise DownloadError(f"no file at --archive {config.archive}; give a zip or tar archive")
        modified = config.archive.stat().st_mtime_ns
        source |= {"url": config.archive.resolve().as_uri(), "modified": modified}
    is_there = source.items() <= read_record(config.out / RECORD).items()
    if os.path.lexists(config.out) and not is_there:
        raise DownloadError(f"{config.out} is there, made from something else; give another --out")
    check_folder(config.out.absolute().parent, "the folder of --out")
    return source


def download_photos(config: DownloadConfig) -> str:
    """Create the folder, unless it exists already from the same source.

    Returns:
        What to tell the user.

    Raises:
        DownloadError: The photos cannot be fetched or trusted, or --out exists from another source.
        OSError: The disk is full, or --archive cannot be read.
    """
    source = check_flags(config)
    path = config.archive or config.hidden()
    if os.path.lexists(config.out):
        return f"{config.out} is there already, made from {source['url']}"
    config.out.parent.mkdir(parents=True, exist_ok=True)
    record = source if config.archive else fetch_archive(config)
    try:
        unpack_archive(path, config, record)
    except Exception as error:  # zipfile and tarfile raise all kinds of errors at damage
        if isinstance(error, OSError) and error.errno not in DAMAGE_ERRORS:
            raise
        if not config.archive:  # else the next run would unpack the same damage
            path.unlink()
        text = str(error).split(":\n")[0]
        raise DownloadError(f"{source['url']} is no usable zip or tar archive: {text}") from error
    if not config.archive:
        path.unlink()
        config.hidden(".json").unlink()
    return f"train with: python -m train.transfer --data {shlex.quote(str(config.out))}"


def main(config: DownloadConfig) -> int:
    """Run the command: download, or print in one line why not and how to resume.

    Returns:
        The exit status: 0, 1 after an error, 2 where flags cannot work, 130 after Ctrl-C.
    """
    status = 2
    try:
        check_flags(config)
        status = 1
        print(download_photos(config))
        return 0
    except KeyboardInterrupt:
        status, text = 130, "\nstopped"
    except (OSError, ValueError) as error:
        text = f"error: {error}"
    if not config.archive and (kept := file_size(config.hidden())):
        command = shlex.join(["python", "-m", "train.download", *sys.argv[1:]])
        text += f"; {kept:,} bytes are kept, resume with: {command}"
    print(text, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(parse_flags(DownloadConfig, prog="python -m train.download", examples=EXAMPLES)))
