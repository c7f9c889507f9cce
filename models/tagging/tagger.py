"""Turn a photo into its row of a table: verdict, place, guesses, evidence, model."""

import math
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.command_line import first_line
from models.model_file.evidence import find_box
from models.photos import PhotoError
from models.photos.capture import read_capture
from models.photos.raw import photo_source
from models.places.landmarks import country_name
from models.predictor import Predictor, weigh_position
from models.tagging.table import COLUMNS, Row, printable


@dataclass(frozen=True)
class Tagger:
    """A model that makes rows.

    Attributes:
        predictor: The loaded model file.
        version: Of the model in W&B, if it came from there.
    """

    predictor: Predictor
    version: str | None = None

    def tag(self, path: str) -> Row:
        """Return the row of one photo; what goes wrong with it is said in the row, not raised.

        Args:
            path: As found; the row shows it with forward slashes.
        """
        row = self.empty_row(path)
        try:
            row |= self._describe(path)
        except PhotoError as error:
            row["error"] = printable(str(error))
        except Exception as error:  # one photo must not end a run over a million
            row["error"] = printable(f"{Path(path).name} failed: {first_line(error)}")
        if row["error"] and os.path.isdir(path):
            row["error"] = printable(f"{Path(path).name} is a folder that cannot be listed")
        return row

    def empty_row(self, path: str) -> Row:
        """Return a row that names photo and model and says nothing else."""
        manifest = self.predictor.manifest
        return dict.fromkeys(COLUMNS) | {
            "photo": printable(Path(path).as_posix()),
            "model": str(manifest.get("name") or self.predictor.path.stem),
            "model_version": self.version,
            "model_digest": self.predictor.digest,
        }

    def _describe(self, path: str) -> Row:
        answer = self.predictor.answer(photo_source(path))
        place = self.predictor.place(answer.label) if answer.known else None
        capture = read_capture(Path(path))
        own = capture.position
        answer, away = weigh_position(answer, place, own)
        said: Row = {
            "verdict": answer.verdict,
            "landmark": printable(answer.label) if answer.verdict == "sure" else None,
            "distance_km": away and round(away, 3),
            "known": answer.known,
            "known_score": _rounded(answer.known_score),
            "taken": capture.taken and _written(capture.taken),
            "camera": capture.camera and printable(capture.camera),
            "own_latitude": own and own.latitude,
            "own_longitude": own and own.longitude,
            "place_level": self.predictor.place_level(answer, away),
        }
        for rank, (label, probability) in enumerate(answer.probabilities.items(), 1):
            said |= {
                f"label_{rank}": printable(label),
                f"probability_{rank}": _rounded(probability),
            }
        # Only for the best label: boxes of the other four would take a tenth of the time.
        box = find_box(answer.evidence[0], answer.region)
        if box is not None:
            sides = ("left", "top", "width", "height")
            said |= {f"box_{side}": _rounded(getattr(box, side)) for side in sides}
        if place is not None:
            said |= {
                "place": place.name,
                "city": place.city or None,
                "country": country_name(place.country) or None,
                "country_code": place.country or None,
                "latitude": place.latitude,
                "longitude": place.longitude,
            }
        return said


def _written(taken: datetime) -> str:
    """Write a time in ISO 8601, with milliseconds only where the photo has a fraction."""
    return taken.isoformat(timespec="milliseconds" if taken.microsecond else "seconds")


def _rounded(value: float) -> float | None:
    """Round to six digits; None for what is not a number, which JSON cannot hold."""
    return round(value, 6) if math.isfinite(value) else None
