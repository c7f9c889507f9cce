"""Run exiftool over a batch of files in a folder, to read their metadata and to change it.

Each run is short and ends by itself. With -stay_open, exiftool would outlive a killed parent, and
wait for it for ever with open files.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from models.environment import EXIFTOOL_PLAIN, ExiftoolError, check_exiftool

# All values, raw, with the block that holds them; also repeated, binary and unknown ones.
READ = ("-q", "-q", "-json", "-a", "-G1:4", "-e", "-n", "-struct", "-b", "-U", "--System:all")
# -m: also photos with minor faults, such as maker notes that exiftool does not know.
WRITE = ("-q", "-n", "-m", "-overwrite_original")
START_SECONDS = 30
SECONDS_A_FILE = 10
# Block and name -> values, more than one where a file repeats itself. Numbers are text.
Tags = dict[str, list[Any]]


def edit_files(folder: Path, edits: dict[str, list[str]]) -> tuple[dict[str, Tags], dict[str, str]]:
    """Change the metadata of files, then read it.

    Args:
        folder: Where the files are.
        edits: File name -> exiftool's arguments that change it; empty: it is only read. Never text
            from outside this project, which could be taken for options: that goes through a JSON
            file (-json+=).

    Returns:
        The metadata of each file that exiftool could read; and, for each that it complained about
        while writing, the first line.

    Raises:
        ExiftoolError: It crashed, or took longer than 10 seconds per file.
    """
    if not edits:
        return {}, {}
    commands = [[*WRITE, *edit, name] for name, edit in edits.items() if edit]
    commands.append([*READ, *edits])
    lines = "\n-execute\n".join("\n".join(command) for command in commands)
    command = [check_exiftool(), *EXIFTOOL_PLAIN, "-@", "-"]
    limit = START_SECONDS + SECONDS_A_FILE * len(edits)
    try:
        answer = subprocess.run(
            command, cwd=folder, input=lines.encode(), capture_output=True, timeout=limit
        )
        # Numbers stay text: as a keyword, 1.50 is not 1.5.
        files = json.loads(answer.stdout, parse_int=str, parse_float=str) if answer.stdout else []
    except subprocess.TimeoutExpired as error:
        raise ExiftoolError(f"exiftool did not finish with it within {limit} s") from error
    except (ValueError, RecursionError) as error:
        raise ExiftoolError("exiftool gave no usable answer for it") from error
    notes: dict[str, str] = {}
    for line in answer.stderr.decode(errors="replace").splitlines():
        text, _, name = line.rpartition(" - ")
        notes.setdefault(name, text)
    return {entry["SourceFile"]: _tags(entry) for entry in files}, notes


def texts_of(tags: Tags, key: str) -> list[str]:
    """Return the values of a tag, one by one, as text."""
    values = (value if isinstance(value, list) else [value] for value in tags.get(key, []))
    return [str(each) for value in values for each in value]


def _tags(entry: dict[str, Any]) -> Tags:
    tags: Tags = {}
    for key, value in entry.items():
        if key != "SourceFile":
            # Repetitions of a name are numbered, as in IFD0:Copy1:Make.
            tags.setdefault(re.sub(r":Copy\d+:", ":", key), []).append(value)
    return tags
