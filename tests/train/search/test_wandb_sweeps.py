"""Sweeps and agents of W&B: the real client against the stand-in."""

import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.commands import ROOT, Client
from tests.support.fake_wandb import FakeWandb


@pytest.mark.parametrize("command", ["scratch", "transfer"])
def test_sweep_and_agent(
    command: str, fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(
        fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos), PYTHONPATH=str(ROOT)
    )
    client.folder = tmp_path  # the trials' run folders go there
    content = yaml.safe_load((ROOT / "sweeps" / f"{command}.yaml").read_text())
    # Less of everything, on this interpreter; the search itself is the file's own.
    content["command"][1] = sys.executable
    fixed = {"epochs": 2, "image_size": 32, "workers": 0, "device": "cpu"}
    content["parameters"] |= {name: {"value": value} for name, value in fixed.items()}
    content["parameters"]["batch_size"] = {"values": [4, 8]}
    if command == "transfer":
        content["parameters"]["backbone"] = {"value": "tf_efficientnet_lite0"}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    created = client.run("-m", "wandb", "sweep", "--project", "landmarks", path)
    (sweep,) = fake_wandb.sweeps
    assert sweep in created.stderr + created.stdout
    agent = ["-m", "wandb", "agent", "--count", "3", f"{fake_wandb.entity}/landmarks/{sweep}"]
    client.run(*agent, timeout=300)
    runs = list(fake_wandb.runs.values())
    assert [run.state for run in runs] == ["finished"] * 3
    rates = set()
    for run in runs:
        assert run.sweep == sweep
        assert 0 <= run.summary["best_val_top1"] <= 1
        rates.add(run.raw_config["learning_rate"]["value"])
        assert [version.type for version in run.logged].count("model") == 1
    assert len(rates) == 3
    best = [name for name, version in fake_wandb.artifacts.items() if "best" in version.aliases]
    assert len(best) == 1
    assert len(list(tmp_path.glob("runs/*/model.pt"))) == 3


def test_agent_goes_on_after_a_wrong_value(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos))
    content = yaml.safe_load((ROOT / "sweeps" / "scratch.yaml").read_text())
    content["command"][1] = sys.executable
    content["parameters"] = {"label_smoothing": {"value": 1.5}}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    client.run("-m", "wandb", "sweep", "--project", "landmarks", path)
    (sweep,) = fake_wandb.sweeps
    done = client.run(
        "-m",
        "wandb",
        "agent",
        "--count",
        "2",
        f"{fake_wandb.entity}/landmarks/{sweep}",
        timeout=120,
    )
    assert (done.stdout + done.stderr).count("label-smoothing must lie in [0, 1)") == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_early_stop_of_a_sweep_saves(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos))
    client.environment["WANDB_AGENT_REPORT_INTERVAL"] = "1"
    content = yaml.safe_load((ROOT / "sweeps" / "scratch.yaml").read_text())
    content["command"][1] = sys.executable
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
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    client.run("-m", "wandb", "sweep", "--project", "landmarks", path)
    (sweep,) = fake_wandb.sweeps
    agent = client.start(
        "-m", "wandb", "agent", "--count", "1", f"{fake_wandb.entity}/landmarks/{sweep}"
    )
    deadline = time.monotonic() + 90
    while not (run_dir / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    (run,) = fake_wandb.runs.values()
    fake_wandb.stop_run(run.id)
    agent.communicate(timeout=90)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert (run_dir / "checkpoints" / "last.pt").is_file()
    assert not (run_dir / "model.pt").exists()
