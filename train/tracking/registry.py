"""The models of a W&B project: compare them, move the alias best, delete old versions.

Light: no torch, so that train.promote and train.prune answer at once.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from models.command_line import first_line
from models.environment import has_wandb_key, project_name
from models.sources.wandb_artifacts import MODEL_NAME
from train.tracking.ranking import Candidate, comparable, format_table, rank

API_SECONDS = 20
MAX_MOVES = 20


class Registry:
    """The versions of the model artifact of one W&B project."""

    def __init__(self, entity: str | None = None, project: str | None = None) -> None:
        """Connect.

        Args:
            entity: User or team; none: WANDB_ENTITY, else the key's own.
            project: None: WANDB_PROJECT, else landmarks.

        Raises:
            ConnectionError: No key, or no answer.
        """
        if not has_wandb_key():
            raise ConnectionError("W&B has no key: run wandb login, or set WANDB_API_KEY")
        import wandb  # takes a second, which a person without a key need not wait for

        with as_connection_error("W&B does not answer"):
            self.api = wandb.Api(timeout=API_SECONDS)
            entity = entity or os.environ.get("WANDB_ENTITY") or self.api.default_entity
        self.path = f"{entity}/{project or project_name()}/{MODEL_NAME}"

    def candidates(self) -> list[Candidate]:
        """Return all versions that a training logged completely.

        Raises:
            ConnectionError: W&B does not answer, or knows no such project.
        """
        with as_connection_error(f"no models at {self.path}"):
            found = list(self.api.artifacts("model", self.path))
        # PENDING ones are still being uploaded, or their upload was cut off.
        return [Candidate.of(each) for each in found if each.state == "COMMITTED"]

    @contextlib.contextmanager
    def _change(self, version: str) -> Iterator[Any]:
        """One version to be changed, fetched now: aliases in an older record may be outdated."""
        with as_connection_error(f"{self.path}:{version} could not be changed"):
            yield self.api.artifact(f"{self.path}:{version}", type="model")

    def promote(self, metric: str = "val/top1", split: str | None = None) -> str:
        """Move the alias best to the best candidate.

        Safe while others do the same: W&B has no compare-and-swap, so each mover reads the
        candidates again after its move and moves again if another one is better. The last move of
        all was therefore checked against every candidate that its mover could see.

        Args:
            metric: Validation figure that decides.
            split: Start of the fingerprint of the split whose models compete; none: today's best's.

        Returns:
            The table that decided, best first.

        Raises:
            ConnectionError: W&B does not answer.
            ValueError: A metric or split that cannot be compared.
        """
        for _ in range(MAX_MOVES):
            ranked = rank(comparable(self.candidates(), split), metric)
            if not ranked:
                raise ValueError(f"{self.path} holds no model yet; train one with W&B online")
            if ranked[0].is_best():  # also after this loop's own move
                return format_table(ranked, metric)
            with self._change(ranked[0].version) as artifact:
                artifact.aliases.append("best")
                artifact.save()
        raise ConnectionError(f"the alias best of {self.path} keeps moving; try again later")

    def link(self, collection: str) -> None:
        """Link today's best to a registry collection, such as wandb-registry-model/landmarks."""
        with self._change("best") as artifact:
            artifact.link(collection)

    def delete(self, candidate: Candidate) -> bool:
        """Delete one version, unless somebody gave it an alias since it was listed.

        Returns:
            Whether it was deleted.
        """
        with self._change(candidate.version) as artifact:
            # Somebody may have promoted it while the list was being read.
            if set(artifact.aliases) - set(candidate.aliases):
                return False
            artifact.delete(delete_aliases=True)
        return True


def record_test(name: str, figures: dict[str, float]) -> None:
    """Add test figures to the metadata of a model artifact.

    Args:
        name: entity/project/name:alias.
        figures: By their names, test/...; the ranking never reads these.

    Raises:
        ConnectionError: W&B does not answer or refuses.
    """
    import wandb

    with as_connection_error(f"{name} got no test figures"):
        artifact = wandb.Api(timeout=API_SECONDS).artifact(name)
        artifact.metadata.update(figures)
        artifact.save()


@contextlib.contextmanager
def as_connection_error(what: str) -> Iterator[None]:
    """Turn the many errors of W&B's client into one ConnectionError of one line.

    Args:
        what: What failed; the client's own reason follows it.
    """
    try:
        yield
    except Exception as error:
        raise ConnectionError(f"{what}: {first_line(error)}") from error
