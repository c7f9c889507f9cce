"""Write the programs of a model file again with today's code, and give it a twin if it has none.

python benchmarks/renew_file.py FILE; for files whose run folder is gone, else train.export is the
way, for its gate compares the answers on the validation photos. Here they are compared on noise of
several sizes. The manifest stays, weights are rounded to 16 bits, the digest is another.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import tyro
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.files import atomic
from models.model_file.torchscript import add_twin, load_module, read_parts, save_model
from models.networks.encoder_file import ENCODER_SETTINGS
from models.networks.pretrained import ALIASES
from models.networks.scratch_cnn import ScratchCNN
from models.predictor import Predictor

SHAPES = [(300, 400), (400, 300), (1000, 777), (17, 400), (16, 16)]
MAX_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class RenewConfig:
    """Write the programs of a model file again."""

    model: tyro.conf.Positional[Path]
    """The model file."""


def build_network(config: dict[str, Any], class_count: int) -> nn.Module:
    """Build the network that a manifest's config describes, with random weights."""
    if "backbone" not in config:
        return ScratchCNN(class_count, **{name: config[name] for name in ENCODER_SETTINGS})
    name = ALIASES.get(config["backbone"], config["backbone"])
    return timm.create_model(name, num_classes=class_count, scriptable=True)


def renew(path: Path, new: Path) -> None:
    """Write the model in one file as another file."""
    module, text = load_module(path)
    manifest = json.loads(text)
    network = build_network(manifest["config"], len(manifest["class_names"]))
    network.load_state_dict(module.network.state_dict())
    preprocess, class_names, *learned = read_parts(module, manifest)
    save_model(new, network, preprocess, class_names, manifest, *learned)
    add_twin(new, network)


def largest_difference(ours: Predictor, theirs: Predictor) -> float:
    """Return by how much the probabilities of two models differ on noise."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (3, *shape), dtype=np.uint8) for shape in SHAPES]
    return max(
        float(np.abs(ours.probabilities(each) - theirs.probabilities(each)).max())
        for each in images
    )


def main(config: RenewConfig) -> int:
    """Renew and compare; return the exit status."""
    before = Predictor.load(config.model, use_twin=False)
    with tempfile.TemporaryDirectory() as folder, atomic(config.model) as partial:
        new = Path(folder) / "model.pt"
        renew(config.model, new)
        twin, plain = Predictor.load(new), Predictor.load(new, use_twin=False)
        difference = largest_difference(twin, plain)
        if not difference <= MAX_DIFFERENCE:
            raise ValueError(f"the twin is off by {difference:.1e}; the file stays as it was")
        partial.write_bytes(new.read_bytes())
    print(f"{config.model}: twin within {difference:.1e} of torch")
    print(f"probabilities within {largest_difference(twin, before):.1e} of the file before")
    print(f"{before.digest[:12]} is now {twin.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(RenewConfig)))
