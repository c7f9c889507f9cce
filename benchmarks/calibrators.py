"""Compare calibrations on held-out photos: python benchmarks/calibrators.py RUN [RUN ...].

Five times five-fold cross-validation on the validation photos of a run folder: negative
log-likelihood (nats) and expected calibration error (15 bins) of no calibration, one temperature
(Guo et al. 2017), a weight and a bias per class (vector scaling, the same), a temperature mixed
with a uniform answer (after Zhang et al. 2020), and a temperature that adapts to each photo.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from sklearn.model_selection import KFold
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from train.config import config_from_dict
from train.data.batches import PhotoDataset
from train.data.photo_cache import decode_photos
from train.data.split import Split
from train.data.transforms import build_eval_transform
from train.engine.checkpoints import load_checkpoint
from train.engine.recipe import build_preprocess, build_trained
from train.evaluation.metrics import expected_calibration_error
from train.exporting.confidence import calibrate, eager_outputs, fit_calibration

REPEATS, FOLDS = 5, 5
SHARES = np.linspace(0, 0.05, 26)


def validation_logits(run: Path) -> tuple[Tensor, Tensor]:
    """Return (N, K) float32 logits of the run's validation photos, and their labels."""
    config = config_from_dict(json.loads((run / "config.json").read_text(encoding="utf-8")))
    split = Split.load(run / "split.json")
    weights = load_checkpoint(run / "checkpoints" / "best.pt")["model"]
    model = build_trained(config, len(split.class_names), weights)
    preprocess = build_preprocess(config, model)
    cache = decode_photos(Path(split.root), split.val, preprocess.resize_px, config.cache_dir)
    labels = split.labels(split.val)
    dataset = PhotoDataset(cache, labels, build_eval_transform(preprocess), config.seed)
    return eager_outputs(model, dataset)[0], torch.from_numpy(labels)


def temperature(logits: Tensor, labels: Tensor, held_out: Tensor) -> Tensor:
    """Use one temperature for all photos."""
    return calibrate(held_out, fit_calibration(logits, labels, adaptive=False))


def adaptive(logits: Tensor, labels: Tensor, held_out: Tensor) -> Tensor:
    """Use a temperature that adapts to each photo, as train.export does."""
    return calibrate(held_out, fit_calibration(logits, labels))


def with_uniform(logits: Tensor, labels: Tensor, held_out: Tensor) -> Tensor:
    """Use one temperature, then mix with 1 / K."""
    found = fit_calibration(logits, labels, adaptive=False)
    truth = calibrate(logits, found).gather(1, labels[:, None]).double().numpy()
    flat = 1 / logits.shape[1]
    losses = [-np.log((1 - share) * truth + share * flat).mean() for share in SHARES]
    share = float(SHARES[int(np.argmin(losses))])
    return (1 - share) * calibrate(held_out, found) + share * flat


def per_class(logits: Tensor, labels: Tensor, held_out: Tensor) -> Tensor:
    """Use a weight and a bias per class (vector scaling)."""
    count = logits.shape[1]
    own = torch.ones(count, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS([own, bias], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits * own + bias, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return (held_out * own + bias).softmax(1).detach()


METHODS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "none": lambda logits, labels, held_out: held_out.softmax(1),
    "temperature": temperature,
    "weight and bias per class": per_class,
    "temperature and uniform": with_uniform,
    "adaptive temperature": adaptive,
}


def main(runs: Annotated[list[Path], tyro.conf.Positional]) -> None:
    """Compare on each run, and print."""
    for run in runs:
        logits, labels = validation_logits(run)
        print(f"{run.name}: {len(labels)} photos, {REPEATS} x {FOLDS} folds, seeds 0 to 4")
        for name, method in METHODS.items():
            figures = []
            for seed in range(REPEATS):
                answers = torch.zeros_like(logits)
                for fit, held_out in KFold(FOLDS, shuffle=True, random_state=seed).split(logits):
                    answers[held_out] = method(logits[fit], labels[fit], logits[held_out])
                loss = torch.nn.functional.nll_loss(answers.clamp(min=1e-12).log(), labels).item()
                figures.append((loss, expected_calibration_error(answers, labels)))
            loss, error = np.mean(figures, axis=0)
            print(f"  {name:26s} {loss:.3f} nats, ECE {error:.1%}")


if __name__ == "__main__":
    tyro.cli(main)
