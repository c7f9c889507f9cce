"""One run, from settings to model file: what the training commands share.

run_training checks what a person may have mistyped before it imports torch; everything heavy is
imported inside functions for that.
"""

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.command_line import first_line
from models.environment import CacheError
from models.files import file_digest
from train.config import AutoencoderConfig, RunConfig, TrainConfig
from train.data.sources import Source
from train.data.split import Split
from train.engine.interrupts import Interrupted, StopRequest, TrainingError, lost_workers_told
from train.engine.run_folder import count_classes, open_outside, open_run, open_sources, write_run

if TYPE_CHECKING:
    from accelerate import Accelerator
    from matplotlib.figure import Figure
    from torch import nn

    from models.model_file.preprocess import Preprocess
    from train.engine.phases import Progress
    from train.evaluation.predictions import Results
    from train.tracking.wandb_run import Tracker

KNOWN_ERRORS = (TrainingError, ValueError, OSError)
PICTURE = "reconstructions.png"


def export_model(config: RunConfig, run_dir: Path, history: list[dict[str, Any]]) -> "Results":
    """Write curves, model file, tables and plots of a finished training.

    Args:
        config: The settings.
        run_dir: The run folder.
        history: One record per epoch.

    Raises:
        TrainingError: The model file scores differently than the training did; it is not kept.
    """
    from train.engine.plots import plot_curves
    from train.evaluation.predictions import Results
    from train.exporting.model_file import export_run
    from train.exporting.parity import ParityError

    plot_curves(history, run_dir / "curves.png")
    try:
        parity, predictions = export_run(run_dir)
    except ParityError as error:
        raise TrainingError(str(error)) from error
    print(f"exported {run_dir / 'model.pt'}: {parity}")
    print(f"try it: python demo.py --model {run_dir}")
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    root = Path(Split.load(run_dir / "split.json").root)
    return Results(predictions, root, manifest, file_digest(run_dir / "model.pt"))


Export = Callable[[RunConfig, Path, list[dict[str, Any]]], "Results | None"]


def run_training(config: RunConfig, export: Export = export_model) -> int:
    """Train, export and report; every error that a person can mend becomes one line.

    Args:
        config: The settings; with resume, the run to continue.
        export: Gets the settings, the run folder and one record per epoch of the finished training.
            What it returns goes to W&B as a model.

    Returns:
        Exit status: 0 done, 1 error, 2 settings that cannot work, 130 or 143 stopped by Ctrl-C or
        SIGTERM.
    """
    stop, run_dir, status = StopRequest(), Path(), 2
    tracker, results = None, None
    try:
        config, run_dir = open_run(config)
        sources = open_sources(config, run_dir)

        from train.tracking.wandb_run import Tracker, check_settings

        check_settings(config)  # the last thing before torch
        tracker = Tracker()
        accelerator = _start(config)
        run_dir = _share(run_dir)
        with stop.watch():
            network = _build_network(config, run_dir, sources)
            status = 1  # what was typed is sound: errors from here on are the run's own
            progress = _train(config, run_dir, sources, network, tracker, accelerator, stop)
            del network  # the export builds its own
            if accelerator.is_main_process:
                results = export(config, run_dir, progress.history)
            accelerator.wait_for_everyone()
        status = 0
    except (Interrupted, KeyboardInterrupt):
        saved = (run_dir / "checkpoints" / "last.pt").is_file()
        again = f"stopped; resume with: python -m {config.command} --resume {run_dir}"
        print(again if saved else "stopped before the first step")
        status = 128 + (stop.signal or signal.SIGINT)
    except KNOWN_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2 if isinstance(error, CacheError) else status
    finally:
        # A run that was stopped is complete as far as it got: W&B's sweeps learn from it.
        failed = status in (1, 2)
        arrived = tracker is not None and tracker.finish(results, exit_code=int(failed))
        if tracker is not None:
            from train.engine.device import release_accelerator

            release_accelerator()
    if status == 0 and arrived and results is not None and config.promote:
        promote_best(config)
    return status


