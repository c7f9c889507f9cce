"""The W&B stand-in, with the real client."""

import base64
import contextlib
import hashlib
import io
import json
import os
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import fake_wandb
from tests.support.commands import Client
from tests.support.fake_wandb import FakeWandb

server = fake_wandb.fake_wandb  # the fixture, under the name that it has in this file
BIN = Path(sys.executable).parent  # not resolved: a virtual environment's python is a link
MODEL = "landmark-team/landmarks/model"


def user(server: FakeWandb, home: Path, **environment: str) -> Client:
    """A client that works in its own folder."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # wandb agent runs `python` from PATH
    client = Client(server, home, PATH=path, OMP_NUM_THREADS="1", **environment)
    client.folder = home
    return client


def run_script(server: FakeWandb, home: Path, script: str, **environment: str) -> str:
    """What a script prints, run by this process with a client that has read nothing yet."""
    with (
        user(server, home, **environment).here(),
        contextlib.chdir(home),
        contextlib.redirect_stdout(io.StringIO()) as output,
    ):
        exec(textwrap.dedent(script), {})
    return output.getvalue()


def run_process(server: FakeWandb, home: Path, script: str) -> str:
    """The same by a process of its own: wandb keeps artifacts that it has seen in memory."""
    return user(server, home).run("-c", textwrap.dedent(script)).stdout


def ask(server: FakeWandb, query: str, **variables: object) -> dict:
    """A GraphQL request without the client."""
    login = base64.b64encode(f"api:{server.api_key}".encode()).decode()
    request = urllib.request.Request(
        f"{server.url}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Authorization": f"Basic {login}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def change(server: FakeWandb, field: str, wanted: str, **given: object) -> dict:
    """The payload of a mutation; AssertionError with the message if it was refused."""
    query = f"mutation Change($input: Input!) {{ {field}(input: $input) {{ {wanted} }} }}"
    answer = ask(server, query, input=given)
    assert "errors" not in answer, answer["errors"][0]["message"]
    return answer["data"][field]


def put(url: str, data: bytes) -> None:
    request = urllib.request.Request(url, data, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def upload(server: FakeWandb, data: bytes, stored: bytes | None = None) -> str:
    """Id of a pending version of one file, of which other bytes may be stored."""
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    version = change(
        server,
        "createArtifact",
        "artifact { id }",
        entityName=server.entity,
        projectName="landmarks",
        artifactCollectionName="model",
        artifactTypeName="model",
        digest=digest,
    )["artifact"]["id"]
    wanted = [{"artifactID": version, "name": "model.pt", "md5": digest}]
    urls = "files { edges { node { uploadUrl } } }"
    files = change(server, "createArtifactFiles", urls, artifactFiles=wanted)["files"]
    manifest = change(
        server,
        "createArtifactManifest",
        "artifactManifest { file { uploadUrl } }",
        type="FULL",
        artifactID=version,
    )["artifactManifest"]
    contents = {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {"model.pt": {"digest": digest, "size": len(data)}},
    }
    put(manifest["file"]["uploadUrl"], json.dumps(contents).encode())
    if stored is not None:
        put(files["edges"][0]["node"]["uploadUrl"], stored)
    return version


def commit(server: FakeWandb, data: bytes) -> str:
    version = upload(server, data, data)
    change(server, "commitArtifact", "artifact { id }", artifactID=version)
    return version


LOG = """
    import numpy, pathlib, wandb
    config = {"lr": 0.1}
    with wandb.init(project="landmarks", id="first", name="shown", group="g", tags=["t"],
                    notes="n", config=config) as run:
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})
        run.log({
            "table": wandb.Table(columns=["a"], data=[[1]]),
            "image": wandb.Image(numpy.zeros((4, 4, 3), numpy.uint8)),
            "matrix": wandb.plot.confusion_matrix(y_true=[0, 1], preds=[0, 0]),
        })
        run.summary["best_val_top1"] = 0.5
        for number in range(3):
            pathlib.Path("model.pt").write_bytes(b"weights" * (1000 + number))
            artifact = wandb.Artifact("model", "model", metadata={"top1": number})
            artifact.add_file("model.pt")
            run.log_artifact(artifact, aliases=["candidate"]).wait()
        again = wandb.Artifact("model", "model")
        again.add_file("model.pt")
        run.log_artifact(again, aliases=["same"]).wait()
        run.link_artifact(artifact, "wandb-registry-model/landmarks", aliases=["production"])
