"""Compare what photos of other things can teach a network while it trains (outlier exposure).

python benchmarks/outside_losses.py --data DIR --outside DIR/negative --outside DIR/other ...

Fine-tunes the same backbone once per loss of the outside photos, else with equal settings, seed
and batches: a uniform answer (Hendrycks et al. 2019), an energy margin (Liu et al. 2020), a class
of its own for "none", and nothing at all. Prints top-1 of the validation photos and R@20, R@5, R@2
(right names where 20, 5 or 2 of 1,000 other photos get any name) against half B of the outside
photos, which taught nothing, by the scores that such a network offers. Trainings resume.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from train.config import TransferConfig
from train.data.batches import PhotoDataset
from train.data.loading import build_loaders, read_photos
from train.data.outside import OutsidePhotos
from train.data.photo_cache import decode_photos
from train.data.transforms import build_eval_transform
from train.engine.checkpoints import load_checkpoint
from train.engine.device import build_accelerator
from train.engine.recipe import build_network, build_phases, build_preprocess
from train.engine.tasks import Classification
from train.engine.trainer import Trainer
from train.evaluation.open_set import PER_MILLE, recall_at
from train.exporting.confidence import calibrate, eager_outputs, fit_calibration

# The logarithm of the summed exponentials that landmarks should reach and others stay below. With
# label smoothing the logits of a confident answer spread over about six.
ENERGY_IN, ENERGY_OUT, ENERGY_SCALE = 5.0, 1.0, 0.4


@dataclass(frozen=True)
class LossesConfig:
    """Compare losses of the outside photos."""

    data: Path
    """Landmark photos, as for train.transfer."""
    outside: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    """Photos of none of the landmarks, as for train.transfer."""
    out: Path = Path("runs/outside_losses")
    """Checkpoints of the trainings."""
    backbone: str = "tf_efficientnet_lite0"
    epochs: int = 4
    image_size: int = 128
    seed: int = 0


class EnergyMargin(Classification):
    """Push the energies of landmarks and of other things apart, to either side of a margin."""

    def outside_loss(self, own: Tensor, others: Tensor) -> Tensor:
        """Return the squared distances to the margin."""
        low = (ENERGY_IN - own.logsumexp(1)).relu().square().mean()
        return ENERGY_SCALE * (low + (others.logsumexp(1) - ENERGY_OUT).relu().square().mean())


class NoneClass(Classification):
    """Give other things the last class."""

    def outside_loss(self, own: Tensor, others: Tensor) -> Tensor:
        """Return the cross entropy of the last class."""
        none = torch.full((len(others),), others.shape[1] - 1, device=others.device)
        return cross_entropy(others, none)


LOSSES = {
    "no outside photos": Classification,
    "uniform answer": Classification,
    "energy margin": EnergyMargin,
    "a class for none": NoneClass,
}


def main(config: LossesConfig) -> None:
    """Train once per loss, measure and print."""
    outside = OutsidePhotos.find(config.outside)
    print(
        f"{config.backbone}, {config.epochs} epochs at {config.image_size} px, seed {config.seed}"
    )
    print("top-1 of validation; by score: R@20, R@5, R@2 against half B")
    for number, (name, task_class) in enumerate(LOSSES.items()):
        settings = TransferConfig(
            data=config.data,
            outside=config.outside if number else (),
            backbone=config.backbone,
            epochs=config.epochs,
            image_size=config.image_size,
            seed=config.seed,
            patience=config.epochs,
            run_dir=config.out / str(number),
        )
        run_dir = settings.run_dir
        torch.manual_seed(settings.seed)
        accelerator = build_accelerator(settings)
        split, cache = read_photos(settings, run_dir, settings.eval_side_px)
        count = len(split.class_names) + (task_class is NoneClass)
        model = build_network(settings, count)
        preprocess = build_preprocess(settings, model)
        loaders = build_loaders(
            settings, split, cache, preprocess, accelerator, outside if number else None
        )
        task = task_class(settings, accelerator, count)
        trainer = Trainer(
            settings,
            model,
            task,
            build_phases(settings),
            *loaders,
            accelerator,
            run_dir,
            split.fingerprint,
            lambda record, _: print(json.dumps(record), file=sys.stderr, flush=True),
            lambda: False,
        )
        trainer.fit()
        saved = load_checkpoint(run_dir / "checkpoints" / "last.pt")
        model.load_state_dict(saved["average"] or saved["model"])
        transform = build_eval_transform(preprocess)

        def look(photos, transform=transform, model=model, seed=settings.seed) -> Tensor:
            labels = torch.zeros(len(photos.paths), dtype=torch.int64).numpy()
            return eager_outputs(model, PhotoDataset(photos, labels, transform, seed))[0]

        labels = torch.from_numpy(split.labels(split.val))
        known = look(cache.subset(split.val))
        others = {
            kind: look(decode_photos(Path(outside.root), paths, settings.eval_side_px, None))
            for kind, paths in outside.measure.items()
        }
        classes = len(split.class_names)
        right = known[:, :classes].argmax(1) == labels
        calibration = fit_calibration(known, labels)
        scores = {
            "largest probability": lambda logits, calibration=calibration, classes=classes: (
                calibrate(logits, calibration)[:, :classes].amax(1)
            ),
            "energy": lambda logits, classes=classes: logits[:, :classes].logsumexp(1),
        }
        if task_class is NoneClass:
            scores["margin to none"] = lambda logits, classes=classes: (
                logits[:, :classes].amax(1) - logits[:, classes]
            )
        print(f"{name}: {right.double().mean().item():.1%}")
        for title, score in scores.items():
            found = {kind: score(each) for kind, each in others.items()}
            recalls = (recall_at(score(known), right, found, n) for n in PER_MILLE)
            print(f"  {title:20s} " + "  ".join(f"{each:.3f}" for each in recalls), flush=True)


if __name__ == "__main__":
    main(tyro.cli(LossesConfig))
