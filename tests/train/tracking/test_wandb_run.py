"""Trainings, models and the alias best in W&B: the real client against the stand-in."""

import contextlib
import io
import json
import os
import re
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
from tests.support.runs import no_program, read_records, train_only
from train.config import ScratchConfig
from train.data.split import Split, classes_hash
from train.engine.training_run import run_training
from train.evaluate import EvaluateConfig
from train.evaluate import main as evaluate
from train.promote import PromoteConfig
from train.promote import main as promote
from train.prune import PruneConfig
from train.prune import main as prune
from train.tracking import wandb_run

MODEL = "landmarks/landmarks"


def small(data: Path, run_dir: Path, **changes: object) -> ScratchConfig:
    """Settings of a training that takes seconds: those of the fixture finished_scratch."""
    settings = {"epochs": 3, "image_size": 32, "batch_size": 8, "width": 8, "depth": 1}
    settings |= {"workers": 0, "device": "cpu"}
    return ScratchConfig(data=data, run_dir=run_dir, **(settings | changes))


@pytest.fixture(autouse=True, scope="module")
def quick_export() -> Iterator[None]:
    """W&B gets model.pt; the program beside it stays here."""
    with no_program():
        yield


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
def good_run(
    client: Client, landmark_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "good"
    config = small(
        landmark_photos,
        run_dir,
        augment=0,
        mix_probability=0,
        epochs=12,
        learning_rate=0.02,
        tags=("drawn",),
        group="tests",
    )
    with client.here(), contextlib.redirect_stdout(io.StringIO()) as output:
        assert run_training(config) == 0
    assert "best" in output.getvalue().splitlines()[-1], output.getvalue()
    return run_dir


# First: while the last two tests of a file run, their worker already has its next file.
def test_a_run_survives_every_kind_of_server(
    landmark_photos: Path, finished_scratch: Path, tmp_path: Path
) -> None:
    """Refused, 500, silent, dying midway, wrong key: each ends, and keeps what did not arrive."""
    with FakeWandb() as failing, FakeWandb() as silent, FakeWandb() as dying, FakeWandb() as strict:
        failing.fail, silent.fail = "500", "hang"
        gone = FakeWandb()
        gone.close()
        servers = {"gone": gone, "500": failing, "hang": silent, "dies": dying, "key": strict}
        running = {}
        for name, server in servers.items():
            client = Client(server, tmp_path / name)
            if name == "key":
                client.environment["WANDB_API_KEY"] = "9" * 40
            run_dir = tmp_path / "runs" / name
            module = "tests.support.tracked_run"
            running[name] = client.start("-m", module, finished_scratch, run_dir, landmark_photos)
        began = time.monotonic()
        while waiting := [
            name
            for name, process in running.items()
            if process.poll() is None and not (tmp_path / "runs" / name / "metrics.jsonl").exists()
        ]:
            # A login of 2 s at most, 3 s to start, 4 s for an answer; five processes, two cores.
            assert time.monotonic() - began < 9 + 40, waiting
            time.sleep(0.05)
        dying.close()
        for name in servers:
            (tmp_path / "runs" / name / "proceed").touch()
        began = time.monotonic()
        for name, process in running.items():
            output, errors = process.communicate(timeout=90)
            assert process.returncode == 0, (name, output, errors)
            assert time.monotonic() - began < 7 + 40, name
            assert output.splitlines()[-1] == "kept here", (name, output)
            assert "wandb sync" in output, (name, output)
            assert "Traceback" not in errors, (name, errors)
    # What was kept reaches a server that works.
    records = read_records(finished_scratch)
    with FakeWandb() as later:
        client = Client(later, tmp_path / "later")
        folders = {
            name: next((tmp_path / "runs" / name / "wandb").glob("offline-run-*"))
            for name in ("hang", "dies")
        }
        syncing = [client.start("-m", "wandb", "sync", folder) for folder in folders.values()]
        for process in syncing:
            client.finish(process)
        for name in folders:
            run = later.runs[(tmp_path / "runs" / name / "wandb" / "id").read_text()]
            rows = [row for row in run.history if "val/top1" in row]
            assert [row["epoch"] for row in rows] == [record["epoch"] for record in records]
            assert later.version(f"{MODEL}:run-{run.id}").files["model.pt"].data


def test_limits_hold_what_is_promised() -> None:
    """A server that does not answer costs a training 45 s at its start, and 45 s at its end."""
    login_seconds = 10  # the client's own limit
    assert login_seconds + wandb_run.START_SECONDS + wandb_run.ANSWER_SECONDS <= 45
    assert wandb_run.ANSWER_SECONDS + wandb_run.FINISH_SECONDS <= 45 - 10


def test_a_training_does_not_depend_on_its_server(
    landmark_photos: Path,
    finished_scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """It dies after the first epoch: the training gives what it gives without W&B."""
    run_dir = tmp_path / "run"
    log = wandb_run.Tracker.log

    def log_and_die(tracker: wandb_run.Tracker, record: dict) -> None:
        log(tracker, record)
        server.close()

    monkeypatch.setattr(wandb_run.Tracker, "log", log_and_die)
    monkeypatch.setattr(wandb_run, "ANSWER_SECONDS", 3.0)
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 3.0)
    with FakeWandb() as server, Client(server, tmp_path / "home").here():
        assert run_training(small(landmark_photos, run_dir)) == 0
    assert "wandb sync" in capsys.readouterr().out
    losses, expected = (
        [record["val/loss"] for record in read_records(folder)]
        for folder in (run_dir, finished_scratch)
    )
    assert losses == expected
    assert (run_dir / "model.pt").is_file()
    assert list((run_dir / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"WANDB_PROJECT": "team/landmarks"}, "WANDB_PROJECT.*a team goes into WANDB_ENTITY"),
        ({"WANDB_RUN_ID": "a/b"}, "WANDB_RUN_ID"),
        ({"WANDB_TAGS": "day,,night"}, "WANDB_TAGS.*is empty"),
        ({"WANDB_QUIET": "perhaps"}, "WANDB_QUIET.*boolean"),
        ({"WANDB_BASE_URL": "nonsense"}, "WANDB_BASE_URL.*URL"),
        ({"WANDB_FORK_FROM": "abc?_step=1"}, "WANDB_FORK_FROM.*exclusive"),
        ({"project": "team/landmarks"}, "--project.*a team goes into"),
        ({"tags": ("x" * 65,)}, "--tags.*64 characters"),
    ],
)
def test_settings_that_wandb_refuses_are_one_line(
    mode: str,
    changed: dict,
    said: str,
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    flags = {name: value for name, value in changed.items() if not name.startswith("WANDB")}
    for name in set(changed) - set(flags):
        monkeypatch.setenv(name, changed[name])
    run_dir = tmp_path / "run"
    assert run_training(small(landmark_photos, run_dir, wandb=mode, **flags)) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(f"error: W&B refuses .*{said}.*--wandb disabled\n", error)
    assert not run_dir.exists()
    # Without W&B they do not matter.
    wandb_run.check_settings(small(landmark_photos, run_dir, wandb="disabled", **flags))


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), AssertionError("x")])
def test_no_error_of_wandb_ends_a_training(
    error: Exception,
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    import wandb

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", fail)
    assert train_only(small(landmark_photos, tmp_path / "run", wandb="offline", epochs=1)) == 0
    assert "the training continues without it" in capsys.readouterr().out
    assert "WANDB_DATA_DIR" not in os.environ


def test_what_wandb_variables_say_is_kept(
    finished_scratch: Path,
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {"TAGS": "night,rain", "NAME": "mine", "NOTES": "wet", "RUN_GROUP": "storm"}
    split = Split.load(finished_scratch / "split.json")
    for number, flags in enumerate([{}, {"tags": ("day",), "notes": "dry"}]):
        with FakeWandb() as server, Client(server, tmp_path / "home").without_key().here():
            for name, value in (said | {"JOB_TYPE": "teaching"}).items():
                monkeypatch.setenv(f"WANDB_{name}", value)
            config = small(landmark_photos, tmp_path / f"run{number}", wandb="offline", **flags)
            config.run_dir.mkdir()
            tracker = wandb_run.Tracker()
            tracker.start(config, config.run_dir, split, {})
            run = tracker.run
            assert (run.name, run.group, run.job_type) == ("mine", "storm", "teaching")
            assert run.tags == (flags.get("tags") or ("night", "rain"))
            assert run.notes == flags.get("notes", "wet")
            tracker.finish()


def test_a_training_is_a_run_and_a_model(team: FakeWandb, good_run: Path) -> None:
    run = team.runs[(good_run / "wandb" / "id").read_text()]
    assert (run.display_name, run.state, run.exit_code) == ("good", "finished", 0)
    assert (run.tags, run.group, run.project) == (["drawn"], "tests", "landmarks")
    records = read_records(good_run)
    rows = [row for row in run.history if "val/top1" in row]
    names = ["epoch", "train/loss", "train/learning_rate", "val/loss", "val/top1", "val/top5"]
    for name in [*names, "images_per_second", "best_val_top1"]:
        assert [row[name] for row in rows] == pytest.approx([record[name] for record in records])
    assert run.summary["best_val_top1"] == pytest.approx(records[-1]["best_val_top1"])
    tables = {"val/classes", "val/mistakes", "val/confusion_matrix_table", "val/curves"}
    assert tables <= set(run.summary)

    split = json.loads((good_run / "split.json").read_text())
    config = {name: entry["value"] for name, entry in run.raw_config.items() if name != "_wandb"}
    assert config["learning_rate"] == 0.02
    assert config["split"] == split["fingerprint"]
    assert config["dataset"] == {
        "classes": 3,
        "train_photos": 33,
        "val_photos": 3,
        "left_out_photos": 0,
    }
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
    team: FakeWandb,
    client: Client,
    good_run: Path,
    landmark_photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    before = team.version(f"{MODEL}:best")
    worse = small(landmark_photos, tmp_path / "worse", epochs=1, learning_rate=1e-3, seed=1)
    quiet = small(landmark_photos, tmp_path / "quiet", epochs=1, promote=False)
    with client.here():
        assert run_training(worse) == 0
        assert team.version(f"{MODEL}:best") is before
        assert team.version(f"{MODEL}:latest") is not before
        table = capsys.readouterr().out.splitlines()
        assert any("worse" in line for line in table if line.startswith("v"))
        assert run_training(quiet) == 0
    assert "version" not in capsys.readouterr().out
    assert team.version(f"{MODEL}:best") is before


def test_test_figures_reach_the_artifact(
    team: FakeWandb,
    client: Client,
    good_run: Path,
    landmark_photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    name, out = f"{team.entity}/{MODEL}:best", tmp_path / "out"
    with client.here():
        assert evaluate(EvaluateConfig(artifact=name, data=landmark_photos, out=out)) == 0
        metadata = team.version(f"{MODEL}:best").metadata
        assert metadata["test/photos"] == 6
        assert metadata["test/top1"] == json.loads((out / "metrics.json").read_text())["top1"]
        capsys.readouterr()
        assert promote(PromoteConfig(metric="test/top1")) == 2
    assert "validation" in capsys.readouterr().err


def log_candidates(run_id: str, *figures: float, split: str) -> None:
    """Log models that nobody trained, by this process."""
    import wandb

    common = {"split": split, "classes": "c", "sha256": "0" * 64, "val/loss": 1.0}
    with wandb.init(project="landmarks", id=run_id) as run:
        for index, top1 in enumerate(figures):
            metadata = common | {"val/top1": top1, "run": f"r{index}"}
            artifact = wandb.Artifact("landmarks", type="model", metadata=metadata)
            with artifact.new_file("model.pt", "w") as file:
                file.write(json.dumps(metadata))
            run.log_artifact(artifact).wait(30)


def test_eight_promotes_at_once(
    fake_wandb: FakeWandb, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    client = Client(fake_wandb, tmp_path / "home")
    with client.here():
        log_candidates("many", 0.3, 0.9, 0.5, 0.8, 0.2, split="s" * 64)
        running = [client.start("-m", "train.promote") for _ in range(8)]
        for process in running:
            output = client.finish(process, timeout=120).stdout
            assert output.splitlines()[1].split()[:2] == ["v1", "0.9000"]
            assert "best" in output.splitlines()[1]
        best = [name for name, version in fake_wandb.artifacts.items() if "best" in version.aliases]
        assert best == [f"{MODEL}:v1"]

        # Another split's model is better, and does not compete until it is named.
        log_candidates("other", 0.95, split="t" * 64)
        capsys.readouterr()
        assert promote(PromoteConfig()) == 0
        assert "v5" not in capsys.readouterr().out
        link = "wandb-registry-model/landmarks"
        assert promote(PromoteConfig(split="ttt", link=link)) == 0
        assert fake_wandb.version(f"{MODEL}:v5").aliases.count("best") == 1
        assert f"linked to {link}" in capsys.readouterr().out


def test_prune_lists_first_and_spares_what_has_a_name(
    fake_wandb: FakeWandb, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def versions() -> list[str]:
        return [name for name in fake_wandb.artifacts if name.startswith(f"{MODEL}:")]

    with Client(fake_wandb, tmp_path / "home").here():
        log_candidates("many", 0.3, 0.9, 0.5, 0.8, 0.2, 0.1, split="s" * 64)
        assert promote(PromoteConfig()) == 0
        assert prune(PruneConfig(keep=2)) == 0
        assert "delete them with --delete" in capsys.readouterr().out
        assert len(versions()) == 6
        assert prune(PruneConfig(keep=2, delete=True)) == 0
        assert versions() == [f"{MODEL}:v1", f"{MODEL}:v4", f"{MODEL}:v5"]


def test_promote_and_prune_answer_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    for main, config in ((promote, PromoteConfig()), (prune, PruneConfig())):
        assert main(config) == 1
        assert "run wandb login" in capsys.readouterr().err
    with FakeWandb() as server, Client(server, tmp_path / "home").here():
        assert promote(PromoteConfig()) == 1
        assert f"no models at {server.entity}/{MODEL}" in capsys.readouterr().err


def test_offline_run_reaches_the_server_later(
    fake_wandb: FakeWandb, landmark_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    client = Client(fake_wandb, tmp_path / "home")
    run_dir = tmp_path / "runs" / "offline"
    with client.without_key().here():
        assert run_training(small(landmark_photos, run_dir)) == 0
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("W&B is offline"))
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


def test_stopped_run_is_closed_and_resumes(
    fake_wandb: FakeWandb,
    landmark_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    run_dir = tmp_path / "runs" / "stopped"
    log = wandb_run.Tracker.log

    def log_and_stop(tracker: wandb_run.Tracker, record: dict) -> None:
        log(tracker, record)
        if record["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with Client(fake_wandb, tmp_path / "home").here():
        with monkeypatch.context() as patch:
            patch.setattr(wandb_run.Tracker, "log", log_and_stop)
            assert run_training(small(landmark_photos, run_dir, epochs=4)) == 143
        assert "--resume" in capsys.readouterr().out
        (run,) = fake_wandb.runs.values()
        assert (run.state, run.exit_code) == ("finished", 0)
        assert len(read_records(run_dir)) < 4
        config = ScratchConfig(resume=run_dir, workers=0, device="cpu")
        assert run_training(config) == 0
    assert list(fake_wandb.runs.values()) == [run]
    epochs = [row["epoch"] for row in run.history if "val/top1" in row]
    assert epochs == [1, 2, 3, 4]
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
    flags = ["--epochs", "3", "--image-size", "32", "--batch-size", "8", "--width", "8"]
    flags += ["--depth", "1", "--workers", "0", "--device", "cpu"]
    flags += ["--run-dir", str(tmp_path / "run")]
    command = [sys.executable, "-m", "train.scratch", *flags, *place]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "best" in done.stdout
    out = ["--data", str(landmark_photos), "--out", str(tmp_path / "out")]
    name = f"{entity}/{project}/landmarks:best"
    command = [sys.executable, "-m", "train.evaluate", "--artifact", name, *out]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600)
