"""Move the W&B alias best to the best model: python -m train.promote."""

import sys
from dataclasses import dataclass

import tyro

from train.tracking.wandb_run import Registry


@dataclass(frozen=True)
class PromoteConfig:
    """Compare the models of a W&B project on validation and let the alias best name the best one.

    Compared are those that share the classes and the split of today's best.
    """

    metric: str = "val/top1"
    """Validation figure that decides; one that ends in loss is better when lower."""
    split: str | None = None
    """Start of another split's fingerprint, whose models compete instead."""
    entity: str | None = None
    """W&B user or team; none: WANDB_ENTITY, else the key's own."""
    project: str | None = None
    """W&B project; none: WANDB_PROJECT, else landmarks."""
    link: str | None = None
    """Also link it to this registry collection, such as wandb-registry-model/landmarks."""


def main(config: PromoteConfig) -> int:
    """Promote and print the table that decided."""
    try:
        registry = Registry(config.entity, config.project)
        print(registry.promote(config.metric, config.split))
        if config.link:
            registry.link(config.link)
            print(f"linked to {config.link}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(PromoteConfig, prog="python -m train.promote")))
