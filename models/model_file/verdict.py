"""Decide from a known score whether an answer is sure, maybe or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["sure", "maybe", "none"]
"""sure: name it; maybe: it looks like it; none: the photo shows none of the known landmarks."""
FAR_KM = 50.0
"""From this far away, a photo whose own GPS position disagrees does not show the landmark."""


@dataclass(frozen=True)
class Thresholds:
    """The known scores from which an answer counts as maybe and as sure.

    Attributes:
        maybe: Below it the verdict is none; None: nothing is refused.
        sure: None where the file was made without photos of other things to set it by: nothing is
            sure then.
        passes: Verdict -> kind of other photos -> measured fraction that gets at least that
            verdict; of photos that taught neither network nor score.
        outside_photos: Kind -> number of photos that these fractions come from.
        wrong_share: Of measured photos with the verdict maybe, the fraction whose name is wrong,
            counted as if half of all photos showed a landmark; None: not measured.
    """

    maybe: float | None = None
    sure: float | None = None
    passes: Mapping[Verdict, Mapping[str, float]] | None = None
    outside_photos: Mapping[str, int] | None = None
    wrong_share: float | None = None

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> "Thresholds":
        """Read them; files of earlier versions have only known_threshold, the one of maybe.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: They are no numbers, a fraction lies
                outside [0, 1], or sure lies below maybe.
        """
        maybe = manifest["known_threshold"]
        said = manifest.get("verdicts") or {}
        sure, wrong = said.get("sure_threshold"), said.get("wrong_share")
        passes, photos = said.get("passes"), said.get("outside_photos")
        found = cls(
            None if maybe is None else float(maybe),
            None if sure is None else float(sure),
            passes and {verdict: _fractions(kinds) for verdict, kinds in passes.items()},
            photos and {kind: int(count) for kind, count in photos.items()},
            None if wrong is None else _fraction(wrong),
        )
        if found.sure is not None and (found.maybe is None or not found.sure >= found.maybe):
            raise ValueError("the threshold of sure lies below that of maybe")
        return found

    def to_manifest(self) -> dict[str, Any]:
        """Return the part of a manifest that from_manifest reads."""
        return {
            "known_threshold": self.maybe,
            "verdicts": {
                "sure_threshold": self.sure,
                "passes": self.passes,
                "outside_photos": self.outside_photos,
                "wrong_share": self.wrong_share,
            },
        }

    def judge(self, known_score: float) -> Verdict:
        """Return the verdict of a known score."""
        if self.sure is not None and known_score >= self.sure:
            return "sure"
        return "maybe" if self.maybe is None or known_score >= self.maybe else "none"


def is_far(distance_km: float | None) -> bool:
    """Return whether a photo was taken too far away to show the landmark; not if that is unknown.

    Args:
        distance_km: From the photo's own position to the landmark; None if either is unknown.
    """
    return distance_km is not None and distance_km > FAR_KM


def doubt(verdict: Verdict, distance_km: float | None) -> Verdict:
    """Return a verdict in the light of where the photo says it was taken.

    Args:
        verdict: By the photo alone.
        distance_km: As is_far.
    """
    return "maybe" if verdict == "sure" and is_far(distance_km) else verdict


def _fractions(kinds: Mapping[str, Any]) -> dict[str, float]:
    return {kind: _fraction(value) for kind, value in kinds.items()}


def _fraction(value: Any) -> float:
    if not 0 <= float(value) <= 1:  # NaN, too
        raise ValueError(f"{value!r:.20} is no fraction")
    return float(value)
