"""The server as tests see it, and the parts of the graph that all others share."""

import base64
import contextlib
import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from .artifacts import ArtifactGraph
from .graph import Refused
from .listener import Listener
from .runs import RunGraph
from .state import Run, Sweep, Version
from .sweeps import SweepGraph

FEATURES = (
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "MARK_RUN_FILES_UPLOADED",
    "FILESTREAM_GZIP",
)


class FakeWandb:
    """A W&B server on the loopback interface, for one test.

    Attributes:
        url: What WANDB_BASE_URL has to be.
        unknown: Root fields and paths that a client asked for and the stand-in does not have.
        crashes: Tracebacks of the stand-in's own mistakes.
        unknown_leaves: Fields that it answered with null because it does not know them.
        requests: Number of requests by GraphQL operation name, file_stream, PUT and GET.
        downloads: How often a file of an artifact was fetched; manifests do not count.
        fail: How all requests fail: "500", "hang" (until changed or closed), or None.
    """

    entity = "landmark-team"
    organization = "landmark-org"  # has one registry, wandb-registry-model
    api_key = "0123456789" * 4

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.crashes: list[str] = []
        self.unknown_leaves: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.downloads = 0
        self.lock = threading.RLock()
        self.not_hanging = threading.Event()
        self.fail = None
        self.is_closed = False
        self.storage: dict[str, tuple[Callable | None, Callable | None, bool]] = {}
        self.projects = {(self.organization, "wandb-registry-model"): 1}
        self._numbers = itertools.count(2)
        self.run_graph = RunGraph(self)
        self.artifact_graph = ArtifactGraph(self)
        self.sweep_graph = SweepGraph(self)
        queries = {
            "viewer": lambda _: self.viewer_node(),
            "serverInfo": {"features": [{"name": n, "isEnabled": True} for n in FEATURES]},
            "entity": self._entity,
            "project": self.project,
        }
        self.roots: dict[str, dict] = {"query": queries, "mutation": {}}
        for graph in (self.run_graph, self.artifact_graph, self.sweep_graph):
            queries.update(graph.queries)
            for name, change in graph.mutations.items():
                self.roots["mutation"][name] = lambda a, change=change: change(a["input"])
        self._http = Listener(self)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> "FakeWandb":
        """The running server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, and leave no client behind."""
        self.close()
        self.kill_clients()

    def close(self) -> None:
        """Hang up on all clients; from now on connections are refused."""
        if not self.is_closed:
            self.is_closed = True
            self._http.shutdown()
            self._thread.join()
            self.not_hanging.set()
            self._http.server_close()

    # ---- for tests

    @property
    def runs(self) -> dict[str, Run]:
        """Runs by id."""
        return self.run_graph.runs

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """Sweeps by id."""
        return self.sweep_graph.sweeps

    @property
    def artifacts(self) -> dict[str, Version]:
        """Versions that were committed and not deleted, by project/name:vN."""
        with self.lock:
            return {
                f"{c.project}/{c.name}:v{version.index}": version
                for c in self.artifact_graph.collections.values()
                for version in c.committed()
                if version.collection is c
            }

    def version(self, name: str) -> Version:
        """The version at project/name:alias or project/name:vN; of a registry too."""
        path, _, alias = name.partition(":")
        with self.lock:
            for collection in self.artifact_graph.collections.values():
                if f"{collection.project}/{collection.name}" == path and collection.find(alias):
                    return collection.find(alias)
        raise KeyError(name)

    @property
    def fail(self) -> str | None:
        """See the class."""
        return self._fail

    @fail.setter
    def fail(self, how: str | None) -> None:
        if how not in ("500", "hang", None):
            raise ValueError(f'fail must be "500", "hang" or None, not {how!r}')
        self._fail = how
        (self.not_hanging.clear if how == "hang" else self.not_hanging.set)()

    def corrupt(self, version: Version | str, file_name: str) -> None:
        """Flip the bytes of a stored file; its size and the manifest stay."""
        file = (self.version(version) if isinstance(version, str) else version).files[file_name]
        file.data = bytes(byte ^ 0xFF for byte in file.data)

    def stop_run(self, run_id: str) -> None:
        """Have a run stopped: a sweep's by its agent with SIGTERM, another with an interrupt."""
        self.runs[run_id].should_stop = True

    def environment(self, home: Path) -> dict[str, str]:
        """Variables of a client process that has its whole state under a folder."""
        folders = {name: home / name.lower() for name in ("CACHE", "DATA", "CONFIG")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {
            "HOME": str(home),
            "WANDB_DIR": str(home),
            **{f"WANDB_{name}_DIR": str(folder) for name, folder in folders.items()},
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ENTITY": self.entity,
            "WANDB_ERROR_REPORTING": "false",  # else the client writes to Sentry
            "NO_PROXY": "127.0.0.1",
        }

    def kill_clients(self) -> None:
        """Kill whatever still runs with this server's URL in its environment (Linux only).

        wandb-core gives itself a session of its own: a signal to its client's process group does
        not reach it, and it outlives a client that was killed.
        """
        mark = f"WANDB_BASE_URL={self.url}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)

    # ---- for the graphs

    def new_id(self, kind: str) -> str:
        """A fresh id in the form of W&B's: base64, which the client takes apart."""
        return base64.b64encode(f"{kind}:{next(self._numbers)}".encode()).decode()

    def now(self) -> str:
        """The time in W&B's form."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def add_project(self, entity: str, project: str) -> None:
        """Make sure that a project exists."""
        if entity != self.entity:
            raise Refused(f"entity {entity} not found", 404)
        self.projects.setdefault((entity, project), next(self._numbers))

    def storage_url(
        self,
        name: str,
        read: Callable[[], bytes] | None = None,
        write: Callable[[bytes], None] | None = None,
        is_blob: bool = False,
    ) -> str:
        """A URL that reads or writes bytes; fetching a blob counts as a download."""
        path = f"/storage/{next(self._numbers)}/{quote(name)}"
        self.storage[path] = (read, write, is_blob)
        return self.url + path

    def file_node(
        self, name: str, read: Callable[[], bytes], md5: str | None = None, is_blob: bool = False
    ) -> dict:
        """A stored file as the graph shows it."""
        url = self.storage_url(name, read=read, is_blob=is_blob)
        shown = {"__typename": "File", "id": url, "name": name, "displayName": name, "url": url}
        return {**shown, "directUrl": url, "sizeBytes": len(read()), "md5": md5, "digest": md5}

    def viewer_node(self) -> dict:
        """The one user."""
        user = {"id": "VXNlcjox", "name": "tester", "username": "tester", "entity": self.entity}
        teams = {"edges": [{"node": {"name": self.entity}}]}
        return {**user, "email": "tester@example.com", "flags": "{}", "teams": teams}

    def project(self, arguments: dict) -> dict | None:
        """The project of a query, with all that hangs on it."""
        entity, name = arguments.get("entityName") or self.entity, arguments["name"]
        if (entity, name) not in self.projects:
            return None
        return {
            **self.project_node(entity, name),
            **self.artifact_graph.project_fields(entity, name),
            **self.run_graph.project_fields(name),
            **self.sweep_graph.project_fields(name),
        }

    def project_node(self, entity: str, name: str) -> dict:
        """What is told of a project itself."""
        internal_id = f"ProjectInternalId:{self.projects[entity, name]}"
        return {
            "__typename": "Project",
            "id": base64.b64encode(f"Project:v1:{name}:{entity}".encode()).decode(),
            "internalId": base64.b64encode(internal_id.encode()).decode(),
            "name": name,
            "entityName": entity,
            "entity": {"id": entity, "name": entity},
            "createdAt": self.now(),
            "isBenchmark": False,
            "readOnly": False,
        }

    def _entity(self, arguments: dict) -> dict | None:
        if arguments["name"] not in (self.entity, self.organization):
            return None
        organization = {"name": self.organization, "orgEntity": {"name": self.organization}}
        return {"name": arguments["name"], "organization": organization}
