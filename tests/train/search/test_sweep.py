"""Sweep files, and the search without an account."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.commands import ROOT
from train.config import CONFIGS
from train.search import trials
from train.search.sweep_file import Choice, Range, Sweep, SweepError, parse_distribution, read_sweep
from train.sweep import SweepConfig, main

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
TINY = {
    name: {"value": value}
    for name, value in {
        "epochs": 3,
        "image_size": 32,
        "width": 8,
        "depth": 1,
        "workers": 0,
        "device": "cpu",
        "batch_size": 8,
    }.items()
}


@pytest.fixture
def quick_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that only write what a training writes."""
    command = [sys.executable, "-m", "tests.support.stand_in_training"]
    monkeypatch.setattr(trials, "training_command", lambda module: command)
    monkeypatch.setattr(trials, "POLL_SECONDS", 0.05)
    monkeypatch.chdir(ROOT)


def read_rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "trials.csv").read_text().splitlines()))


def write_sweep(path: Path, parameters: dict, **changes: object) -> Path:
    """The project's own sweep file, with other parameters."""
    content = yaml.safe_load((ROOT / "sweeps" / "scratch.yaml").read_text())
    content |= {"parameters": parameters, **changes}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_files_fit_the_code(path: Path) -> None:
    sweep = read_sweep(path)
    content = yaml.safe_load(path.read_text())
    config = CONFIGS[sweep.command]()
    assert {*sweep.fixed, *sweep.searched} <= set(config.to_dict())
    assert len(sweep.searched) >= 6
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
        ({"width": {"min": 8, "max": 16}}, {"method": "grid"}, "a grid needs values"),
        ({"width": {"values": []}}, {}, "values is empty"),
        ({"width": {"min": 16, "max": 8}}, {}, "min 16 is above max 8"),
        ({"drop_rate": {"min": "1e-4", "max": 0.1}}, {}, "write 1.0e-4"),
        ({"width": {"min": 8, "max": 64, "q": 0.5}}, {}, "q must be at least 1"),
        ({"drop_rate": {"min": 0.0, "max": 0.5, "q": -1}}, {}, "q must be above 0"),
        (
            {"drop_rate": {"distribution": "log_uniform_values", "min": 0.0, "max": 0.1}},
            {},
            "min must be above 0",
        ),
    ]:
        with pytest.raises(SweepError, match=message):
            read_sweep(write_sweep(path, parameters, **changes))


def test_distributions_are_those_of_wandb() -> None:
    for spec, expected in [
        ({"values": [1, 2]}, Choice((1, 2))),
        ({"min": 1, "max": 4}, Range(1, 4, 1)),
        ({"distribution": "q_uniform", "min": 8, "max": 64, "q": 8}, Range(8, 64, 8)),
        ({"min": 0, "max": 0.5}, Range(0.0, 0.5)),
        ({"distribution": "uniform", "min": 0, "max": 1}, Range(0.0, 1.0)),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1}, Range(0.0, 1.0, 0.1)),
        ({"distribution": "log_uniform_values", "min": 1, "max": 9}, Range(1.0, 9.0, log=True)),
    ]:
        found = parse_distribution("name", spec)
        assert found == expected
        if isinstance(found, Range):  # 1 == 1.0, and the type decides what is drawn
            assert type(found.low) is type(found.high) is type(expected.low)


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("method", ["bayes", "random"])
def test_settings_are_drawn_from_their_range(method: str, tmp_path: Path) -> None:
    searched = {
        "width": {"values": [8, 16]},
        "depth": {"min": 1, "max": 3},
        "learning_rate": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
        "label_smoothing": {"distribution": "q_uniform", "min": 0.0, "max": 0.2, "q": 0.1},
    }
    path = write_sweep(tmp_path / "drawn.yaml", TINY | searched, method=method)
    out = tmp_path / "out"
    assert main(SweepConfig(path, count=3, out=out)) == 0
    rows = read_rows(out)
    for row in rows:
        asked = json.loads((Path(row["run_dir"]) / "config.json").read_text())
        assert (asked["width"], asked["depth"]) == (int(row["width"]), int(row["depth"]))
        assert asked["width"] in (8, 16)
        assert asked["depth"] in (1, 2, 3)
        assert 0.001 <= asked["learning_rate"] == float(row["learning_rate"]) <= 0.1
        assert round(asked["label_smoothing"], 6) in (0, 0.1, 0.2)
        assert (asked["group"], asked["image_size"]) == ("out", 32)
    assert len({row["learning_rate"] for row in rows}) == 3


