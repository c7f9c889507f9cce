"""The part of the graph that has to do with sweeps: a random search, whatever the method."""

import json
import random
from typing import TYPE_CHECKING

from .graph import Refused, connection
from .state import Sweep

if TYPE_CHECKING:
    from .server import FakeWandb


class SweepGraph:
    """Root fields and nodes of sweeps."""

    def __init__(self, server: "FakeWandb") -> None:
        self.server = server
        self.sweeps: dict[str, Sweep] = {}
        self.agents: dict[str, Sweep] = {}
        self.rng = random.Random(0)
        self.queries: dict = {}
        self.mutations = {
            "upsertSweep": self.upsert,
            "createAgent": self.create_agent,
            "agentHeartbeat": self.heartbeat,
        }

    def upsert(self, given: dict) -> dict:
        """Create a sweep, or change its state."""
        known = [s for s in self.sweeps.values() if s.storage_id == given.get("id")]
        if known:
            sweep = known[0]
            sweep.state = given.get("state") or sweep.state
        else:
            project = given.get("projectName") or "uncategorized"
            self.server.add_project(given.get("entityName") or self.server.entity, project)
            sweep_id, storage_id = f"sweep{len(self.sweeps) + 1}", self.server.new_id("Sweep")
            now, name = self.server.now(), given.get("displayName")
            sweep = Sweep(sweep_id, storage_id, project, given["config"], now, name)
            sweep.draw(random.Random(0))  # refuses what it cannot draw now, not in the agent
            self.sweeps[sweep_id] = sweep
        return {"sweep": self.node(sweep.id), "configValidationWarnings": []}

    def create_agent(self, given: dict) -> dict:
        """Register an agent."""
        sweep = self.sweeps.get(given["sweep"])
        if sweep is None:
            raise Refused(f"sweep {given['sweep']} not found", 404)
        sweep.agents.append(self.server.new_id("Agent"))
        self.agents[sweep.agents[-1]] = sweep
        return {"agent": {"id": sweep.agents[-1]}}

    def heartbeat(self, given: dict) -> dict:
        """What the agent shall do next, from the runs that it says are alive."""
        sweep, runs = self.agents[given["id"]], self.server.runs
        alive = [runs[run] for run, is_alive in json.loads(given["runState"]).items() if is_alive]
        commands = [{"type": "stop", "run_id": run.id} for run in alive if run.should_stop]
        if sweep.state == "CANCELED":
            commands.append({"type": "exit"})  # on which the agent kills its runs
        elif not alive and (sweep.state == "FINISHED" or len(sweep.trials) >= sweep.run_cap):
            sweep.state = "FINISHED"
            commands.append({"type": "exit"})
        elif not alive and sweep.state != "PAUSED":
            commands.append(self._next_run(sweep))
        return {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}

    def _next_run(self, sweep: Sweep) -> dict:
        run_id, chosen = f"{sweep.id}-{len(sweep.trials) + 1}", sweep.draw(self.rng)
        sweep.trials[run_id], sweep.state = chosen, "RUNNING"
        arguments = {name: {"value": value} for name, value in chosen.items()}
        fields = {"state": "pending", "sweep": sweep.id, "raw_config": arguments}
        self.server.run_graph.add(run_id, sweep.project, **fields)
        program = sweep.config.get("program")
        return {"type": "run", "run_id": run_id, "program": program, "args": arguments}

    def project_fields(self, project: str) -> dict:
        """The sweep fields of a project node."""
        here = [sweep.id for sweep in self.sweeps.values() if sweep.project == project]
        return {
            "sweep": lambda a: self.node(a["sweepName"] if a["sweepName"] in here else None),
            "sweeps": lambda a: connection(map(self.node, here), a),
            "totalSweeps": len(here),
        }

    def node(self, sweep_id: str | None) -> dict | None:
        """A sweep as the graph shows it."""
        sweep = self.sweeps.get(sweep_id)
        if sweep is None:
            return None
        now = self.server.now()
        agents = [
            {"id": agent, "name": agent, "host": "host", "totalRuns": 0, "createdAt": now}
            for agent in sweep.agents
        ]
        return {
            "__typename": "Sweep",
            "id": sweep.storage_id,
            "name": sweep.id,
            "displayName": sweep.display_name or sweep.config.get("name"),
            "method": sweep.config.get("method"),
            "state": sweep.state,
            "config": sweep.config_text,
            "createdAt": sweep.created_at,
            "updatedAt": now,
            "runCount": len(sweep.trials),
            "runCountExpected": sweep.config.get("run_cap"),
            "project": lambda _: self.server.project_node(self.server.entity, sweep.project),
            "runs": lambda a: connection(map(self.server.run_graph.node, sweep.trials), a),
            "agents": lambda a: connection(agents, a),
        }
