"""Sweeps and agents of W&B: the real client against the stand-in."""

import json
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.commands import ROOT, Client
from tests.support.fake_wandb import FakeWandb


def create_sweep(client: Client, path: Path, content: dict) -> str:
    """The name of a new sweep, for wandb agent; its trials run on this interpreter."""
    content["command"][1] = sys.executable
    path.write_text(yaml.safe_dump(content))
    created = client.run("-m", "wandb", "sweep", "--project", "landmarks", path)
    text = created.stdout + created.stderr
    return next(line for line in text.splitlines() if "wandb agent " in line).split()[-1]


@pytest.mark.parametrize(("command", "trials"), [("scratch", 2), ("transfer", 1)])
def test_sweep_and_agent(
    command: str, trials: int, fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(
        fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos), PYTHONPATH=str(ROOT)
    )
    client.folder = tmp_path  # the trials' run folders go there
    content = yaml.safe_load((ROOT / "sweeps" / f"{command}.yaml").read_text())
    # Less of everything; the search itself is the file's own.
    fixed = {"epochs": 2, "image_size": 32, "workers": 0, "device": "cpu"}
    content["parameters"] |= {name: {"value": value} for name, value in fixed.items()}
    content["parameters"]["batch_size"] = {"values": [4, 8]}
    small = {"scratch": {"width": 8}, "transfer": {"backbone": "tf_efficientnet_lite0"}}
    content["parameters"] |= {name: {"value": each} for name, each in small[command].items()}
    sweep = create_sweep(client, tmp_path / "sweep.yaml", content)
    client.finish(client.start_agent("--count", trials, sweep), timeout=300)
    runs = list(fake_wandb.runs.values())
    assert [run.state for run in runs] == ["finished"] * trials
    rates = set()
    for run in runs:
        assert sweep == f"{fake_wandb.entity}/landmarks/{run.sweep}"
        assert 0 <= run.summary[content["metric"]["name"]] <= 1
        rates.add(run.raw_config["learning_rate"]["value"])
        assert [version.type for version in run.logged].count("model") == 1
    assert len(rates) == trials
    best = [name for name, version in fake_wandb.artifacts.items() if "best" in version.aliases]
    assert len(best) == 1
    folders = list(tmp_path.glob("runs/*"))
    assert len(folders) == trials
    for folder in folders:
        assert (folder / "model.pt").is_file()
        # As train.sweep reads it.
        record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
        assert content["metric"]["name"] in record


def test_agent_continues_after_a_wrong_value(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos))
    content = yaml.safe_load((ROOT / "sweeps" / "scratch.yaml").read_text())
    content["parameters"] = {"label_smoothing": {"value": 1.5}}
    sweep = create_sweep(client, tmp_path / "sweep.yaml", content)
    done = client.finish(client.start_agent("--count", 2, sweep), timeout=120)
    assert (done.stdout + done.stderr).count("label-smoothing must lie in [0, 1)") == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_early_stop_of_a_sweep_saves(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos))
    content = yaml.safe_load((ROOT / "sweeps" / "scratch.yaml").read_text())
    run_dir = tmp_path / "runs" / "early"
    fixed = {
        "epochs": 2000,
        "patience": 2000,
        "image_size": 32,
        "workers": 0,
        "device": "cpu",
        "width": 8,
        "depth": 1,
        "batch_size": 8,
        "run_dir": str(run_dir),
    }
    content["parameters"] = {name: {"value": value} for name, value in fixed.items()}
    sweep = create_sweep(client, tmp_path / "sweep.yaml", content)
    agent = client.start_agent("--count", 1, sweep)
    deadline = time.monotonic() + 90
    while not (run_dir / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    (run,) = fake_wandb.runs.values()
    fake_wandb.stop_run(run.id)
    agent.communicate(timeout=90)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert (run_dir / "checkpoints" / "last.pt").is_file()
    assert not (run_dir / "model.pt").exists()
