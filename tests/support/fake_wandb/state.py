"""What the server remembers: artifact versions, runs, sweeps."""

import base64
import math
import random
from dataclasses import dataclass, field

import yaml

from .graph import Refused


@dataclass
class File:
    """A file of a version: what the client promised of it, and the bytes that came."""

    name: str
    digest: str  # base64 of the md5, as in the manifest
    data: bytes | None = field(default=None, repr=False)

    @property
    def md5(self) -> str:
        """The promised md5, in hexadecimal."""
        return base64.b64decode(self.digest).hex()


@dataclass(eq=False)
class Version:
    """An artifact version. It gets its index (1 for v1) when it is committed."""

    id: str
    collection: "Collection" = field(repr=False)
    digest: str
    metadata: dict
    description: str | None
    logged_by: str | None
    wanted_aliases: list[str]
    created_at: str
    tags: list[str]
    state: str = "PENDING"
    index: int | None = None
    files: dict[str, File] = field(default_factory=dict)
    used_by: list[str] = field(default_factory=list)
    manifest: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """Name of the collection it was logged to."""
        return self.collection.name

    @property
    def type(self) -> str:
        """Type of the collection it was logged to."""
        return self.collection.type

    @property
    def aliases(self) -> list[str]:
        """Its aliases in the collection it was logged to."""
        return self.collection.aliases_of(self)


@dataclass(eq=False)
class Collection:
    """Versions under one name: those logged there (a sequence) or linked there (a portfolio)."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    kind: str
    created_at: str
    versions: list[Version] = field(default_factory=list)
    aliases: dict[str, Version] = field(default_factory=dict)  # so an alias has one version

    def aliases_of(self, version: Version) -> list[str]:
        """The aliases of a version here."""
        return [alias for alias, holder in self.aliases.items() if holder is version]

    def find(self, alias: str) -> Version | None:
        """The version behind an alias or v0, v1, ..."""
        by_index = {f"v{index}": version for index, version in enumerate(self.versions)}
        version = self.aliases.get(alias) or by_index.get(alias)
        return version if version in self.committed() else None

    def committed(self) -> list[Version]:
        """What was committed and not deleted, oldest first."""
        return [version for version in self.versions if version.state == "COMMITTED"]


@dataclass(eq=False)
class Run:
    """A run. Its id is what W&B's graph calls its name."""

    id: str
    storage_id: str
    project: str
    created_at: str
    display_name: str
    state: str = "running"
    exit_code: int | None = None
    raw_config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list, repr=False)
    log: list[str] = field(default_factory=list, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    tags: list[str] = field(default_factory=list)
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    sweep: str | None = None
    used: list[Version] = field(default_factory=list)
    logged: list[Version] = field(default_factory=list)
    should_stop: bool = False

    @property
    def config(self) -> dict:
        """The config as the script set it, without W&B's own entry."""
        return {name: v["value"] for name, v in self.raw_config.items() if name != "_wandb"}


@dataclass(eq=False)
class Sweep:
    """A sweep, and the trials that it handed out: run id -> chosen parameters."""

    id: str
    storage_id: str
    project: str
    config_text: str
    created_at: str
    display_name: str | None
    state: str = "PENDING"
    trials: dict[str, dict] = field(default_factory=dict)
    agents: list[str] = field(default_factory=list)

    @property
    def config(self) -> dict:
        """The sweep file's content."""
        return yaml.safe_load(self.config_text)

    @property
    def run_cap(self) -> float:
        """How many runs it may have."""
        return self.config.get("run_cap", math.inf)

    def draw(self, rng: random.Random) -> dict:
        """A random value for each parameter."""
        return {name: _draw(p, rng) for name, p in self.config["parameters"].items()}


def _draw(parameter: dict, rng: random.Random) -> object:
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return rng.choice(parameter["values"])
    low, high = parameter.get("min"), parameter.get("max")
    match parameter.get("distribution"):
        case "int_uniform":
            return rng.randint(low, high)
        case "uniform":
            return rng.uniform(low, high)
        case "log_uniform_values":
            return math.exp(rng.uniform(math.log(low), math.log(high)))
    raise Refused(f"the stand-in cannot draw from {parameter}")