"""


def test_a_run_and_its_artifacts_come_back_in_a_fresh_process(
    server: FakeWandb, tmp_path: Path
) -> None:
    run_script(server, tmp_path / "writer", LOG)
    run = server.runs["first"]
    assert (run.state, run.exit_code, run.config) == ("finished", 0, {"lr": 0.1})
    assert (run.display_name, run.group, run.tags, run.notes) == ("shown", "g", ["t"], "n")
    assert [row.get("loss") for row in run.history] == [2.0, 1.0, None]
    assert run.summary["best_val_top1"] == 0.5
    assert any(name.startswith("media/images/") for name in run.files)
    versions = {k: v for k, v in server.artifacts.items() if "/model:" in k}
    assert list(versions) == [f"landmarks/model:v{index}" for index in range(3)]
    assert sorted(versions["landmarks/model:v2"].aliases) == ["candidate", "latest", "same"]
    assert server.downloads == 0

    output = run_process(
        server,
        tmp_path / "reader",
        f"""
        import pathlib, wandb
        api = wandb.Api()
        run = api.run("landmark-team/landmarks/first")
        assert (run.state, run.config, run.summary["best_val_top1"]) == (
            "finished", {{"lr": 0.1}}, 0.5)
        assert [row["loss"] for row in run.scan_history(keys=["loss"])] == [2.0, 1.0]
        runs = api.runs("landmark-team/landmarks", order="-summary_metrics.best_val_top1")
        assert [run.id for run in runs] == ["first"]
        artifacts = api.artifacts("model", "{MODEL}", per_page=2)
        assert [artifact.name for artifact in artifacts] == ["model:v2", "model:v1", "model:v0"]

        best = api.artifact("{MODEL}:candidate")
        assert (best.version, best.metadata) == ("v2", {{"top1": 2}})
        folder = best.download("down", skip_cache=True)
        best.verify(folder)
        assert pathlib.Path(folder, "model.pt").read_bytes() == b"weights" * 1002
        assert best.logged_by().id == "first" and best.used_by() == []
        best.aliases.append("best")
        best.metadata["promoted"] = True
        best.save()
        assert sorted(api.artifact("{MODEL}:best").aliases) == [
            "best", "candidate", "latest", "same"]

        linked = api.artifact("wandb-registry-model/landmarks:production")
        assert linked.is_link and linked.source_name == "model:v2"

        assert api.artifact_exists("{MODEL}:best") and not api.artifact_exists("{MODEL}:none")
        for name in ("{MODEL}:none", "landmark-team/none/model:v0"):
            try:
                api.artifact(name)
            except wandb.errors.CommError as error:
                print("refused:", error)
        oldest = api.artifact("{MODEL}:v0")
        oldest.delete()
        try:
            best.delete()
        except wandb.errors.CommError as error:
            print("refused:", error)
        best.delete(delete_aliases=True)
    """,
    )
    assert output.count("refused:") == 3
    assert server.downloads == 1
    assert [key for key in server.artifacts if "/model:" in key] == ["landmarks/model:v1"]


def test_a_run_is_resumed_and_uses_an_artifact(server: FakeWandb, tmp_path: Path) -> None:
    script = """
        import wandb
        with wandb.init(project="landmarks", id="same", resume="allow") as run:
            {}
    """
    run_script(server, tmp_path, script.format('run.log({"loss": 2}); run.summary["best"] = 0.5'))
    commit(server, b"weights")
    run_script(
        server,
        tmp_path,
        script.format("""
            assert (run.resumed, run.starting_step, run.summary["best"]) == (True, 1, 0.5)
            run.log({"loss": 1}); run.use_artifact("model:latest"); run.finish(exit_code=3)"""),
    )
    run = server.runs["same"]
    assert [(row["_step"], row["loss"]) for row in run.history] == [(0, 2), (1, 1)]
    assert (run.summary["best"], run.state, run.exit_code) == (0.5, "failed", 3)
    assert server.version("landmarks/model:latest").used_by == ["same"]


def test_a_wrong_key_is_refused(server: FakeWandb, tmp_path: Path) -> None:
    output = run_script(
        server,
        tmp_path,
        """
        import wandb
        for start in (lambda: wandb.init(project="landmarks"), wandb.Api):
            try:
                start()
            except wandb.Error as error:
                print("refused:", type(error).__name__, error)
    """,
        WANDB_API_KEY="f" * 40,
    )
    assert "refused: CommError user is not logged in" in output
    assert "refused: AuthenticationError" in output
    assert not server.runs


@pytest.mark.parametrize(
    ("stored", "message"), [(None, "was not uploaded"), (b"Weights", "wrong md5")]
)
def test_a_missing_or_wrong_blob_is_not_committed(
    server: FakeWandb, stored: bytes | None, message: str
) -> None:
    version = upload(server, b"weights", stored)
    with pytest.raises(AssertionError, match=message):
        change(server, "commitArtifact", "artifact { id }", artifactID=version)
    assert not server.artifacts


def test_the_unknown_is_recorded() -> None:
    with FakeWandb() as server:
        answer = ask(server, "query Q { viewer { entity nonsense } nonsense { id } }")
        assert answer["data"] == {
            "viewer": {"entity": server.entity, "nonsense": None},
            "nonsense": None,
        }
        assert "nonsense" in answer["errors"][0]["message"]
        with pytest.raises(AssertionError, match="makeNonsense"):
            change(server, "makeNonsense", "id")
        assert server.unknown == ["query nonsense", "mutation makeNonsense"]
        assert server.unknown_leaves == {"viewer.nonsense": 1}
        assert server.requests["Q"] == 1


def test_an_alias_is_never_on_two_versions(server: FakeWandb) -> None:
    versions = [commit(server, bytes([number])) for number in range(8)]
    where = {
        "entityName": server.entity,
        "projectName": "landmarks",
        "artifactCollectionName": "model",
    }
    holders = []

    def take_best(version: str) -> None:
        for _ in range(5):
            change(
                server,
                "addAliases",
                "success",
                artifactID=version,
                aliases=[{**where, "alias": "best"}],
            )
            with server.lock:
                holders.append(sum("best" in v.aliases for v in server.artifacts.values()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take_best, versions))
    assert holders == [1] * 40


def test_a_corrupt_blob_is_caught_by_verify(server: FakeWandb, tmp_path: Path) -> None:
    commit(server, b"weights")
    server.corrupt("landmarks/model:latest", "model.pt")
    output = run_script(
        server,
        tmp_path,
        f"""
        import pathlib, wandb
        artifact = wandb.Api().artifact("{MODEL}:latest")
        folder = artifact.download("down", skip_cache=True)
        assert pathlib.Path(folder, "model.pt").stat().st_size == 7
        try:
            artifact.verify(folder)
        except ValueError as error:
            print("refused:", error)
    """,
    )
    assert "refused: Digest mismatch" in output


def test_an_offline_run_is_synced(server: FakeWandb, tmp_path: Path) -> None:
    output = run_script(
        server,
        tmp_path,
        """
        import pathlib, wandb
        with wandb.init(project="landmarks", id="away", mode="offline", config={"lr": 1}) as run:
            run.log({"loss": 1})
            pathlib.Path("model.pt").write_bytes(b"weights")
            artifact = wandb.Artifact("model", "model")
            artifact.add_file("model.pt")
            run.log_artifact(artifact, aliases=["candidate"])
            try:
                run.use_artifact(wandb.Artifact("data", "dataset"))
            except TypeError as error:
                print("refused:", error)
    """,
    )
    assert "refused: Cannot use artifact when in offline mode." in output
    assert not server.requests
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    user(server, tmp_path).run("-m", "wandb", "sync", folder)
    run = server.runs["away"]
    assert (run.state, run.config, run.history[0]["loss"]) == ("finished", {"lr": 1}, 1)
    assert server.version("landmarks/model:candidate").files["model.pt"].data == b"weights"


TRAIN = """
import argparse, pathlib, signal, time, wandb

