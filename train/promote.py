"""Move the W&B alias best to the best model: python -m train.promote."""

import sys
from dataclasses import dataclass

from models.command_line import parse_flags

EXAMPLES = (
    "python -m train.promote",
    "python -m train.promote --metric val/loss --project landmarks",
    "python -m train.promote --link wandb-registry-model/landmarks",
)


@dataclass(frozen=True)
class PromoteConfig:
    """Compare the models of a W&B project on validation and move the alias best to the best one.

    Only models with the classes and the validation split of the current best are compared.
    """

    metric: str = "val/top1"
    """Validation figure that decides; one whose name ends in loss is better when lower."""
    split: str | None = None
    """Compare the models of another split instead: the start of its fingerprint."""
    entity: str | None = None
    """W&B user or team; none: WANDB_ENTITY, else the key's own."""
    project: str | None = None
    """W&B project; none: WANDB_PROJECT, else landmarks."""
    link: str | None = None
    """Also link the best model to this registry collection, such as
    wandb-registry-model/landmarks."""


def main(config: PromoteConfig) -> int:
    """Move the alias, and print the table that decided."""
    from train.tracking.registry import Registry

    try:
        registry = Registry(config.entity, config.project)
        print(registry.promote(config.metric, config.split))
        if config.link:
            registry.link(config.link)
            print(f"linked to {config.link}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1  # --metric or --split, else W&B
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(PromoteConfig, "python -m train.promote", EXAMPLES)))
