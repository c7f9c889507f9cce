"""Read the preview inside a RAW photo, with exiftool; the sensor's own data stays unread."""

import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from models.environment import EXIFTOOL_PLAIN, ExiftoolError, check_exiftool
from models.photos.decoding import JPEG_START, PhotoError

RAW_EXTENSIONS = frozenset((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"))
# Cameras name a preview by where it lies; many RAW photos have several.
PREVIEWS = ("JpgFromRaw", "PreviewImage", "OtherImage")
# What the preview itself may lack: which way is up, when, where, with which camera.
ABOUT = ("-EXIF:Orientation", "-EXIF:Make", "-EXIF:Model", "-EXIF:time:all", "-GPS:all", "-XMP:all")
QUIET = ("-q", "-q", "-m")
MAX_SECONDS = 60


def is_raw(name: str) -> bool:
    """Tell whether a name or path has the extension of a RAW photo."""
    return os.path.splitext(name)[1].lower() in RAW_EXTENSIONS


def photo_source(path: str | os.PathLike) -> str | os.PathLike | bytes:
    """Return what read_photo reads of a photo: the preview of a RAW photo, else the path itself.

    Raises:
        PhotoError: As read_preview.
    """
    return read_preview(Path(path)) if is_raw(os.fspath(path)) else path


def read_preview(photo: Path) -> bytes:
    """Return the largest preview of a RAW photo: a JPEG that has its time, place and orientation.

    Raises:
        PhotoError: There is none, the file cannot be read, or exiftool is not installed.
    """
    try:
        status = photo.stat()
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"{photo.name} cannot be opened; check its name and permissions"
        ) from error
    return _extract(photo, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)  # who reads the pixels reads time and place next
def _extract(photo: Path, _changed_ns: int, _size: int) -> bytes:
    try:
        program = check_exiftool("a RAW photo")
    except ExiftoolError as error:
        raise PhotoError(f"{photo.name}: {error}") from error
    source = os.path.abspath(photo)  # a name that begins with a dash is no option
    files = [f"{name}.jpg" for name in PREVIEWS]
    command: list[str] = [program, *EXIFTOOL_PLAIN]
    for name in PREVIEWS:  # -w takes a name: %0f is no letter of the photo's own
        command += [*QUIET, "-b", "-w", f"%0f{name}.jpg", f"-{name}", source, "-execute"]
    command += [*QUIET, "-overwrite_original", "-tagsFromFile", source, *ABOUT, *files]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            # A preview that is not there is an error to exiftool, and none here.
            subprocess.run(command, cwd=folder, capture_output=True, timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise PhotoError(f"{photo.name} took exiftool over {MAX_SECONDS} s") from error
        contents = [path.read_bytes() for name in files if (path := Path(folder) / name).exists()]
    found = [content for content in contents if content.startswith(JPEG_START)]
    if not found:
        raise PhotoError(f"{photo.name} has no preview that exiftool finds; export it as JPEG")
    return max(found, key=len)
