"""Set the threshold of "sure" in a model file that was exported without enough outside photos.

python benchmarks/set_verdicts.py FILE --data DIR --outside DIR/negative --outside DIR/other ...

For files whose run folder is gone; else python -m train.export RUN --outside ... is the way. Only
the manifest changes: the file answers as before. DIR must be what the file was trained on: its
validation photos are found by the split that the manifest records, and test/ is not opened. Half B
of the outside photos, which must have taught the file nothing, sets the threshold.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.files import file_digest
from models.model_file.classifier import KnownScore
from models.model_file.torchscript import rewrite_manifest
from models.predictor import Predictor
from train.data.outside import OutsidePhotos
from train.data.split import index_photos, split_by_class
from train.evaluation.open_set import PER_MILLE, recall_at
from train.evaluation.scoring import score_photos
from train.exporting.known_score import KnownFit, fit_thresholds


@dataclass(frozen=True)
class VerdictsConfig:
    """Set the threshold of "sure" in a model file."""

    model: tyro.conf.Positional[Path]
    """The model file; its manifest is rewritten."""
    data: Path
    """The photos that it was trained on."""
    outside: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    """Photos of none of its landmarks, a folder per kind; half B is used."""


def main(config: VerdictsConfig) -> int:
    """Measure, rewrite and print; return the exit status."""
    predictor = Predictor.load(config.model)
    manifest = predictor.manifest
    settings = manifest["config"]
    split = split_by_class(
        index_photos(config.data), config.data, settings["val_fraction"], settings["split_seed"]
    )
    if split.fingerprint != manifest["split"]["fingerprint"]:
        print(f"error: {config.model} was not trained on {config.data}", file=sys.stderr)
        return 1
    scores = score_photos(predictor, config.data, split.val, "validation")
    known = scores.with_labels(torch.from_numpy(split.labels(split.val)))
    outside = OutsidePhotos.find(config.outside)
    others = {
        kind: score_photos(predictor, Path(outside.root), paths, kind, True).known_scores.double()
        for kind, paths in outside.measure.items()
    }
    held_out = scores.known_scores.double()
    fit = KnownFit(KnownScore(), manifest["known_threshold"], {}, held_out, held_out[:0])
    thresholds = fit_thresholds(fit, known.right(), others)
    rewrite_manifest(config.model, manifest | thresholds.to_manifest())
    print(f"{predictor.digest[:12]} is now {file_digest(config.model)[:12]}; {thresholds}")
    named = held_out >= (thresholds.sure or 0)
    print(f"validation: {named.double().mean():.1%} sure, right {(named & known.right()).sum()}")
    for n in PER_MILLE:
        print(f"R@{n} of validation: {recall_at(held_out, known.right(), others, n):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(VerdictsConfig)))
