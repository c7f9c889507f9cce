"""Trainings, models and the alias best in W&B: the real client against the stand-in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.environment import resolve_mode
from models.files import file_digest
from tests.support.commands import ROOT, Client
from tests.support.fake_wandb import FakeWandb
from tests.support.runs import read_records
from train.data.split import classes_hash

FLAGS = [
    "--epochs", "3", "--image-size", "32", "--batch-size", "8", "--width", "8", "--depth", "1",
    "--workers", "0", "--device", "cpu",
]  # fmt: skip
MODEL = "landmarks/landmarks"


def train(run_dir: Path, *flags: object, command: str = "train.scratch") -> list[str]:
    """Arguments of a training that takes seconds."""
    return ["-m", command, "--run-dir", str(run_dir), *FLAGS, *map(str, flags)]


@pytest.fixture(scope="module")
def team() -> Iterator[FakeWandb]:
    """A server that several tests of this module share, with one good model in it."""
    with FakeWandb() as server:
        yield server
    assert not server.unknown
    assert not server.crashes, "".join(server.crashes)


@pytest.fixture(scope="module")
def client(
    team: FakeWandb, landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Client:
    return Client(team, tmp_path_factory.mktemp("home"), LANDMARKS_DATA=str(landmark_photos))


@pytest.fixture(scope="module")
def good_run(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "good"
    flags = ["--augment", 0, "--mix-probability", 0, "--epochs", 12, "--learning-rate", 0.02]
    done = client.run(*train(run_dir, *flags, "--tags", "drawn", "--group", "tests"))
    assert "best" in done.stdout.splitlines()[-1], done.stdout
    return run_dir


# First: while the last two tests of a file run, their worker already has its next file.
def test_training_survives_every_kind_of_server(
    landmark_photos: Path, finished_scratch: Path, tmp_path: Path
) -> None:
    """Refused, 500, silent, dying midway, wrong key: the same result, at most 45 s later."""
    whole = read_records(finished_scratch)
    with FakeWandb() as failing, FakeWandb() as silent, FakeWandb() as dying, FakeWandb() as strict:
        failing.fail, silent.fail = "500", "hang"
        gone = FakeWandb()
        gone.close()
        servers = {"gone": gone, "500": failing, "hang": silent, "dies": dying, "key": strict}
        running, started = {}, {}
        for name, server in servers.items():
            client = Client(server, tmp_path / name, LANDMARKS_DATA=str(landmark_photos))
            if name == "key":
                client.environment["WANDB_API_KEY"] = "9" * 40
            flags = ["--epochs", 60, "--patience", 60] if name == "dies" else []
            running[name] = client.start(*train(tmp_path / "runs" / name, *flags))
            started[name] = time.monotonic()
        first = tmp_path / "runs" / "dies" / "metrics.jsonl"
        while not first.exists() and running["dies"].poll() is None:
            time.sleep(0.05)
        dying.close()
        for name, process in running.items():
            output, errors = process.communicate(timeout=180)
            assert process.returncode == 0, (name, output, errors)
            run_dir = tmp_path / "runs" / name
            assert (run_dir / "model.pt").is_file()
            assert "wandb sync" in output, (name, output)
            # A training alone takes some 8 s of one core; here five share two with other tests.
            assert time.monotonic() - started[name] < 45 + 90, name
            if name != "dies":
                records = read_records(run_dir)
                assert [r["val/loss"] for r in records] == [r["val/loss"] for r in whole]
    # What was kept reaches a server that works.
    with FakeWandb() as later:
        client = Client(later, tmp_path / "later")
        for name in ("hang", "dies"):
            (folder,) = (tmp_path / "runs" / name / "wandb").glob("offline-run-*")
            client.run("-m", "wandb", "sync", str(folder))
            run = later.runs[(tmp_path / "runs" / name / "wandb" / "id").read_text()]
            count = len([row for row in run.history if "val/top1" in row])
            assert count == len(read_records(tmp_path / "runs" / name))
            assert later.version(f"{MODEL}:run-{run.id}").files["model.pt"].data


def test_a_training_is_a_run_and_a_model(team: FakeWandb, good_run: Path) -> None:
    run = team.runs[(good_run / "wandb" / "id").read_text()]
    assert (run.display_name, run.state, run.exit_code) == ("good", "finished", 0)
    assert (run.tags, run.group, run.project) == (["drawn"], "tests", "landmarks")
    records = read_records(good_run)
    rows = [row for row in run.history if "val/top1" in row]
    for name in ("epoch", "train/loss", "train/learning_rate", "val/loss", "val/top1", "val/top5",
                 "images_per_second", "best_val_top1"):  # fmt: skip
        assert [row[name] for row in rows] == pytest.approx([record[name] for record in records])
    assert run.summary["best_val_top1"] == pytest.approx(records[-1]["best_val_top1"])
    tables = {"val/classes", "val/mistakes", "val/confusion_matrix_table", "val/curves"}
    assert tables <= set(run.summary)

    split = json.loads((good_run / "split.json").read_text())
    config = {name: entry["value"] for name, entry in run.raw_config.items() if name != "_wandb"}
    assert config["learning_rate"] == 0.02
    assert config["split"] == split["fingerprint"]
    assert config["dataset"] == {
        "classes": 3, "train_photos": 33, "val_photos": 3, "left_out_photos": 0,
    }  # fmt: skip
    steps = run.raw_config["_wandb"]["value"]["m"]
    assert {"1": "epoch"}.items() <= steps[0].items()

    (model,) = [version for version in run.logged if version.type == "model"]
    assert set(model.files) == {"model.pt", "manifest.json", "MODEL_CARD.md"}
    assert {"best", "latest", f"run-{run.id}"} == set(model.aliases)
    assert model.metadata["sha256"] == file_digest(good_run / "model.pt")
    assert model.metadata["split"] == split["fingerprint"]
    assert model.metadata["classes"] == classes_hash(split["class_names"])
    assert model.metadata["val/top1"] == max(record["val/top1"] for record in records)
    (photos,) = run.used
    assert (photos.type, photos.logged_by) == ("dataset", None)
    listing = photos.files["photos.sha256"].data.decode().splitlines()
    assert len(listing) == 36
    assert f"{file_digest(Path(split['root'], split['val'][0]))}  {split['val'][0]}" in listing


def test_worse_run_does_not_take_best(
    team: FakeWandb, client: Client, good_run: Path, tmp_path: Path
) -> None:
    before = team.version(f"{MODEL}:best")
    done = client.run(*train(tmp_path / "worse", "--learning-rate", 1e-3, "--seed", 1))
    assert team.version(f"{MODEL}:best") is before
    assert team.version(f"{MODEL}:latest") is not before
    table = done.stdout.splitlines()
    assert any("worse" in line for line in table)
    other = client.run(*train(tmp_path / "quiet", "--no-promote"))
    assert "version" not in other.stdout


def test_test_figures_reach_the_artifact(
    team: FakeWandb, client: Client, good_run: Path, landmark_photos: Path, tmp_path: Path
) -> None:
    name = f"{team.entity}/{MODEL}:best"
    arguments = ["--artifact", name, "--data", landmark_photos, "--out", tmp_path / "out"]
    client.run("-m", "train.evaluate", *arguments)
    metadata = team.version(f"{MODEL}:best").metadata
    assert metadata["test/photos"] == 6
    assert (
        metadata["test/top1"] == json.loads((tmp_path / "out" / "metrics.json").read_text())["top1"]
    )
    refused = client.run("-m", "train.promote", "--metric", "test/top1", check=False)
    assert refused.returncode == 1
    assert "validation" in refused.stderr


LOG_CANDIDATES = """
import json, sys, wandb
with wandb.init(project="landmarks", id=sys.argv[1]) as run:
    for index, metadata in enumerate(json.loads(sys.argv[2])):
        artifact = wandb.Artifact("landmarks", type="model", metadata=metadata)
        with artifact.new_file("model.pt", "w") as file:
            file.write(json.dumps(metadata))
        run.log_artifact(artifact).wait(30)