def stop(number, frame):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, stop)
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--layers", type=int)
parser.add_argument("--seconds", type=int)
options = parser.parse_args()
with wandb.init(config=vars(options)) as run:
    run.log({"best_val_top1": options.lr})
    pathlib.Path("logged").touch()
    time.sleep(options.seconds)
"""


def start_sweep(server: FakeWandb, home: Path, seconds: int, run_cap: int) -> str:
    """Name of a new sweep for wandb agent."""
    (home / "train.py").write_text(TRAIN)
    (home / "sweep.yaml").write_text(f"""
program: train.py
method: random
run_cap: {run_cap}
metric: {{name: best_val_top1, goal: maximize}}
parameters:
  lr: {{min: 1.0e-4, max: 1.0e-1, distribution: log_uniform_values}}
  layers: {{min: 1, max: 4}}
  seconds: {{value: {seconds}}}
""")
    arguments = ["-m", "wandb", "sweep", "--project", "landmarks", "sweep.yaml"]
    done = user(server, home).run(*arguments)
    (sweep,) = server.sweeps
    assert f"wandb agent landmark-team/landmarks/{sweep}" in done.stdout + done.stderr
    return f"landmark-team/landmarks/{sweep}"


def test_an_agent_runs_a_sweep(server: FakeWandb, tmp_path: Path) -> None:
    sweep = start_sweep(server, tmp_path, seconds=0, run_cap=3)
    client = user(server, tmp_path)
    client.finish(client.start_agent("--count", 2, sweep))
    first, second = server.runs.values()
    (state,) = server.sweeps.values()
    assert state.trials == {first.id: first.config, second.id: second.config}
    for run in (first, second):
        assert (run.state, run.sweep) == ("finished", state.id)
        assert 1e-4 <= run.config["lr"] == run.summary["best_val_top1"] <= 0.1
        assert run.config["layers"] in range(1, 5)
    best = max((first, second), key=lambda run: run.config["lr"])
    run_script(
        server,
        tmp_path,
        f"""
        import wandb
        assert wandb.Api().sweep("{sweep}").best_run().id == "{best.id}"
    """,
    )


def test_a_stopped_trial_gets_sigterm_and_a_full_sweep_ends_its_agent(
    server: FakeWandb, tmp_path: Path
) -> None:
    client = user(server, tmp_path)
    agent = client.start_agent(start_sweep(server, tmp_path, 300, run_cap=1))
    deadline = time.monotonic() + 30
    while not (tmp_path / "logged").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (run,) = server.runs.values()
    server.stop_run(run.id)
    done = client.finish(agent)
    assert "Agent received command: exit" in done.stdout + done.stderr
    assert (run.state, run.exit_code) == ("failed", 1)  # 1: `with` saw an exception, SystemExit
    assert run.history[0]["best_val_top1"] == run.config["lr"]


def test_it_fails_when_told_to(server: FakeWandb) -> None:
    query = "query GetDefaultEntity { viewer { entity } }"
    server.fail = "500"
    with pytest.raises(urllib.error.HTTPError, match="500") as caught:
        ask(server, query)
    caught.value.close()

    server.fail = "hang"
    with ThreadPoolExecutor(2) as pool:
        released = pool.submit(ask, server, query)
        time.sleep(0.2)
        assert not released.done()
        server.fail = None
        assert released.result()["data"] == {"viewer": {"entity": server.entity}}

        server.fail = "hang"
        dropped = pool.submit(ask, server, query)
        time.sleep(0.2)
        before = threading.active_count()
        server.close()
        assert isinstance(dropped.exception(), OSError)
    assert threading.active_count() < before
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(server, query)
    with pytest.raises(ValueError, match="fail must be"):
        server.fail = "crash"
