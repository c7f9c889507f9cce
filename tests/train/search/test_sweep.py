"""Sweep files, and the search without an account."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.commands import ROOT
from train.config import CONFIGS
from train.search.sweep_file import SweepError, read_sweep
from train.sweep import SweepConfig, main

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
TINY = {
    "epochs": {"value": 3},
    "image_size": {"value": 32},
    "width": {"value": 8},
    "depth": {"value": 1},
    "workers": {"value": 0},
    "device": {"value": "cpu"},
    "batch_size": {"value": 8},
}


def write_sweep(path: Path, parameters: dict, **changes: object) -> Path:
    """The project's own sweep file, with other parameters."""
    content = yaml.safe_load((ROOT / "sweeps" / "scratch.yaml").read_text())
    content |= {"parameters": parameters, **changes}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_files_fit_the_code(path: Path, finished_run: Path) -> None:
    sweep = read_sweep(path)
    content = yaml.safe_load(path.read_text())
    config = CONFIGS[sweep.command]()
    assert {*sweep.fixed, *sweep.searched} <= set(config.to_dict())
    assert len(sweep.searched) >= 6
    logged = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[0])
    assert sweep.metric in logged
    assert (sweep.maximize, sweep.method) == (True, "bayes")
    assert sweep.min_iter and content["run_cap"]
    assert content["command"][:4] == ["${env}", ".venv/bin/python", "-m", sweep.command]
    for name, found in sweep.searched.items():
        for value in getattr(found, "choices", None) or (found.low, found.high):
            CONFIGS[sweep.command](**{name: value})
    head = path.read_text().split("method:")[0]
    assert f"wandb sweep sweeps/{path.name}" in head
    assert "Budget" in head
    assert "Best so far" in head


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    with pytest.raises(SweepError, match="no sweep file"):
        read_sweep(path)
    for parameters, changes, message in [
        ({"wings": {"value": 2}}, {}, "no setting wings"),
        ({"width": {"value": 8}}, {"method": "luck"}, "bayes, random and grid"),
        ({"width": {}}, {}, "needs value"),
        ({"drop_rate": {"distribution": "beta", "min": 0.0, "max": 1.0}}, {}, "beta"),
        ({"width": {"value": 8}}, {"command": ["python", "train.py"]}, "train.scratch"),
    ]:
        with pytest.raises(SweepError, match=message):
            read_sweep(write_sweep(path, parameters, **changes))


def test_grid_with_a_wrong_value_goes_on(
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("LANDMARKS_DATA", str(landmark_photos))
    searched = {"label_smoothing": {"values": [1.5, 0.0, 0.1]}}
    path = write_sweep(tmp_path / "grid.yaml", TINY | searched, method="grid")
    out = tmp_path / "out"
    assert main(SweepConfig(path, count=8, out=out)) == 0
    output = capsys.readouterr().out
    assert "failed: Error parsing ScratchConfig: label-smoothing must lie in [0, 1)" in output
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert sorted(row["state"] for row in rows) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert {float(row["label_smoothing"]) for row in rows} == {1.5, 0.0, 0.1}
    for row in rows[:2]:
        last = json.loads((Path(row["run_dir"]) / "metrics.jsonl").read_text().splitlines()[-1])
        assert float(row["best_val_top1"]) == last["best_val_top1"]


def test_bad_trials_are_stopped_early(
    landmark_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial cannot learn; Hyperband sees that after a good one."""
    monkeypatch.setenv("LANDMARKS_DATA", str(landmark_photos))
    parameters = TINY | {
        "epochs": {"value": 60},
        "patience": {"value": 60},
        "augment": {"value": 0.0},
        "learning_rate": {"values": [0.01, 1e-9]},
        "mix_probability": {"value": 0.0},
    }
    path = write_sweep(
        tmp_path / "early.yaml",
        parameters,
        method="grid",
        metric={"name": "val/loss", "goal": "minimize"},
        early_terminate={"type": "hyperband", "min_iter": 4, "eta": 4},
    )
    out = tmp_path / "out"
    assert main(SweepConfig(path, count=2, out=out, seed=1)) == 0  # draws the good one first
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    epochs = {
        row["learning_rate"]: len((Path(row["run_dir"]) / "metrics.jsonl").read_text().splitlines())
        for row in rows
    }
    states = {row["learning_rate"]: row["state"] for row in rows}
    assert states == {"0.01": "COMPLETE", "1e-09": "PRUNED"}
    assert epochs["0.01"] == 60 > epochs["1e-09"]


def test_killed_search_goes_on(landmark_photos: Path, tmp_path: Path) -> None:
    searched = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}}
    more = {"epochs": {"value": 60}, "patience": {"value": 60}}
    metric = {"name": "val/loss", "goal": "minimize"}
    path = write_sweep(
        tmp_path / "long.yaml", TINY | more | searched, method="random", metric=metric
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "train.sweep", str(path), "--count", "2", "--out", str(out)]
    environment = os.environ | {"LANDMARKS_DATA": str(landmark_photos)}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "000" / "checkpoints" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr[-2000:]
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    assert len(complete) == 2
    assert complete[0]["learning_rate"] != complete[1]["learning_rate"]
    records = (out / "000" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == list(range(1, 61))
    assert (out / "importance.png").exists()
