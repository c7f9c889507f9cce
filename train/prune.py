"""Delete old model versions from W&B: python -m train.prune --keep 5."""

import sys
from dataclasses import dataclass

from tqdm import tqdm

from models.command_line import parse_flags

EXAMPLES = (
    "python -m train.prune --keep 5  # lists what would be deleted",
    "python -m train.prune --keep 5 --delete",
)


@dataclass(frozen=True)
class PruneConfig:
    """List the old model versions of a W&B project; with --delete, delete them.

    Versions that somebody gave an alias stay, and so does best.
    """

    keep: int = 5
    """Keep this many of the newest versions."""
    delete: bool = False
    """Delete the versions; without this flag they are only listed."""
    entity: str | None = None
    """W&B user or team; none: WANDB_ENTITY, else the key's own."""
    project: str | None = None
    """W&B project; none: WANDB_PROJECT, else landmarks."""

    def __post_init__(self) -> None:
        """Reject a negative number."""
        if self.keep < 0:
            raise ValueError("keep must be at least 0")


def main(config: PruneConfig) -> int:
    """List the old versions, and delete them if asked to."""
    from train.tracking.ranking import to_prune
    from train.tracking.registry import Registry

    try:
        registry = Registry(config.entity, config.project)
        old = to_prune(registry.candidates(), config.keep)
        for each in old:
            print(f"{each.version:<6} val/top1 {each.metrics.get('val/top1', 0):.4f}  {each.run}")
        if not config.delete:
            print(f"{len(old)} old versions; delete them with --delete")
            return 0
        # One may have got an alias since it was listed: the registry looks again.
        kept = [each.version for each in tqdm(old, "deleting") if not registry.delete(each)]
        print(f"deleted {len(old) - len(kept)} versions" + (f", kept {kept}" if kept else ""))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(PruneConfig, "python -m train.prune", EXAMPLES)))
