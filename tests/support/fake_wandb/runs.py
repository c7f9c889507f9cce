"""The part of the graph that has to do with runs."""

import json
import operator
from typing import TYPE_CHECKING

from .graph import Refused, connection
from .state import Run, Version

if TYPE_CHECKING:
    from .server import FakeWandb

OPERATORS = {f"${name}": getattr(operator, name) for name in ("eq", "ne", "gt", "lt")}
OPERATORS |= {"$gte": operator.ge, "$lte": operator.le, "$in": lambda value, among: value in among}


class RunGraph:
    """Root fields and nodes of runs."""

    def __init__(self, server: "FakeWandb") -> None:
        self.server = server
        self.runs: dict[str, Run] = {}
        self.queries = {"model": self._model}
        self.mutations = {
            "upsertBucket": self.upsert,
            "createRunFiles": self.create_files,
            "markRunFilesUploaded": lambda _: {"success": True},
            "stopRun": self.stop,
        }

    # ---- what a client changes

    def upsert(self, given: dict) -> dict:
        """Create a run, take up an old one, or change fields of it."""
        run = self._by_storage_id(given.get("id"))
        inserted = False
        if run is None:
            project = given.get("modelName") or "uncategorized"
            self.server.add_project(given.get("entityName") or self.server.entity, project)
            run = self.runs.get(given["name"])
            inserted = run is None
            run = run or self.add(given["name"], project)
            if run.project != project:
                raise Refused(f"the stand-in has run {run.id} in project {run.project} already")
            run.state, run.exit_code = given.get("state") or "running", None
        names = {"display_name": "displayName", "group": "groupName", "job_type": "jobType"}
        for name, key in (names | {key: key for key in ("notes", "tags", "sweep")}).items():
            if given.get(key) is not None:
                setattr(run, name, given[key])
        for name, key in (("raw_config", "config"), ("summary", "summaryMetrics")):
            if given.get(key):
                setattr(run, name, json.loads(given[key]))
        return {"bucket": self.node(run.id), "inserted": inserted}

    def add(self, run_id: str, project: str, **fields: object) -> Run:
        """A new run."""
        display_name = f"run-{len(self.runs) + 1}"
        new_id, now = self.server.new_id("Run"), self.server.now()
        self.runs[run_id] = Run(run_id, new_id, project, now, display_name, **fields)
        return self.runs[run_id]

    def create_files(self, given: dict) -> dict:
        """Upload URLs for files of a run."""
        run = self.runs[given["runName"]]

        def url(name: str) -> str:
            return self.server.storage_url(name, write=lambda data: run.files.update({name: data}))

        files = [{"name": name, "uploadUrl": url(name)} for name in given["files"]]
        return {"runID": run.storage_id, "uploadHeaders": [], "files": files}

    def stop(self, given: dict) -> dict:
        """Ask a run to stop, as the button on its page does."""
        self._by_storage_id(given["id"]).should_stop = True
        return {"success": True}

    def stream(self, run_id: str, body: dict) -> dict:
        """Take lines of history, events, log and summary at their offsets."""
        run = self.runs[run_id]
        for name, chunk in (body.get("files") or {}).items():
            lines, start = chunk["content"], chunk.get("offset", 0)
            if name == "wandb-summary.json":
                run.summary = json.loads(lines[-1])
            elif name == "output.log":
                run.log[start : start + len(lines)] = lines
            else:
                rows = run.history if name == "wandb-history.jsonl" else run.events
                rows[start : start + len(lines)] = map(json.loads, lines)
        if body.get("complete"):
            run.exit_code = body.get("exitcode", 0)
            run.state = "failed" if run.exit_code else "finished"
        # The client interrupts the script on this; a trial is left to its agent's SIGTERM.
        return {"stopped": run.should_stop and run.sweep is None}

    # ---- what a client reads

    def project_fields(self, project: str) -> dict:
        """The run fields of a project node."""
        here = {run.id: run for run in self.runs.values() if run.project == project}

        def chosen(arguments: dict) -> list[dict]:
            wanted = json.loads(arguments.get("filters") or "{}")
            order = arguments.get("order") or "+created_at"
            runs = [run for run in here.values() if _matches(run, wanted)]
            keys = {run.id: _look_up(run, order.lstrip("+-")) for run in runs}
            runs.sort(key=lambda run: (keys[run.id] is not None, keys[run.id] or 0))
            return [self.node(run.id) for run in (runs[::-1] if order[0] == "-" else runs)]

        return {
            "run": lambda a: self.node(a["name"]) if a["name"] in here else None,
            "runCount": lambda a: len(chosen(a)),
            "runs": lambda a: connection(chosen(a), a),
        }

    def node(self, run_id: str | None) -> dict | None:
        """A run as the graph shows it."""
        run = self.runs.get(run_id)
        if run is None:
            return None

        def artifacts(versions: list[Version], arguments: dict) -> dict:
            kept = [version for version in versions if version.state == "COMMITTED"]
            return connection(map(self.server.artifact_graph.node, kept), arguments)

        def history(arguments: dict) -> list[str]:
            steps = range(arguments.get("minStep", 0), arguments.get("maxStep", 2**31))
            return [json.dumps(row) for row in run.history if row["_step"] in steps]

        def sampled(arguments: dict) -> list[list[dict]]:
            specs = arguments["specs"]  # GraphQL takes one value where a list is due
            keys = [set(json.loads(s)["keys"]) for s in (specs if type(specs) is list else [specs])]
            return [[row for row in run.history if wanted <= set(row)] for wanted in keys]

        def files(arguments: dict) -> dict:
            names = [name for name in arguments.get("names") or run.files if name in run.files]
            nodes = [self.server.file_node(name, lambda n=name: run.files[n]) for name in names]
            return connection(nodes, arguments)

        same = ("state", "tags", "group", "notes")
        return {
            **{name: getattr(run, name) for name in same},
            "__typename": "Run",
            "id": run.storage_id,
            "name": run.id,
            "displayName": run.display_name,
            "jobType": run.job_type,
            "sweepName": run.sweep,
            "config": json.dumps(run.raw_config),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": json.dumps(run.events[-1] if run.events else {}),
            "createdAt": run.created_at,
            "heartbeatAt": run.created_at,
            "exitcode": run.exit_code,
            "running": run.state == "running",
            "failed": run.state == "failed",
            "stopped": run.should_stop,
            "shouldStop": run.should_stop,
            "user": self.server.viewer_node(),
            "project": lambda _: self.server.project_node(self.server.entity, run.project),
            "projectId": self.server.projects[self.server.entity, run.project],
            "logLineCount": len(run.log),
            "eventsLineCount": len(run.events),
            "historyLineCount": len(run.history),
            # Lists of JSON lines, themselves as JSON: the client unpacks twice.
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": json.dumps([json.dumps(row) for row in run.events[-1:]]),
            "wandbConfig": json.dumps({"t": 1}),
            "historyKeys": {"lastStep": run.history[-1]["_step"] if run.history else -1},
            "history": history,
            "events": lambda _: [json.dumps(row) for row in run.events],
            "sampledHistory": sampled,
            "parquetHistory": {"parquetUrls": [], "liveData": run.history},
            "fileCount": len(run.files),
            "files": files,
            "inputArtifacts": lambda a: artifacts(run.used, a),
            "outputArtifacts": lambda a: artifacts(run.logged, a),
        }

    def _model(self, arguments: dict) -> dict | None:
        """The project as a resuming run sees it."""
        project = self.server.project(arguments)
        return project and {**project, "bucket": project["run"]}

    def _by_storage_id(self, storage_id: str | None) -> Run | None:
        return next((run for run in self.runs.values() if run.storage_id == storage_id), None)


def _look_up(run: Run, path: str) -> object:
    """The value of a run at a path such as summary_metrics.val/top1.max or config.lr.value."""
    head, *rest = path.split(".")
    names = {"name": "id", "jobType": "job_type", "summary_metrics": "summary"}
    names["config"] = "raw_config"
    value = getattr(run, names.get(head, head))
    for part in rest:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _matches(run: Run, wanted: dict) -> bool:
    """Whether a run passes a filter in MongoDB's language, of which a few words are known."""
    for path, condition in wanted.items():
        if path in ("$and", "$or"):
            passes = (all if path == "$and" else any)(_matches(run, part) for part in condition)
        else:
            value = _look_up(run, path)
            tests = condition if isinstance(condition, dict) else {"$eq": condition}
            if not set(tests) <= set(OPERATORS):
                raise Refused(f"the stand-in has no filter {condition}")
            values = value if isinstance(value, list) else [value]
            passes = value is not None and all(
                any(OPERATORS[word](item, operand) for item in values)
                for word, operand in tests.items()
            )
        if not passes:
            return False
    return True
