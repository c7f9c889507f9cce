"""Trained networks whose averaged answers a training learns: distillation (Hinton et al. 2015).

A student of several networks answers nearly as well as their average, in the time of one of them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.model_file.preprocess import Preprocess
from train.config import config_from_dict
from train.data.split import Split
from train.engine.checkpoints import load_checkpoint
from train.engine.recipe import build_preprocess, build_trained
from train.engine.run_folder import find_checkpoint


class Teachers(nn.Module):
    """Answer with the mean probabilities of several trained networks, in evaluation mode."""

    def __init__(self, runs: Sequence[Path], split: Split, preprocess: Preprocess) -> None:
        """Load the best checkpoint of each run.

        Args:
            runs: Run folders of train.transfer or train.scratch.
            split: The student's. A teacher that trained on the student's validation photos would
                make its figures too good, so all must have been trained on this very split.
            preprocess: The student's; its mean and std normalise what forward gets.

        Raises:
            DataError: Not a run folder, or nothing trained in it yet.
            ValueError: A run has other classes or another split.
        """
        super().__init__()
        self.networks = nn.ModuleList()
        self.scales, self.shifts = [], []
        for run in runs:
            best = find_checkpoint(run)
            theirs = Split.load(run / "split.json")
            if (theirs.fingerprint, theirs.class_names) != (split.fingerprint, split.class_names):
                raise ValueError(
                    f"--teacher {run} was trained on other photos or another split; train it with "
                    "the same --data, --val-fraction, --split-seed and --limit"
                )
            config = config_from_dict(json.loads((run / "config.json").read_text("utf-8")))
            weights = load_checkpoint(best)["model"]
            network = build_trained(config, len(split.class_names), weights)
            own = build_preprocess(config, network)
            self.networks.append(network.requires_grad_(False))
            # From the student's normalisation to the teacher's, per channel.
            ours, theirs_std = torch.tensor(preprocess.std), torch.tensor(own.std)
            gap = torch.tensor(preprocess.mean) - torch.tensor(own.mean)
            self.scales.append((ours / theirs_std)[:, None, None])
            self.shifts.append((gap / theirs_std)[:, None, None])
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the mean probabilities.

        Args:
            images: (B, 3, S, S) float32, normalised for the student.

        Returns:
            (B, K) float32.
        """
        answers = []
        for network, scale, shift in zip(self.networks, self.scales, self.shifts, strict=True):
            theirs = images * scale.to(images.device) + shift.to(images.device)
            answers.append(network(theirs).float().softmax(1))
        return torch.stack(answers).mean(0)