"""


def candidates(*figures: float, split: str = "s" * 64) -> str:
    """Metadata of models that nobody trained."""
    common = {"split": split, "classes": "c", "sha256": "0" * 64, "val/loss": 1.0}
    return json.dumps(
        [common | {"val/top1": top1, "run": f"r{index}"} for index, top1 in enumerate(figures)]
    )


def test_eight_promotes_at_once(fake_wandb: FakeWandb, tmp_path: Path) -> None:
    client = Client(fake_wandb, tmp_path / "home")
    client.run("-c", LOG_CANDIDATES, "many", candidates(0.3, 0.9, 0.5, 0.8, 0.2))
    running = [client.start("-m", "train.promote") for _ in range(8)]
    for process in running:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output.splitlines()[1].split()[:2] == ["v1", "0.9000"]
        assert "best" in output.splitlines()[1]
    best = [name for name, version in fake_wandb.artifacts.items() if "best" in version.aliases]
    assert best == [f"{MODEL}:v1"]

    # Another split's model is better, and does not compete until it is named.
    client.run("-c", LOG_CANDIDATES, "other", candidates(0.95, split="t" * 64))
    assert "v5" not in client.run("-m", "train.promote").stdout
    linked = client.run(
        "-m", "train.promote", "--split", "ttt", "--link", "wandb-registry-model/landmarks"
    )
    assert fake_wandb.version(f"{MODEL}:v5").aliases.count("best") == 1
    assert "linked" in linked.stdout

    listed = client.run("-m", "train.prune", "--keep", "2")
    assert "delete them with --delete" in listed.stdout
    assert len([name for name in fake_wandb.artifacts if name.startswith(f"{MODEL}:")]) == 6
    client.run("-m", "train.promote", "--split", "sss")
    client.run("-m", "train.prune", "--keep", "2", "--delete")
    left = [name for name in fake_wandb.artifacts if name.startswith(f"{MODEL}:")]
    assert left == [f"{MODEL}:v1", f"{MODEL}:v4", f"{MODEL}:v5"]


def test_offline_run_reaches_the_server_later(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos))
    run_dir = tmp_path / "runs" / "offline"
    keyless = client.without_key()
    done = keyless.run(*train(run_dir))
    line = next(line for line in done.stdout.splitlines() if line.startswith("W&B is offline"))
    assert "wandb leet" in line
    assert not fake_wandb.runs
    sync = line.rpartition("later: ")[2].split()
    assert sync[:2] == ["wandb", "sync"]
    client.run("-m", *sync)
    run = fake_wandb.runs[(run_dir / "wandb" / "id").read_text()]
    logged = [row["val/top1"] for row in run.history if "val/top1" in row]
    assert logged == pytest.approx([record["val/top1"] for record in read_records(run_dir)])
    version = fake_wandb.version(f"{MODEL}:run-{run.id}")
    assert version.metadata["sha256"] == file_digest(run_dir / "model.pt")
    assert len(version.files["model.pt"].data) == (run_dir / "model.pt").stat().st_size
    assert [used.type for used in run.used] == ["dataset"]


def test_stopped_run_is_closed_and_goes_on(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path
) -> None:
    client = Client(fake_wandb, tmp_path / "home", LANDMARKS_DATA=str(landmark_photos))
    run_dir = tmp_path / "runs" / "stopped"
    process = client.start(*train(run_dir, "--epochs", 400, "--patience", 400))
    deadline = time.monotonic() + 90
    while not (run_dir / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "--resume" in output
    (run,) = fake_wandb.runs.values()
    assert (run.state, run.exit_code) == ("finished", 0)
    seen = len(read_records(run_dir))
    # The rest is cut short by editing what was asked for: 400 epochs would take minutes.
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"epochs": seen + 2}))
    client.run("-m", "train.scratch", "--resume", str(run_dir), "--workers", "0", "--device", "cpu")
    assert list(fake_wandb.runs.values()) == [run]
    epochs = [row["epoch"] for row in run.history if "val/top1" in row]
    assert epochs == list(range(1, seen + 3))
    assert run.state == "finished"
    assert [version.type for version in run.logged].count("model") == 1


def test_modes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert resolve_mode(None) == "offline"
    with pytest.raises(ValueError, match="wandb login"):
        resolve_mode("online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_mode(None) == "online"
    assert resolve_mode("disabled") == "disabled"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert (resolve_mode(None), resolve_mode("online")) == ("offline", "online")
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match="sometimes"):
        resolve_mode(None)


@pytest.mark.account
def test_the_same_chain_with_a_real_account(
    request: pytest.FixtureRequest, landmark_photos: Path, tmp_path: Path
) -> None:
    """Train, promote, fetch, against W&B itself: pytest --wandb-project ENTITY/PROJECT."""
    entity, project = request.config.getoption("--wandb-project").split("/")
    environment = os.environ | {"LANDMARKS_DATA": str(landmark_photos), "WANDB_MODE": "online"}
    place = ["--entity", entity, "--project", project]
    command = [sys.executable, *train(tmp_path / "run", *place)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "best" in done.stdout
    out = ["--data", str(landmark_photos), "--out", str(tmp_path / "out")]
    name = f"{entity}/{project}/landmarks:best"
    command = [sys.executable, "-m", "train.evaluate", "--artifact", name, *out]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600)
