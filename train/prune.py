"""Delete old model versions from W&B: python -m train.prune --keep 5."""

import sys
from dataclasses import dataclass

import tyro
from tqdm import tqdm

from train.tracking.ranking import to_prune
from train.tracking.wandb_run import Registry


@dataclass(frozen=True)
class PruneConfig:
    """List the old model versions of a W&B project, and delete them when told to.

    Versions that somebody gave an alias stay, best among them.
    """

    keep: int = 5
    """The newest so many stay."""
    delete: bool = False
    """Delete them; else they are listed only."""
    entity: str | None = None
    """W&B user or team; none: WANDB_ENTITY, else the key's own."""
    project: str | None = None
    """W&B project; none: WANDB_PROJECT, else landmarks."""

    def __post_init__(self) -> None:
        """Reject a negative number."""
        if self.keep < 0:
            raise ValueError("keep must be at least 0")


def main(config: PruneConfig) -> int:
    """Print, and delete with --delete."""
    try:
        registry = Registry(config.entity, config.project)
        old = to_prune(registry.candidates(), config.keep)
        for each in old:
            print(f"{each.version:<6} val/top1 {each.metrics.get('val/top1', 0):.4f}  {each.run}")
        if not config.delete:
            print(f"{len(old)} old versions; delete them with --delete")
            return 0
        kept = [each.version for each in tqdm(old, "deleting") if not registry.delete(each)]
        print(f"deleted {len(old) - len(kept)} versions" + (f", kept {kept}" if kept else ""))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(PruneConfig, prog="python -m train.prune")))
