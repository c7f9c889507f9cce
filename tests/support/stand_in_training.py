"""A training that learns nothing, in tenths of a second: for tests of what starts trainings.

It takes the flags of train.scratch, checks them as that does, and keeps the same files of a run
folder: the loss falls faster with a higher learning rate. SIGTERM ends it after the epoch, --resume
continues.
"""

import json
import signal
import sys
import time

from models.command_line import parse_flags
from train.config import ScratchConfig, config_from_dict

EPOCH_SECONDS = 0.02


def main(config: ScratchConfig) -> int:
    """Log epoch by epoch; 143 when asked to stop."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    run_dir = config.resume or config.run_dir
    settings, metrics = run_dir / "config.json", run_dir / "metrics.jsonl"
    if config.resume:
        config = config_from_dict(json.loads(settings.read_text()))
    else:
        (run_dir / "checkpoints").mkdir(parents=True)
        settings.write_text(json.dumps(config.to_dict()))
    done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    for epoch in range(done + 1, config.epochs + 1):
        loss = 1 / (1 + 100 * config.learning_rate * epoch)
        record = {"epoch": epoch, "val/loss": loss, "best_val_top1": 1 - loss}
        with metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
        (run_dir / "checkpoints" / "last.pt").touch()
        time.sleep(EPOCH_SECONDS)
        if stopped:
            return 143
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(ScratchConfig, "python -m tests.support.stand_in_training")))
