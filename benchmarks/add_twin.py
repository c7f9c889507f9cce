"""Add the ONNX twin to a model file that was exported without one.

python benchmarks/add_twin.py FILE; for files whose run folder is gone, else python -m train.export
is the way, for its gate compares the answers on the validation photos. Here they are compared on
noise of several sizes. All other parts of the file stay bit for bit; its digest is another one.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import tyro
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.files import atomic, file_digest
from models.model_file.torchscript import add_twin
from models.networks.encoder_file import ENCODER_SETTINGS
from models.networks.pretrained import ALIASES
from models.networks.scratch_cnn import ScratchCNN
from models.predictor import Predictor

SHAPES = [(300, 400), (400, 300), (1000, 777), (17, 400), (16, 16)]
MAX_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class TwinConfig:
    """Add the ONNX twin to a model file."""

    model: tyro.conf.Positional[Path]
    """The model file."""


def build_network(config: dict[str, Any], class_count: int) -> nn.Module:
    """Build the network that a manifest's config describes, with random weights."""
    if "backbone" not in config:
        return ScratchCNN(class_count, **{name: config[name] for name in ENCODER_SETTINGS})
    name = ALIASES.get(config["backbone"], config["backbone"])
    return timm.create_model(name, num_classes=class_count, scriptable=True)


def largest_difference(path: Path) -> float:
    """Return by how much the probabilities of a file's two engines differ on noise."""
    twin, plain = Predictor.load(path), Predictor.load(path, use_twin=False)
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (3, *shape), dtype=np.uint8) for shape in SHAPES]
    return max(
        float(np.abs(twin.probabilities(each) - plain.probabilities(each)).max()) for each in images
    )


def main(config: TwinConfig) -> int:
    """Add and compare; return the exit status."""
    predictor = Predictor.load(config.model, use_twin=False)
    network = build_network(predictor.manifest["config"], len(predictor.class_names))
    with atomic(config.model) as partial:
        shutil.copyfile(config.model, partial)
        add_twin(partial, network)
        difference = largest_difference(partial)
        if not difference <= MAX_DIFFERENCE:
            raise ValueError(f"the twin is off by {difference:.1e}; the file stays as it was")
    print(f"{config.model}: twin added, probabilities within {difference:.1e}")
    print(f"{predictor.digest[:12]} is now {file_digest(config.model)[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(TwinConfig)))
