"""The W&B side of a training, without the training: python -m tests.support.tracked_run.

It logs a finished run's figures again, as a new run, and waits after the first epoch for a file
named proceed in its run folder. The limits on waiting are shorter than a training's.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from wandb.sdk.lib import identity

from train.config import ScratchConfig
from train.data.split import Split
from train.tracking import wandb_run

identity._RESOLVE_TIMEOUT_SECONDS = 2  # of the client's login: 10
wandb_run.START_SECONDS, wandb_run.ANSWER_SECONDS, wandb_run.FINISH_SECONDS = 3.0, 4.0, 3.0
FILES = ("split.json", "model.pt", "manifest.json", "MODEL_CARD.md")


def track(finished: Path, run_dir: Path, data: Path) -> bool:
    """Log what a finished run logged; whether all of it arrived."""
    run_dir.mkdir(parents=True)
    for path in [*(finished / name for name in FILES), *finished.glob("*.png")]:
        shutil.copy(path, run_dir)
    tracker = wandb_run.Tracker()
    config = ScratchConfig(data=data, run_dir=run_dir)
    tracker.start(config, run_dir, Split.load(run_dir / "split.json"), {})
    with (run_dir / "metrics.jsonl").open("w") as file:
        for line in (finished / "metrics.jsonl").read_text().splitlines():
            file.write(line + "\n")
            file.flush()
            tracker.log(json.loads(line))
            while not (run_dir / "proceed").exists():
                time.sleep(0.02)
    picture = Image.new("RGB", (8, 8))
    predictions = SimpleNamespace(
        labels=np.array([0, 1]),
        probabilities=np.eye(2),
        class_names=["a", "b"],
        per_class=lambda: [{"class": "a", "recall": 1.0}],
        show_mistakes=lambda root: [("a.jpg", picture, "a", "b 60%")],
    )
    results = SimpleNamespace(predictions=predictions, root=data, metadata=lambda: {"sha256": "0"})
    return tracker.finish(results)


if __name__ == "__main__":
    print("all arrived" if track(*map(Path, sys.argv[1:])) else "kept here")
