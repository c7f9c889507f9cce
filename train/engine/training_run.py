"""One training run, from settings to model file: what the command lines share."""

import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader

from models.files import file_digest, write_text
from models.model_file.preprocess import Preprocess
from models.networks.autoencoder import INIT_FILE
from models.places.landmarks import find_places
from models.sources.wandb_artifacts import call_within
from train.config import CONFIGS, TrainConfig, config_from_dict, resolve_mode
from train.data.batches import EpochBatches, PhotoDataset
from train.data.photo_cache import PhotoCache, decode_photos
from train.data.sources import AGAIN, open_source
from train.data.split import Split, check_photos, keep_labels
from train.data.transforms import (
    GrowingTransform,
    PhotoTransform,
    build_eval_transform,
    build_train_transform,
)
from train.data.unlabelled import keep_encoder
from train.engine.device import build_accelerator
from train.engine.interrupts import StopRequest
from train.engine.plots import plot_curves
from train.engine.recipe import build_network, build_phases, build_preprocess
from train.engine.trainer import Interrupted, Trainer, TrainingError
from train.evaluation.predictions import Results
from train.exporting.model_file import export_run
from train.exporting.parity import ParityError
from train.tracking.registry import Registry
from train.tracking.wandb_run import ANSWER_SECONDS, Tracker

# What may differ when a run goes on: where things are or run, not what is computed.
MOVABLE = ("device", "workers", "cache_dir", "wandb", "promote")
KNOWN_ERRORS = (ParityError, TrainingError, ValueError, OSError)


def run_training(config: TrainConfig) -> int:
    """Train, export and report; all errors a person can mend become one line.

    Args:
        config: Settings; with resume, of the run to go on with.

    Returns:
        Exit status: 0 done, 1 error, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    stop, tracker = StopRequest(), Tracker()
    status, results, run_dir = 1, None, Path()
    try:
        accelerator = build_accelerator(config)
        config, run_dir = open_run(config)
        run_dir = Path(broadcast_object_list([str(run_dir)])[0])
        with stop.watch():
            _train(config, run_dir, tracker, accelerator, stop)
            if accelerator.is_main_process:
                results = _export(run_dir)
            accelerator.wait_for_everyone()
        status = 0
    except (Interrupted, KeyboardInterrupt):
        saved = (run_dir / "checkpoints" / "last.pt").is_file()
        go_on = f"python -m {config.command} --resume {run_dir}"
        print(f"stopped; go on with: {go_on}" if saved else "stopped before the first step")
        status = 128 + (stop.signal or signal.SIGINT)
    except KNOWN_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
    finally:
        # A run that was stopped is whole as far as it went: W&B's sweeps learn from it.
        arrived = tracker.finish(results, exit_code=1 if status == 1 else 0)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        # Else a second run in this process (a notebook) could not choose another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    if status == 0 and arrived and config.promote:
        promote_best(config)
    return status


def promote_best(config: TrainConfig) -> None:
    """Let W&B's alias best move, if this run earned it; a failure is one line."""
    try:
        # A server that dies right now must not hold the training either.
        print(
            call_within(ANSWER_SECONDS, lambda: Registry(config.entity, config.project).promote())
        )
    except (OSError, ValueError) as error:
        print(f"best was left as it is: {error}")


def open_run(config: TrainConfig) -> tuple[TrainConfig, Path]:
    """The settings and folder of this run: the run's own when it is resumed.

    Raises:
        ValueError: A flag contradicts the resumed run, or the folder is taken.
    """
    if config.resume is None:
        resolve_mode(config.wandb)  # a mistake in it must not leave a half-made run
        stamp = time.strftime("%Y%m%d-%H%M%S")
        run_dir = config.run_dir or Path("runs") / f"{stamp}-{config.network_name}-s{config.seed}"
        if (run_dir / "config.json").exists():
            raise ValueError(f"{run_dir} holds a run already; go on with --resume {run_dir}")
        return config, run_dir
    path = config.resume / "config.json"
    if not path.is_file():
        raise ValueError(f"no run to resume at {config.resume}: it has no config.json")
    kinds = CONFIGS | {config.command: type(config)}
    saved = config_from_dict(json.loads(path.read_text(encoding="utf-8")), kinds)
    if saved.command != config.command:
        raise ValueError(f"{config.resume} goes on with: python -m {saved.command} --resume")
    default = type(config)()
    for field in dataclasses.fields(config):
        asked, kept = getattr(config, field.name), getattr(saved, field.name)
        free = field.name in (*MOVABLE, "resume", "run_dir")
        if not free and asked not in (kept, getattr(default, field.name)):
            raise ValueError(
                f"--resume keeps the run's own settings, and its --{field.name.replace('_', '-')} "
                f"is {kept}, not {asked}; leave the flag out or start a new run"
            )
    moved = {name: getattr(config, name) for name in MOVABLE if hasattr(config, name)}
    if getattr(saved, "init_from", None):
        moved["init_from"] = config.resume / INIT_FILE
    return dataclasses.replace(saved, **moved), config.resume


def read_photos(config: TrainConfig, run_dir: Path, side_px: int) -> tuple[Split, PhotoCache]:
    """The split (a resumed run's own) and its decoded photos."""
    if (run_dir / "split.json").is_file():
        split = Split.load(run_dir / "split.json")
        fix = f"Put them back, or {AGAIN} and start a new run" if split.sizes else "Put them back"
        check_photos(Path(split.root), split.train + split.val, split.sizes, fix)
        left_out = json.loads((run_dir / "left_out.json").read_text(encoding="utf-8"))
        paths = [*split.train, *split.val, *left_out]
        return split, decode_photos(Path(split.root), paths, side_px, config.cache_dir)
    source = open_source(config)
    cache = decode_photos(source.root, source.paths(), side_px, config.cache_dir)
    split = source.split(cache.left_out, config.val_fraction, config.split_seed)
    return keep_labels(split, config.label_fraction, config.split_seed), cache


