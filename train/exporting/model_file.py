"""Turn a checkpoint into a model file, and write what belongs to it in the run folder."""

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.command_line import first_line
from models.environment import install_command
from models.files import atomic, code_commit, file_digest, write_text
from models.model_file.archive import FORMAT_VERSION, TWIN, read_extra
from models.model_file.torchscript import add_twin, rewrite_manifest, save_model
from models.networks.encoder_file import INIT_FILE
from models.places.landmarks import find_places
from models.predictor import Predictor
from train.config import TrainConfig, config_from_dict
from train.data.outside import OutsidePhotos
from train.data.photo_cache import decode_photos
from train.data.split import Split
from train.engine.checkpoints import load_checkpoint
from train.engine.recipe import build_preprocess, build_trained
from train.engine.run_folder import find_checkpoint, open_outside
from train.evaluation.plots import plot_confusion, plot_reliability
from train.evaluation.predictions import Predictions
from train.evaluation.summary import summarise
from train.exporting.confidence import ConfidenceFit, fit_confidence
from train.exporting.model_card import write_card
from train.exporting.parity import Parity, measure_parity

# A model file travels: it names no folder of the machine that made it, and no W&B run.
PRIVATE = (
    "data",
    "outside",
    "teacher",
    "weights",
    "init_from",
    "cache_dir",
    "run_dir",
    "resume",
    "wandb",
    "entity",
    "project",
    "group",
    "tags",
    "notes",
    "upload_photos",
    "promote",
)


def export_run(run_dir: Path, outside: Sequence[Path] = ()) -> tuple[Parity, Predictions]:
    """Write model.pt, model.onnx, model.pt2 and manifest.json of a run from its best checkpoint.

    model.onnx is the ONNX twin that model.pt holds, too; a network that cannot be exported to ONNX
    gets none, and a line that says so.

    Beside them go a model card and what the file says of the validation photos: predictions.csv,
    calibration.png and confusion.png.

    Args:
        run_dir: A run folder with config.json, split.json and checkpoints/best.pt.
        outside: Folders of photos of none of the landmarks, instead of those of the run.

    Raises:
        ParityError: The file scores photos differently; it is removed, and a model file of an
            earlier export stays as it was.
        DataError: Not a run folder, or nothing trained yet.
    """
    best = find_checkpoint(run_dir)
    config = config_from_dict(json.loads((run_dir / "config.json").read_text("utf-8")))
    others = OutsidePhotos.find(outside) if outside else open_outside(config, run_dir)
    split = Split.load(run_dir / "split.json")
    model = build_trained(config, len(split.class_names), load_checkpoint(best)["model"])
    preprocess = build_preprocess(config, model)

    root = Path(split.root)
    left_out = json.loads((run_dir / "left_out.json").read_text(encoding="utf-8"))
    # The same list as the training's, unreadable photos included, so that its cache is found.
    paths = [*split.train, *split.val, *left_out]
    cache = decode_photos(root, paths, preprocess.resize_px, config.cache_dir)
    fit = fit_confidence(model, preprocess, config, split, cache, others)
    labels = torch.from_numpy(split.labels(split.val))
    manifest = build_manifest(run_dir, config, split, fit)

    # Both files are moved to their names after the gate, so that nobody finds one that failed it.
    # save_model puts the program beside its file: at the name that the second line holds for it.
    with (
        atomic(run_dir / "model.pt") as partial,
        atomic(run_dir / "model.pt2") as program,
    ):
        parts = (model, preprocess, split.class_names)
        save_model(partial, *parts, manifest, fit.calibration, fit.known.score)
        has_twin = _try_twin(partial, model)
        predictor = Predictor.load(partial, use_twin=False)
        twin = Predictor.load(partial) if has_twin else None
        parity, probabilities = measure_parity(fit.logits, labels, predictor, twin, root, split.val)
        parity.check()
        predictions = Predictions(split.val, labels, probabilities, split.class_names, fit.logits)
        figures = {f"val/{name}": value for name, value in predictions.figures().items()}
        gate = {"eager_top1": parity.eager_top1, "flips": parity.flips}
        metrics = {**predictor.manifest["metrics"], **figures, **gate}
        final = {**predictor.manifest, "metrics": metrics}
        rewrite_manifest(partial, final)
        _rewrite_program(program, final)
    _place_twin(run_dir)
    write_text(run_dir / "manifest.json", json.dumps(final, indent=2, ensure_ascii=False))
    write_card(final, predictions.per_class(), run_dir / "MODEL_CARD.md")
    predictions.write_csv(run_dir / "predictions.csv")
    plot_reliability(summarise(predictions)).savefig(run_dir / "calibration.png", dpi=110)
    title = "Validation photos (no number: all right)"
    plot_confusion(predictions, title).savefig(run_dir / "confusion.png", dpi=110)
    return parity, predictions


def build_manifest(
    run_dir: Path, config: TrainConfig, split: Split, fit: ConfidenceFit
) -> dict[str, Any]:
    """Return what a model file records of its run; save_model adds labels and preprocessing."""
    history = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    places = find_places(split.class_names, config.data)
    encoder = run_dir / INIT_FILE
    pretrained = {"encoder": file_digest(encoder)} if encoder.is_file() else {}
    taught = {"teachers": len(config.teacher)} if config.teacher else {}
    return {
        "name": run_dir.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metrics": {"val/photos": len(split.val)},
        "places": {name: place.to_dict() for name, place in places.items()},
        **fit.thresholds.to_manifest(),
        "known": fit.known.figures,
        "config": {k: v for k, v in config.to_dict().items() if k not in PRIVATE},
        "data": config.data.resolve().name,
        "split": {"fingerprint": split.fingerprint, "train_photos": len(split.train)},
        "training": {
            "epochs": len(history),
            "minutes": round(history[-1]["elapsed_seconds"] / 60, 1),
            **pretrained,
            **taught,
        },
        "versions": {
            "format": FORMAT_VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "commit": code_commit(),
        },
    }


def _try_twin(path: Path, model: torch.nn.Module) -> bool:
    """Add the ONNX twin to a model file; print a line and return False where that cannot be."""
    try:
        add_twin(path, model)
    except ModuleNotFoundError as error:
        print(
            f"no ONNX twin: {error.name} is not installed; the model file answers through torch. "
            f"Export again after: {install_command()}"
        )
        return False
    except Exception as error:  # an exporter meets networks that nobody tried
        print(
            f"no ONNX twin: this network cannot be exported ({first_line(error)}); "
            "the model file answers through torch"
        )
        return False
    return True


def _place_twin(run_dir: Path) -> None:
    """Put the ONNX twin inside model.pt beside it, instead of that of an earlier export."""
    twin = read_extra(run_dir / "model.pt", TWIN)
    if twin is None:
        (run_dir / TWIN).unlink(missing_ok=True)
        return
    with atomic(run_dir / TWIN) as partial:
        partial.write_bytes(twin)


def _rewrite_program(path: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest inside a torch.export program."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    # Loading and saving takes a third of the time of exporting the network again.
    with atomic(path) as partial:
        torch.export.save(torch.export.load(path), partial, extra_files={"manifest.json": text})
