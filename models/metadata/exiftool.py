"""Run exiftool over a batch of files in a folder: what their metadata says, and changes to it.

A run is short and ends by itself. One that is kept open (-stay_open) would outlive a parent that is
killed, waiting for it with open files for ever.
"""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

# Writes WebP; those before 12.24 ran code out of hostile photos (CVE-2021-22204).
MIN_VERSION = 12.46
INSTALL = (
    f"writing into photos needs exiftool {MIN_VERSION} or newer: "
    "apt-get install libimage-exiftool-perl, or see https://exiftool.org; sidecars need nothing"
)
# No file of settings of the user's; it must come first.
PLAIN = ("-config", "")
# All values, raw, also repeated, binary and unknown ones, with the block that they stand in.
READ = ("-q", "-q", "-json", "-a", "-G1:4", "-e", "-n", "-struct", "-b", "-U", "--System:all")
# -m: also photos with small faults, such as maker notes that exiftool does not know.
WRITE = ("-q", "-n", "-m", "-overwrite_original")
START_SECONDS = 30
SECONDS_A_FILE = 10
# Block and name -> values; one but for what a file says twice. Numbers are text.
Tags = dict[str, list[Any]]


class ExiftoolError(RuntimeError):
    """exiftool cannot be used, or gave up; the message says what to do."""


@cache
def check_exiftool() -> str:
    """The path of exiftool.

    Raises:
        ExiftoolError: There is none, or an old one.
    """
    path = shutil.which("exiftool")
    if path is None:
        raise ExiftoolError(INSTALL)
    answer = subprocess.run([path, *PLAIN, "-ver"], capture_output=True, text=True)
    version = answer.stdout.strip()
    if not re.fullmatch(r"\d+\.\d+", version) or float(version) < MIN_VERSION:
        raise ExiftoolError(f"{path} is version {version or 'unknown'}; {INSTALL}")
    return path


def edit_files(folder: Path, edits: dict[str, list[str]]) -> tuple[dict[str, Tags], dict[str, str]]:
    """Change the metadata of files, then read it.

    Args:
        folder: Where the files are.
        edits: File name -> arguments of exiftool that change it; none: it is only read. Names and
            arguments of this project alone: text of others goes through a JSON file (-json+=).

    Returns:
        Of each file that exiftool could read its metadata, and of each that it had something to say
        of, while writing, the first line.

    Raises:
        ExiftoolError: It crashed, or took longer than 10 seconds a file.
    """
    if not edits:
        return {}, {}
    commands = [[*WRITE, *edit, name] for name, edit in edits.items() if edit]
    commands.append([*READ, *edits])
    lines = "\n-execute\n".join("\n".join(command) for command in commands)
    try:
        answer = subprocess.run(
            [check_exiftool(), *PLAIN, "-@", "-"], cwd=folder, input=lines.encode(),
            capture_output=True, timeout=START_SECONDS + SECONDS_A_FILE * len(edits),
        )  # fmt: skip
        # Numbers as they are written: 1.50 is not 1.5 where it is a keyword.
        files = json.loads(answer.stdout, parse_int=str, parse_float=str) if answer.stdout else []
    except subprocess.TimeoutExpired as error:
        raise ExiftoolError("exiftool does not come to an end with it") from error
    except (ValueError, RecursionError) as error:
        raise ExiftoolError("exiftool cannot cope with it") from error
    notes: dict[str, str] = {}
    for line in answer.stderr.decode(errors="replace").splitlines():
        text, _, name = line.rpartition(" - ")
        notes.setdefault(name, text)
    return {entry["SourceFile"]: _tags(entry) for entry in files}, notes


def texts_of(tags: Tags, key: str) -> list[str]:
    """The values of a tag, one by one."""
    values = (value if isinstance(value, list) else [value] for value in tags.get(key, []))
    return [str(each) for value in values for each in value]


def _tags(entry: dict[str, Any]) -> Tags:
    tags: Tags = {}
    for key, value in entry.items():
        if key != "SourceFile":
            # Copy1 numbers repetitions of a name, through all blocks.
            tags.setdefault(re.sub(r":Copy\d+:", ":", key), []).append(value)
    return tags
