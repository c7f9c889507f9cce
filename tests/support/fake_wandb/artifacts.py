"""Mutations of artifacts."""

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from .artifact_nodes import ArtifactNodes
from .graph import Refused, connection
from .state import Collection, File, Version

if TYPE_CHECKING:
    from .server import FakeWandb


class ArtifactGraph(ArtifactNodes):
    """All of the graph that has to do with artifacts."""

    def __init__(self, server: "FakeWandb") -> None:
        super().__init__(server)
        self.mutations = {
            "createArtifact": self.create,
            "createArtifactManifest": self.create_manifest,
            "createArtifactFiles": self.create_files,
            "commitArtifact": self.commit,
            "updateArtifact": self.update,
            "addAliases": self.add_aliases,
            "deleteAliases": self.delete_aliases,
            "useArtifact": self.use,
            "deleteArtifact": self.delete,
            "linkArtifact": self.link,
        }

    def create(self, given: dict) -> dict:
        """A new pending version; the same content again is the version that has it already."""
        entity, project = given["entityName"], given["projectName"]
        name = given.get("artifactCollectionName") or given["artifactCollectionNames"][0]
        if ":" in name:
            # The client sends this when it logs an artifact that has been logged before.
            raise Refused(f"the stand-in does not know what W&B does with a collection {name}")
        self.server.add_project(entity, project)
        type_ = given["artifactTypeName"]
        collection = self._collection(entity, project, name, "ArtifactSequence", type_)
        aliases = [alias["alias"] for alias in given.get("aliases") or ()]
        same = [v for v in collection.committed() if v.digest == given["digest"]]
        version = (
            same[0]
            if same
            else Version(
                self.server.new_id("Artifact"),
                collection,
                given["digest"],
                json.loads(given.get("metadata") or "{}"),
                given.get("description"),
                given.get("runName"),
                aliases,
                self.server.now(),
                [tag["tagName"] for tag in given.get("tags") or ()],
            )
        )
        if same:
            collection.aliases.update(dict.fromkeys(aliases, version))
        self.versions[version.id] = version
        self.client_ids[given.get("clientID") or version.id] = version
        run = self.server.runs.get(given.get("runName"))
        if run and version not in run.logged:
            run.logged.append(version)
        return {"artifact": self.node(version)}

    def create_manifest(self, given: dict) -> dict:
        """A place to upload the manifest to; only whole manifests."""
        if given["type"] != "FULL":
            raise Refused(f"the stand-in has no {given['type']} manifests")
        version = self._version(given)
        url = self.server.storage_url(
            "wandb_manifest.json", write=lambda data: setattr(version, "manifest", data)
        )
        file = {"id": url, "uploadUrl": url, "uploadHeaders": []}
        return {"artifactManifest": {"id": f"manifest of {version.id}", "file": file}}

    def create_files(self, given: dict) -> dict:
        """Upload URLs; none for a file that an earlier version of the collection has."""
        nodes = []
        for wanted in given["artifactFiles"]:
            version, name, url = self._version(wanted), wanted["name"], None
            file = _find_stored(version, name, wanted["md5"])
            if file is None:
                file = File(name, wanted["md5"])
                url = self.server.storage_url(
                    name, write=lambda data, file=file: setattr(file, "data", data)
                )
            version.files[name] = file
            upload = {"uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
            nodes.append({"storagePath": file.md5, "artifact": {"id": version.id}, **upload})
        return {"files": connection(nodes, {})}

    def commit(self, given: dict) -> dict:
        """Give the version its index and aliases, if every blob of the manifest came whole."""
        version = self._version(given)
        if not version.manifest:
            raise Refused(f"artifact {version.name}: no manifest was uploaded")
        collection, files = version.collection, {}
        for name, entry in json.loads(version.manifest)["contents"].items():
            if "ref" in entry:
                continue
            file = version.files.get(name) or _find_stored(version, name, entry["digest"])
            if file is None or file.data is None:
                raise Refused(f"artifact {version.name}: file {name} was not uploaded")
            md5 = base64.b64encode(hashlib.md5(file.data).digest()).decode()
            if not md5 == entry["digest"] == file.digest or len(file.data) != entry["size"]:
                raise Refused(f"artifact {version.name}: file {name} has the wrong md5 or size")
            files[name] = file
        if version.state == "PENDING":
            version.files, version.state = files, "COMMITTED"
            version.index = len(collection.versions)
            collection.versions.append(version)
            aliases = [*version.wanted_aliases, "latest"]
            collection.aliases.update(dict.fromkeys(aliases, version))
        return {"artifact": self.node(version)}

    def update(self, given: dict) -> dict:
        """New metadata, description or tags."""
        version = self._version(given)
        if given.get("metadata") is not None:
            version.metadata = json.loads(given["metadata"])
        if given.get("description") is not None:
            version.description = given["description"]
        removed = [tag["tagName"] for tag in given.get("tagsToDelete") or ()]
        added = [tag["tagName"] for tag in given.get("tagsToAdd") or ()]
        version.tags = [tag for tag in version.tags if tag not in removed] + added
        return {"artifact": self.node(version)}

    def add_aliases(self, given: dict) -> dict:
        """Put aliases on a version; whichever version had one loses it."""
        version = self._version(given)
        for alias in given["aliases"]:
            self._home(version, alias).aliases[alias["alias"]] = version
        return {"success": True}

    def delete_aliases(self, given: dict) -> dict:
        """Take aliases off a version."""
        version = self._version(given)
        for alias in given["aliases"]:
            home = self._home(version, alias)
            if home.aliases.get(alias["alias"]) is version:
                del home.aliases[alias["alias"]]
        return {"success": True}

    def use(self, given: dict) -> dict:
        """Record that a run read a version."""
        version, run = self._version(given), self.server.runs.get(given["runName"])
        if run is None:
            raise Refused(f"run {given['runName']} not found")
        if version not in run.used:
            run.used.append(version)
            version.used_by.append(run.id)
        return {"artifact": self.node(version)}

    def delete(self, given: dict) -> dict:
        """Delete a version; one with aliases only when told to."""
        version = self._version(given)
        held = [(c, alias) for c in self.collections.values() for alias in c.aliases_of(version)]
        if held and not given.get("deleteAliases"):
            raise Refused(f"artifact {version.name}:v{version.index} has aliases")
        for collection, alias in held:
            del collection.aliases[alias]
        version.state = "DELETED"
        return {"artifact": self.node(version)}

    def link(self, given: dict) -> dict:
        """Add a version to a portfolio, such as a collection of the registry."""
        client_id = given.get("clientID")
        version = self.client_ids[client_id] if client_id else self._version(given)
        entity, project, name = (
            given[key] for key in ("entityName", "projectName", "artifactPortfolioName")
        )
        if (entity, project) not in self.server.projects:
            raise Refused(f"project {entity}/{project} not found")
        home = self._collection(entity, project, name, "ArtifactPortfolio", version.type)
        if version not in home.versions:
            home.versions.append(version)
        aliases = [alias["alias"] for alias in given.get("aliases") or ()]
        home.aliases.update(dict.fromkeys([*aliases, "latest"], version))
        member = self.membership_node(home, version)
        return {"versionIndex": member["versionIndex"], "artifactMembership": member}

    def _version(self, given: dict) -> Version:
        version = self.versions.get(given.get("artifactID"))
        if version is None or version.state == "DELETED":
            raise Refused(f"artifact {given.get('artifactID')} not found")
        return version

    def _collection(
        self, entity: str, project: str, name: str, kind: str, type_: str
    ) -> Collection:
        """The collection of that name, made if there is none."""
        key = (entity, project, name)
        if key not in self.collections:
            new_id, now = self.server.new_id(kind), self.server.now()
            self.collections[key] = Collection(new_id, *key, type_, kind, now)
        if self.collections[key].type != type_:
            raise Refused(f"collection {name} is of type {self.collections[key].type}, not {type_}")
        return self.collections[key]

    def _home(self, version: Version, alias: dict) -> Collection:
        """The collection in which an alias is to be changed."""
        key = (alias["entityName"], alias["projectName"], alias["artifactCollectionName"])
        home = self.collections.get(key)
        if home is None or version not in home.versions:
            raise Refused(f"artifact {version.name} is not in {'/'.join(key)}")
        return home


def _find_stored(version: Version, name: str, digest: str) -> File | None:
    """The same file of an earlier version of the collection."""
    for other in version.collection.committed():
        if name in other.files and other.files[name].digest == digest:
            return other.files[name]
    return None