@pytest.mark.usefixtures("quick_trials")
def test_grid_with_a_wrong_value_continues(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    searched = {"label_smoothing": {"values": [1.5, 0.0, 0.1]}}
    path = write_sweep(tmp_path / "grid.yaml", TINY | searched, method="grid")
    out = tmp_path / "out"
    assert main(SweepConfig(path, count=8, out=out)) == 0
    output = capsys.readouterr().out
    assert re.search(r"failed: .*label-smoothing must lie in \[0, 1\)", output)
    rows = read_rows(out)
    assert sorted(row["state"] for row in rows) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert {float(row["label_smoothing"]) for row in rows} == {1.5, 0.0, 0.1}
    for row in rows[:2]:
        last = json.loads((Path(row["run_dir"]) / "metrics.jsonl").read_text().splitlines()[-1])
        assert float(row["best_val_top1"]) == last["best_val_top1"]


@pytest.mark.usefixtures("quick_trials")
def test_a_search_without_a_result_fails(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_sweep(tmp_path / "grid.yaml", TINY | {"label_smoothing": {"values": [1.5, 2.0]}})
    out = tmp_path / "out"
    assert main(SweepConfig(path, count=1, out=out)) == 1
    assert "error: no trial has finished; see why in" in capsys.readouterr().err
    assert [row["state"] for row in read_rows(out)] == ["FAIL"]
    assert main(SweepConfig(tmp_path / "gone.yaml", out=out)) == 2
    assert main(SweepConfig(path, out=Path("/proc/x"))) == 2
    assert "--out /proc/x cannot be written" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_trials")
def test_bad_trials_are_stopped_early(tmp_path: Path) -> None:
    """One trial cannot learn; Hyperband sees that after a good one."""
    parameters = TINY | {
        "epochs": {"value": 100},
        "learning_rate": {"values": [0.01, 1e-9]},
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
    rows = read_rows(out)
    epochs = {
        row["learning_rate"]: len((Path(row["run_dir"]) / "metrics.jsonl").read_text().splitlines())
        for row in rows
    }
    states = {row["learning_rate"]: row["state"] for row in rows}
    assert states == {"0.01": "COMPLETE", "1e-09": "PRUNED"}
    assert epochs["0.01"] == 100 > epochs["1e-09"]


SEARCHED = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}}


@pytest.mark.usefixtures("quick_trials")
def test_stopped_search_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Ctrl-C in the first trial; then the same command, then more trials."""
    path = write_sweep(
        tmp_path / "long.yaml",
        TINY | SEARCHED | {"epochs": {"value": 60}},
        method="random",
        metric={"name": "val/loss", "goal": "minimize"},
    )
    out = tmp_path / "out"
    read_values = trials.read_values

    def interrupt(folder: Path, sweep: Sweep) -> list[float]:
        if read_values(folder, sweep):
            raise KeyboardInterrupt
        return []

    with monkeypatch.context() as patch:
        patch.setattr(trials, "read_values", interrupt)
        assert main(SweepConfig(path, count=2, out=out)) == 130
    assert f"python -m train.sweep {path}" in capsys.readouterr().out
    records = (out / "000" / "metrics.jsonl").read_text().splitlines()
    assert 0 < len(records) < 60
    assert main(SweepConfig(path, count=2, out=out)) == 0
    complete = [row for row in read_rows(out) if row["state"] == "COMPLETE"]
    assert len(complete) == 2
    assert complete[0]["learning_rate"] != complete[1]["learning_rate"]
    records = (out / "000" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == list(range(1, 61))
    assert (out / "importance.png").exists()
    assert main(SweepConfig(path, count=3, out=out)) == 0
    assert [row["state"] for row in read_rows(out)].count("COMPLETE") == 3


def test_killed_search_continues_where_its_training_was(
    landmark_photos: Path, tmp_path: Path
) -> None:
    """With a training in earnest: it and its search are killed, and both continue."""
    more = {"epochs": {"value": 20}, "patience": {"value": 20}}
    path = write_sweep(tmp_path / "long.yaml", TINY | more | SEARCHED)  # the file's own metric
    out = tmp_path / "out"
    command = [sys.executable, "-m", "train.sweep", str(path), "--count", "1", "--out", str(out)]
    environment = os.environ | {"LANDMARKS_DATA": str(landmark_photos)}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "000" / "checkpoints" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert len((out / "000" / "metrics.jsonl").read_text().splitlines()) < 20
    again = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr[-2000:]
    assert [row["state"] for row in read_rows(out)].count("COMPLETE") == 1
    records = (out / "000" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == list(range(1, 21))
