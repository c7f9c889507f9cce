"""Artifacts as the graph shows them."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .graph import Refused, connection
from .state import Collection, Version

if TYPE_CHECKING:
    from .server import FakeWandb


class ArtifactNodes:
    """What there is of artifacts, and the queries that read it."""

    def __init__(self, server: "FakeWandb") -> None:
        self.server = server
        self.collections: dict[tuple[str, str, str], Collection] = {}
        self.versions: dict[str, Version] = {}
        self.client_ids: dict[str, Version] = {}
        self.queries = {
            "artifact": lambda a: self.node(self.versions.get(a["id"])),
            "artifactCollection": self._collection_by_id,
            "clientIDMapping": self._version_of_client,
        }

    def project_fields(self, entity: str, project: str) -> dict:
        """The artifact fields of a project node."""
        here = [c for c in self.collections.values() if (c.entity, c.project) == (entity, project)]

        def membership(arguments: dict) -> dict | None:
            name, _, alias = arguments["name"].partition(":")
            home = self.collections.get((entity, project, name))
            return home and self.membership_node(home, home.find(alias or "latest"))

        def type_node(name: str) -> dict | None:
            mine = [c for c in here if c.type == name]
            if not mine:
                return None
            named = {"__typename": "ArtifactType", "id": f"{project}/{name}", "name": name}
            return {**named, "createdAt": mine[0].created_at, **collections(mine)}

        def collections(among: list[Collection]) -> dict:
            by_name = {c.name: c for c in among}
            return {
                "artifactCollection": lambda a: self.collection_node(by_name.get(a["name"])),
                "artifactCollections": lambda a: connection(map(self.collection_node, among), a),
            }

        return {
            "artifactCollectionMembership": membership,
            "artifact": lambda a: (membership(a) or {}).get("artifact"),
            "artifactType": lambda a: type_node(a["name"]),
            "artifactTypes": lambda a: connection(map(type_node, {c.type for c in here}), a),
            **collections(here),
        }

    def collection_node(self, collection: Collection | None) -> dict | None:
        """A collection as the graph shows it."""
        if collection is None:
            return None

        def artifacts(arguments: dict) -> dict:
            if json.loads(arguments.get("filters") or "{}") not in ({}, {"state": "COMMITTED"}):
                raise Refused(f"the stand-in has no filter {arguments['filters']}")
            return connection(map(self.node, collection.committed()[::-1]), arguments)

        return {
            "__typename": collection.kind,
            "id": collection.id,
            "name": collection.name,
            "createdAt": collection.created_at,
            "project": self.server.project_node(collection.entity, collection.project),
            "defaultArtifactType": {"name": collection.type},
            "tags": {"edges": []},
            "latestArtifact": lambda _: self.node((collection.committed() or [None])[-1]),
            "artifacts": artifacts,
            "artifactMembership": lambda a: self.membership_node(
                collection, collection.find(a["aliasName"])
            ),
            "aliases": lambda a: connection(_alias_nodes(collection, collection.aliases), a),
        }

    def membership_node(self, home: Collection, version: Version | None) -> dict | None:
        """A version as a member of a collection."""
        return version and {
            "__typename": "ArtifactCollectionMembership",
            "id": f"{home.id}/{version.id}",
            "versionIndex": home.versions.index(version),
            "createdAt": version.created_at,
            "aliases": _alias_nodes(home, home.aliases_of(version)),
            "artifactCollection": lambda _: self.collection_node(home),
            "artifact": self.node(version),
            "files": lambda a: self._files(version, a),
        }

    def node(self, version: Version | None) -> dict | None:
        """A version as the graph shows it."""
        if version is None:
            return None
        homes = [c for c in self.collections.values() if version in c.versions]

        def aliases(_: dict) -> list[dict]:
            return [
                {**alias, "artifactCollection": self.collection_node(home)}
                for home in homes
                for alias in _alias_nodes(home, home.aliases_of(version))
            ]

        def manifest(_: dict) -> dict:
            url = self.server.storage_url("wandb_manifest.json", lambda: version.manifest)
            return {"file": {"directUrl": url}}

        run_node = self.server.run_graph.node
        return {
            "__typename": "Artifact",
            "id": version.id,
            "artifactSequence": lambda _: self.collection_node(version.collection),
            "versionIndex": version.index,
            "version": f"v{version.index}",
            "artifactType": {"name": version.type},
            "description": version.description,
            "metadata": json.dumps(version.metadata),
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [{"__typename": "Tag", "id": tag, "name": tag} for tag in version.tags],
            "state": version.state,
            "size": sum(len(file.data or b"") for file in version.files.values()),
            "digest": version.digest,
            "commitHash": version.id,
            "fileCount": len(version.files),
            "createdAt": version.created_at,
            "updatedAt": version.created_at,
            "aliases": aliases,
            "artifactMemberships": lambda a: connection(
                [self.membership_node(home, version) for home in homes], a
            ),
            "currentManifest": manifest,
            "createdBy": lambda _: run_node(version.logged_by),
            "usedBy": lambda a: connection(map(run_node, version.used_by), a),
        }

    def _collection_by_id(self, arguments: dict) -> dict | None:
        by_id = {collection.id: collection for collection in self.collections.values()}
        return self.collection_node(by_id.get(arguments["id"]))

    def _version_of_client(self, arguments: dict) -> dict | None:
        version = self.client_ids.get(arguments["clientID"])
        return version and {"serverID": version.id}

    def _files(self, version: Version, arguments: dict) -> dict:
        def node(name: str) -> dict:
            file = version.files[name]
            return self.server.file_node(name, lambda: file.data or b"", file.digest, is_blob=True)

        names = arguments.get("names") or version.files
        return connection([node(name) for name in names if name in version.files], arguments)


def _alias_nodes(collection: Collection, aliases: Iterable[str]) -> list[dict]:
    return [
        {"__typename": "ArtifactAlias", "id": f"{collection.id}/{alias}", "alias": alias}
        for alias in aliases
    ]