def promote_best(config: TrainConfig) -> None:
    """Move W&B's alias best if this run earned it; a failure is one line."""
    from models.sources.wandb_artifacts import call_within
    from train.tracking.registry import Registry
    from train.tracking.wandb_run import ANSWER_SECONDS

    try:
        # A server that dies right now must not hold up the training either.
        print(
            call_within(ANSWER_SECONDS, lambda: Registry(config.entity, config.project).promote())
        )
    except Exception as error:  # of whatever kind: a training must not depend on W&B
        print(f"best was left as it is: {first_line(error)}")


def _start(config: RunConfig) -> "Accelerator":
    """Return the device and processes, or say why the run cannot have them."""
    from train.engine.device import build_accelerator

    accelerator = build_accelerator(config)
    processes = accelerator.num_processes
    if processes > 1 and isinstance(config, AutoencoderConfig):
        raise ValueError(f"{config.command} runs in one process; start it without torchrun")
    if config.batch_size % processes:
        raise ValueError(
            f"--batch-size {config.batch_size} is not a multiple of {processes} processes"
        )
    return accelerator


def _share(run_dir: Path) -> Path:
    """Return the first process's run folder: its name holds the time, which may differ."""
    from accelerate.utils import broadcast_object_list

    return Path(broadcast_object_list([str(run_dir)])[0])


def _build_network(
    config: RunConfig, run_dir: Path, sources: Sequence[Source]
) -> "tuple[nn.Module, Preprocess]":
    """Build the network, before anything is written: weights may be out of reach."""
    import torch

    from train.engine.recipe import build_network, build_preprocess

    torch.manual_seed(config.seed)
    model = build_network(config, count_classes(run_dir, sources))
    return model, build_preprocess(config, model)


def _train(
    config: RunConfig,
    run_dir: Path,
    sources: Sequence[Source],
    network: "tuple[nn.Module, Preprocess]",
    tracker: "Tracker",
    accelerator: "Accelerator",
    stop: StopRequest,
) -> "Progress":
    """Run everything up to the last checkpoint.

    The run folder appears once nothing can be missing any more: a mistake leaves nothing behind.
    """
    from train.data.loading import build_loaders, read_photos
    from train.engine.recipe import build_phases, build_task
    from train.engine.trainer import Trainer

    model, preprocess = network
    with accelerator.main_process_first():
        split, cache = read_photos(config, run_dir, config.eval_side_px, sources)
    accelerator.wait_for_everyone()  # else others could read the split while it is being written
    outside = open_outside(config, run_dir)
    teachers = None
    if runs := getattr(config, "teacher", ()):
        from train.engine.teachers import Teachers

        teachers = Teachers(runs, split, preprocess).to(accelerator.device)
    if accelerator.is_main_process:
        if not config.resume:
            write_run(config, run_dir, split, cache.left_out, outside)
        tracker.start(config, run_dir, split, cache.left_out)
    task = build_task(config, accelerator, count_classes(run_dir, sources), teachers)
    metrics = run_dir / "metrics.jsonl"
    logged = len(metrics.read_text().splitlines()) if metrics.is_file() else 0

    def log(record: dict[str, Any], picture: "Figure | None") -> None:
        if picture is not None:
            import matplotlib.pyplot  # noqa: F401 - W&B looks for it when it is given a figure

            picture.savefig(run_dir / PICTURE, dpi=110)
        if record["epoch"] <= logged:
            return  # killed between log and checkpoint, this epoch was done twice
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        tracker.log(record if picture is None else {**record, "reconstructions": picture})
        print(task.describe(record), flush=True)

    teaches = outside is not None and outside.can_teach_network() and config.outside_weight > 0
    others = outside if teaches else None
    loaders = build_loaders(config, split, cache, preprocess, accelerator, others)
    trainer = Trainer(
        config,
        model,
        task,
        build_phases(config),
        *loaders,
        accelerator,
        run_dir,
        split.fingerprint,
        log,
        stop,
    )
    stop.deferred = True
    with lost_workers_told():
        progress = trainer.fit()
    stop.deferred = False
    return progress
