"""Probabilities that mean what they say: the temperature of a trained network."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.model_file.classifier import Calibration, temperatures


def fit_calibration(logits: Tensor, labels: Tensor, adaptive: bool = True) -> Calibration:
    """The temperature under which held-out photos are least surprising (Guo et al. 2017).

    It minimises the summed negative log-likelihood plus half the squares of the two parameters,
    log(T) and the exponent: a prior that weighs little against hundreds of photos, and keeps a
    handful from making the network certain.

    Args:
        logits: (B, K) float32 of photos that taught the network nothing.
        labels: (B,) int64 in [0, K).
        adaptive: Let the temperature depend on how far the logits of a photo spread (in the
            manner of Balanya et al. 2024); else one temperature for all.

    Raises:
        ValueError: If B is 0.
    """
    from scipy.optimize import minimize

    if len(labels) == 0:
        raise ValueError("a temperature needs at least one photo")
    logits = logits.double()
    spread = max(1e-3, logits.std(1, correction=0).mean().item())

    def calibration(parameters: np.ndarray) -> Calibration:
        exponent = float(parameters[1]) if adaptive else 0.0
        return Calibration(math.exp(parameters[0]), spread, exponent)

    def surprise(parameters: np.ndarray) -> float:
        scaled = logits / temperatures(logits, calibration(parameters))
        loss = cross_entropy(scaled, labels, reduction="sum")
        return loss.item() + float((parameters**2).sum()) / 2

    return calibration(minimize(surprise, np.zeros(2), method="Nelder-Mead").x)


def calibrate(logits: Tensor, calibration: Calibration) -> Tensor:
    """(B, K) logits -> (B, K) float32 probabilities."""
    return torch.softmax(logits / temperatures(logits, calibration), dim=1).float()