def build_transforms(
    config: TrainConfig, preprocess: Preprocess
) -> tuple[GrowingTransform, PhotoTransform]:
    """Training and evaluation pipelines; training crops have sides of their own."""
    sides = [config.crop_px(epoch) for epoch in range(config.epochs)]
    crops = {
        side: build_train_transform(
            Preprocess(side, side, mean=preprocess.mean, std=preprocess.std),
            config.augment,
            flip=config.flip,
        )
        for side in sorted(set(sides))
    }
    return GrowingTransform(sides, crops), build_eval_transform(preprocess)


def build_loader(
    dataset: PhotoDataset, batches: EpochBatches, config: TrainConfig, accelerator: Accelerator
) -> DataLoader:
    """Batches of a data set, from worker processes that live as long as the run."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        pin_memory=accelerator.device.type == "cuda",
        worker_init_fn=_ignore_interrupts,
    )


def _train(
    config: TrainConfig,
    run_dir: Path,
    tracker: Tracker,
    accelerator: Accelerator,
    stop: StopRequest,
) -> None:
    """Everything up to the best checkpoint; the run folder appears once nothing can be missing."""
    processes = accelerator.num_processes
    if config.batch_size % processes:
        raise ValueError(
            f"--batch-size {config.batch_size} is not a multiple of {processes} processes"
        )
    torch.manual_seed(config.seed)
    # The backbone comes first: weights that cannot be had must not leave a half-made run.
    if (run_dir / "split.json").is_file():
        class_names = Split.load(run_dir / "split.json").class_names
    else:
        class_names = list(open_source(config).classes)
    find_places(class_names, config.data)  # a mistake in landmarks.csv is said now, not at the end
    model = build_network(config, len(class_names))
    preprocess = build_preprocess(config, model)
    with accelerator.main_process_first():
        split, cache = read_photos(config, run_dir, preprocess.resize_px)
    accelerator.wait_for_everyone()  # else others could read the split while it is being written
    if accelerator.is_main_process and not config.resume:
        write_run(config, run_dir, split, cache.left_out)
    if accelerator.is_main_process:
        tracker.start(config, run_dir, split, cache.left_out)
    train_transform, eval_transform = build_transforms(config, preprocess)
    # A batch is the same for any number of processes, so it must be a multiple of their number.
    size = min(config.batch_size, len(split.train) // processes * processes)

    def loader(
        paths: list[str], transform: GrowingTransform | PhotoTransform, shuffle: bool
    ) -> DataLoader:
        labels = split.labels(paths)
        dataset = PhotoDataset(cache.subset(paths), labels, transform, config.seed)
        batch_size = size if shuffle else config.batch_size
        balance = labels if config.balanced else None
        batches = EpochBatches(len(paths), batch_size, config.seed, shuffle, balance)
        return build_loader(dataset, batches, config, accelerator)

    metrics = run_dir / "metrics.jsonl"
    logged = len(metrics.read_text().splitlines()) if metrics.is_file() else 0

    def log(record: dict[str, float]) -> None:
        if record["epoch"] <= logged:
            return  # killed between log and checkpoint, this epoch was done twice
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        tracker.log(record)
        print(
            f"epoch {record['epoch']:>2} {record['phase']:<4}  loss {record['train/loss']:.3f}  "
            f"val loss {record['val/loss']:.3f}  top-1 {record['val/top1']:.1%}  "
            f"top-5 {record['val/top5']:.1%}  {record['images_per_second']:.0f} images/s",
            flush=True,
        )

    trainer = Trainer(
        config, model, build_phases(config),
        loader(split.train, train_transform, shuffle=True),
        loader(split.val, eval_transform, shuffle=False),
        accelerator, run_dir, split.fingerprint, log, stop,
    )  # fmt: skip
    stop.deferred = True
    progress = trainer.fit()
    stop.deferred = False
    if accelerator.is_main_process:
        plot_curves(progress.history, run_dir / "curves.png")


def _export(run_dir: Path) -> Results:
    """Model file, tables and plots."""
    parity, predictions = export_run(run_dir)
    print(f"exported {run_dir / 'model.pt'}: {parity}")
    print(f"try it: python demo.py --model {run_dir}")
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    root = Path(Split.load(run_dir / "split.json").root)
    return Results(predictions, root, manifest, file_digest(run_dir / "model.pt"))


def write_run(config: TrainConfig, run_dir: Path, split: Split, left_out: dict[str, str]) -> None:
    """Start the run folder: settings, split, left-out photos."""
    run_dir.mkdir(parents=True, exist_ok=True)
    split.save(run_dir / "split.json")
    write_text(run_dir / "left_out.json", json.dumps(left_out, indent=1, ensure_ascii=False))
    if getattr(config, "init_from", None):
        keep_encoder(config.init_from, run_dir, split)
    saved = dataclasses.replace(config, run_dir=run_dir)
    write_text(run_dir / "config.json", json.dumps(saved.to_dict(), indent=2))
    if left_out:
        print(f"{len(left_out)} photo(s) left out, listed in {run_dir / 'left_out.json'}")
    classes = f" of {len(split.class_names)} classes" if split.class_names else ""
    count, held_out = len(split.train), len(split.val)
    print(f"{run_dir}: {count} training and {held_out} validation photos{classes}")


def _ignore_interrupts(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
