"""Checkpoint -> model file, with all that belongs to it in the run folder."""

import dataclasses
import json
import platform
import time
from pathlib import Path

import torch

from models.files import code_commit, file_digest, write_text
from models.networks.encoder_file import INIT_FILE
from models.places.landmarks import find_places
from models.predictor import FORMAT_VERSION, Predictor, save_model
from train.config import config_from_dict
from train.data.photo_cache import decode_photos
from train.data.split import DataError, Split
from train.engine.checkpoints import load_checkpoint
from train.engine.plots import plot_confusion
from train.engine.recipe import build_preprocess, build_trained
from train.evaluation.plots import plot_reliability
from train.evaluation.predictions import Predictions
from train.evaluation.summary import summarise
from train.exporting.confidence import learn_trust
from train.exporting.model_card import write_card
from train.exporting.parity import Parity, measure_parity

# A model file travels: no folder of the machine that made it, nothing about its W&B run.
PRIVATE = (
    "data", "outside", "weights", "init_from", "cache_dir", "run_dir", "resume",
    "wandb", "entity", "project", "group", "tags", "notes", "upload_photos", "promote",
)  # fmt: skip


def export_run(run_dir: Path, outside: Path | None = None) -> tuple[Parity, Predictions]:
    """Write model.pt, model.pt2 and manifest.json of a run from its best checkpoint.

    Beside them a model card, and what the file says of the validation photos: predictions.csv and
    confusion.png.

    Args:
        run_dir: A run folder with config.json, split.json and checkpoints/best.pt.
        outside: Photos of none of the landmarks, instead of those of the run's own settings.

    Raises:
        ParityError: The file scores differently; no model file is left.
        DataError: Not a run folder, or nothing trained yet.
    """
    best = run_dir / "checkpoints" / "best.pt"
    if not best.is_file():
        raise DataError(f"no checkpoints/best.pt in {run_dir}; train first, or name a run folder")
    config = config_from_dict(json.loads((run_dir / "config.json").read_text("utf-8")))
    if outside is not None:
        config = dataclasses.replace(config, outside=outside)
    split = Split.load(run_dir / "split.json")
    model = build_trained(config, len(split.class_names), load_checkpoint(best)["model"])
    preprocess = build_preprocess(config, model)
    history = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]

    root = Path(split.root)
    left_out = json.loads((run_dir / "left_out.json").read_text(encoding="utf-8"))
    paths = [*split.train, *split.val, *left_out]
    whole = decode_photos(root, paths, preprocess.resize_px, config.cache_dir)
    cache = whole.subset(split.val)
    trust = learn_trust(model, preprocess, config, split, whole)
    logits, labels, known = trust.logits, torch.from_numpy(split.labels(split.val)), trust.known
    places = find_places(split.class_names, config.data)

    encoder = run_dir / INIT_FILE
    pretrained = {"encoder": file_digest(encoder)} if encoder.is_file() else {}
    manifest = {
        "name": run_dir.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metrics": {"val/photos": len(cache.paths)},
        "places": {name: place.to_dict() for name, place in places.items()},
        "known_threshold": known.threshold,
        "known": known.figures,
        "config": {k: v for k, v in config.to_dict().items() if k not in PRIVATE},
        "data": config.data.resolve().name,
        "split": {"fingerprint": split.fingerprint, "train_photos": len(split.train)},
        "training": {
            "epochs": len(history),
            "minutes": round(history[-1]["elapsed_seconds"] / 60, 1),
            **pretrained,
        },
        "versions": {
            "format": FORMAT_VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "commit": code_commit(),
        },
    }
    partial = run_dir / "model.partial.pt"
    parts = (model, preprocess, split.class_names)
    try:
        save_model(partial, *parts, manifest, trust.calibration, known.score)
        predictor = Predictor.load(partial)
        photos = [root / path for path in cache.paths]
        parity, probabilities = measure_parity(logits, labels, predictor, photos)
        parity.check()
        predictions = Predictions(cache.paths, labels, probabilities, split.class_names, logits)
        manifest["metrics"].update(
            {f"val/{name}": value for name, value in predictions.figures().items()},
            eager_top1=parity.eager_top1,
            flips=parity.flips,
        )
        save_model(run_dir / "model.pt", *parts, manifest, trust.calibration, known.score)
    finally:
        for leftover in (partial, partial.with_suffix(".pt2")):
            leftover.unlink(missing_ok=True)
    final = Predictor.load(run_dir / "model.pt").manifest
    write_text(run_dir / "manifest.json", json.dumps(final, indent=2, ensure_ascii=False))
    write_card(final, predictions.per_class(), run_dir / "MODEL_CARD.md")
    predictions.write_csv(run_dir / "predictions.csv")
    plot_reliability(summarise(predictions)).savefig(run_dir / "calibration.png", dpi=110)
    plot_confusion(predictions.confusion(), split.class_names, run_dir / "confusion.png")
    return parity, predictions
