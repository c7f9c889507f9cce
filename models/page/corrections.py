"""Keep photos that people confirmed or corrected on the page, ready to train on or to teach."""

import csv
import hashlib
import re
import threading
import unicodedata
from pathlib import Path
from typing import NamedTuple

from models.files import atomic
from models.photos.folder_walk import OUTSIDE_FOLDER, is_left_out
from models.tagging.table import FORMULA, printable

TABLE = "corrections.csv"
COLUMNS = ("photo", "label", "verdict", "guess", "probability", "model_digest")
MAX_NAME_BYTES = 200  # file systems take 255 for a folder
# They would be taken for the parts of a data set.
RESERVED = frozenset(("train", "val", "test", OUTSIDE_FOLDER))


class CorrectionError(ValueError):
    """A photo that cannot be kept; the message names the fix, for a person."""


class Guess(NamedTuple):
    """What a model said of a photo before a person did.

    Attributes:
        label: The likeliest one.
        verdict: sure, maybe or none.
        probability: Of the label.
        model_digest: Of the model file, sha256 in hex.
    """

    label: str
    verdict: str
    probability: float
    model_digest: str


class Corrections:
    """A folder of kept photos: CLASS/SHA256.jpg, none_of_them/SHA256.jpg, and corrections.csv.

    A photo lies in one class folder and has one line, those of the last correction. The folder
    works as --data, and its none_of_them as --outside.

    Attributes:
        folder: Made when the first photo is kept.
    """

    def __init__(self, folder: Path) -> None:
        """Keep photos in this folder, which may hold earlier ones."""
        self.folder = folder
        self._lock = threading.Lock()  # requests run side by side

    def keep(self, content: bytes, extension: str, label: str | None, guess: Guess) -> str:
        """Keep a photo, as it is, as one of a landmark.

        Args:
            content: The bytes of the file.
            extension: Of its name, such as ".jpg".
            label: What it shows; None: none of the landmarks.
            guess: What the model said.

        Returns:
            The photo's path in the folder.

        Raises:
            CorrectionError: The label cannot name a folder, or the photo cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            try:
                name = OUTSIDE_FOLDER if label is None else self._folder_of(label)
                rows = self._read_rows(without=digest)
                photo = f"{name}/{digest}{extension}"
                (self.folder / name).mkdir(parents=True, exist_ok=True)
                with atomic(self.folder / photo) as partial:
                    partial.write_bytes(content)
                # Anybody's model may call a class "=1+1": no formula, as in tables of models.tag.
                said = "'" * guess.label.startswith(FORMULA) + printable(guess.label)
                row = (guess.verdict, said, f"{guess.probability:.6f}", guess.model_digest)
                self._write_rows([*rows, (photo, label or "", *row)])
                self._delete(digest, but=photo)
            except OSError as error:
                raise CorrectionError(
                    f"the photo cannot be kept in {self.folder}: {error.strerror}"
                ) from error
        return photo

    def take_back(self, photo: str) -> None:
        """Delete a kept photo and its line.

        Args:
            photo: What keep returned; anything else deletes nothing.
        """
        digest = Path(photo).stem
        if not re.fullmatch("[0-9a-f]{64}", digest):  # "*" would be all photos
            return
        with self._lock:
            self._write_rows(self._read_rows(without=digest))
            self._delete(digest)

    def _folder_of(self, label: str) -> str:
        """Return the name of a label's folder: an existing one's, however that writes it."""
        label = unicodedata.normalize("NFC", " ".join(label.split()))
        name = label.replace(" ", "_")
        if not name or name.startswith(FORMULA) or is_left_out(name) or name in RESERVED:
            raise CorrectionError(f"{label!r} cannot name a landmark; write another name")
        if any(not letter.isprintable() or letter in "/\\" for letter in name):
            raise CorrectionError("a landmark's name cannot hold / or \\; write another name")
        if len(printable(name).encode()) > MAX_NAME_BYTES:
            raise CorrectionError("the landmark's name is too long; write a shorter one")
        there = [each.name for each in self.folder.iterdir()] if self.folder.is_dir() else []
        return next((each for each in there if each.casefold() == name.casefold()), name)

    def _delete(self, digest: str, but: str = "") -> None:
        """Delete the photo of a digest, whatever it was kept as, except under one path."""
        for path in self.folder.glob(f"*/{digest}.*"):
            if path != self.folder / but:
                path.unlink()

    def _read_rows(self, without: str) -> list[tuple[str, ...]]:
        """Read the lines of the table, but for the photo of one digest."""
        path = self.folder / TABLE
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = [tuple(row[name] for name in COLUMNS) for row in csv.DictReader(file)]
        except (ValueError, KeyError, csv.Error) as error:
            raise CorrectionError(
                f"{path} is not as the page writes it; move it elsewhere, and try again"
            ) from error
        return [row for row in rows if Path(row[0]).stem != without]

    def _write_rows(self, rows: list[tuple[str, ...]]) -> None:
        with (
            atomic(self.folder / TABLE) as partial,
            partial.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows)
