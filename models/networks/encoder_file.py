"""The file of a pretrained encoder: what train.autoencoder writes and train.scratch starts from.

Imports torch only to read one, so that a mistyped --init-from is answered at once.
"""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.networks.scratch_cnn import ScratchCNN

ENCODER_FILE = "encoder.pt"
INIT_FILE = "init.pt"
"""The copy of the encoder that a training started from, in its run folder."""
ENCODER_FORMAT = 1
ENCODER_SETTINGS = ("width", "depth", "stem", "norm", "activation")
"""What decides the shapes and the meaning of an encoder's weights."""


class EncoderError(ValueError):
    """An encoder file that cannot start a network; the message names the fix."""


def encoder_path(path: str | os.PathLike) -> Path:
    """Return the encoder file that a run folder, or the path of the file itself, means.

    Raises:
        EncoderError: There is none.
    """
    path = Path(path)
    file = path / ENCODER_FILE if path.is_dir() else path
    if not file.is_file():
        raise EncoderError(f"no encoder at {file}; make one with: python -m train.autoencoder")
    return file


def read_encoder(path: Path) -> dict[str, Any]:
    """Read what train.autoencoder wrote of an encoder, without unpickling code.

    Args:
        path: encoder.pt, or the run folder with it.

    Returns:
        format, settings (ENCODER_SETTINGS), weights (of stem and stages) and pretraining (figures
        and settings of the pretraining, and keys of its photos).

    Raises:
        EncoderError: The file is missing, damaged or something else.
    """
    import torch

    path = encoder_path(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != ENCODER_FORMAT or set(saved["settings"]) != set(ENCODER_SETTINGS):
            raise ValueError("another format")
        return {name: saved[name] for name in ("format", "settings", "weights", "pretraining")}
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError) as error:
        raise EncoderError(
            f"{path} is not an encoder of this project's train.autoencoder; give --init-from its "
            f"run folder or the {ENCODER_FILE} in there"
        ) from error


def load_encoder(path: Path, network: "ScratchCNN", settings: Mapping[str, object]) -> None:
    """Give a network the stem and stages of a pretrained encoder; its head stays.

    Args:
        path: encoder.pt, or the run folder with it.
        network: Changed in place.
        settings: The network's own ENCODER_SETTINGS.

    Raises:
        EncoderError: The file cannot be read, or its encoder is of another network; the message
            names the flags that fit.
    """
    saved = read_encoder(path)
    asked = {name: settings[name] for name in ENCODER_SETTINGS}
    wrong = {name: value for name, value in saved["settings"].items() if value != asked[name]}
    if wrong:
        flags = " ".join(f"--{name} {value}" for name, value in wrong.items())
        have = ", ".join(f"{name} {asked[name]}" for name in wrong)
        raise EncoderError(
            f"the encoder in {path} is of another network than this one ({have}); "
            f"add {flags}, or pretrain one with the settings of this training"
        )
    # The file has no head, and load_state_dict must find every weight: the network keeps its own.
    own = {f"head.{name}": value for name, value in network.head.state_dict().items()}
    try:
        network.load_state_dict(saved["weights"] | own)
    except RuntimeError as error:
        raise EncoderError(
            f"the encoder in {path} is of another version of this project; pretrain it again with "
            "python -m train.autoencoder"
        ) from error
