"""Define what a model file computes: from photos to probabilities, known score and evidence.

What PhotoClassifier calls has to pass both TorchScript and torch.export, so it takes only tensors,
numbers and strings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.model_file.preprocess import Preprocess
from models.model_file.resize import resize_images
from models.photos import MIN_SIDE_PX


@dataclass(frozen=True)
class Calibration:
    """The temperature that logits are divided by before the softmax; fitted on validation photos.

    A photo whose logits have the standard deviation s over the classes gets the temperature
    ``temperature * (s / spread) ** exponent``. With exponent 0 this is the temperature scaling of
    Guo et al. 2017; otherwise it adapts to the photo (Balanya et al. 2024 use the entropy where
    this uses s). The order of the classes never changes.

    Attributes:
        temperature: 1 leaves the logits as they are, above 1 softens.
        spread: The typical s, > 0.
        exponent: 0 gives all photos the same temperature.
    """

    temperature: float = 1.0
    spread: float = 1.0
    exponent: float = 0.0


def temperatures(logits: Tensor, calibration: Calibration) -> Tensor:
    """Return the temperature of each photo: (B, K) logits -> (B, 1)."""
    spreads = logits.std(dim=1, keepdim=True, correction=0).clamp(min=1e-3) / calibration.spread
    return calibration.temperature * spreads**calibration.exponent


@dataclass(frozen=True)
class KnownScore:
    """The open-set score: how sure it is that a photo shows a known landmark at all.

    ``certainty * log-odds + similarity * nearest + weights . direction + bias``, where

    - log-odds is that of the largest calibrated probability,
    - nearest is the cosine between the photo's features and the closest prototype; prototypes are
      computed from the training photos of a class,
    - direction is the photo's features, scaled to length 1.

    The weights are learned from photos of other things (train.exporting.known_score). A linear
    score may rate noise and text highly, although they resemble no photo: the floor catches them.

    Attributes:
        certainty: Weight of the log-odds; the default uses nothing else.
        similarity: Weight of the cosine to the nearest prototype.
        prototypes: (P, C) float32, each of length 1; None leaves the cosine out.
        weights: (C,) float32, weights of the direction; None leaves it out.
        bias: Added last.
        floor: The cosine that all but a few photos of known landmarks reach; -1: no floor.
    """

    certainty: float = 1.0
    similarity: float = 0.0
    prototypes: Tensor | None = None
    weights: Tensor | None = None
    bias: float = 0.0
    floor: float = -1.0


def find_shortfall(nearest: Tensor, floor: float) -> Tensor:
    """Return what a known score loses below the floor: (B,) cosines -> (B,).

    So steep that no other part of the score makes up for it.
    """
    return 200.0 * (floor - nearest).clamp(min=0.0)


def log_odds(probabilities: Tensor) -> Tensor:
    """Return log-odds of the likeliest class against all others: (B, K) -> (B,), at most 14."""
    largest = probabilities.amax(1)
    # Clamped: float32 probabilities reach exactly 1.
    return largest.clamp(min=1e-6).log() - (1 - largest).clamp(min=1e-6).log()


def feature_layout(network: nn.Module, features: object) -> str:
    """Tell how a network's last features are laid out in space.

    Args:
        network: Has forward_head; timm's output_fmt and num_prefix_tokens are used if present.
        features: What its forward_features returned.

    Returns:
        "NCHW" (B, C, h, w), "NHWC" (B, h, w, C), "tokens" (B, N, C) of a square grid after any
        prefix, or "opaque": features have no locations, or the head does not accept a single one.
    """
    if isinstance(features, Tensor) and features.dim() == 4:
        last = str(getattr(network, "output_fmt", "NCHW")).upper().endswith("NHWC")
        place = features[:, :1, :1] if last else features[:, :, :1, :1]
        try:  # some heads flatten all locations into one vector
            network.forward_head(place)
        except (RuntimeError, ValueError):
            return "opaque"
        return "NHWC" if last else "NCHW"
    if isinstance(features, Tensor) and features.dim() == 3:
        patches = features.shape[1] - getattr(network, "num_prefix_tokens", 0)
        return "tokens" if patches > 0 and math.isqrt(patches) ** 2 == patches else "opaque"
    return "opaque"


def pool_features(features: Tensor, layout: str, prefix: int) -> Tensor:
    """Average features over the photo, to (B, C); for layout and prefix see feature_layout."""
    if layout == "NCHW":
        return features.mean((2, 3))
    if layout == "NHWC":
        return features.mean((1, 2))
    return features[:, prefix:].mean(1) if features.dim() == 3 else features.flatten(1)


class PhotoClassifier(nn.Module):
    """The module inside a model file: a network with everything around it.

    Args:
        network: Has forward_features, (B, 3, S, S) float32 -> features, and forward_head,
            features -> (B, K) logits, as timm's networks do.
        preprocess: Resize, crop and normalisation that the network was trained for.
        class_names: K labels, in the order of the logits.
        calibration: How logits become probabilities; None: by a plain softmax.
        known: How known_score is computed; None: from the largest probability.
        layout: Layout of the features, from feature_layout.
        prefix: Number of tokens before those of the grid.
    """

    class_names: list[str]
    mean: Tensor
    std: Tensor
    prototypes: Tensor
    known_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocess,
        class_names: Sequence[str],
        calibration: Calibration | None = None,
        known: KnownScore | None = None,
        layout: str = "NCHW",
        prefix: int = 0,
    ) -> None:
        """Keep the network, and everything else as scriptable constants."""
        super().__init__()
        known, calibration = known or KnownScore(), calibration or Calibration()
        self.network = network
        self.class_names = list(class_names)
        self.resize_px = preprocess.resize_px
        self.crop_px = preprocess.crop_px
        self.pad = preprocess.mode == "pad"
        self.min_side_px = MIN_SIDE_PX
        self.layout, self.prefix = layout, prefix
        # A vision transformer with a class token reads only the first token, whose place a patch
        # can take; other heads expect the prefix before the patches.
        self.keep_prefix = getattr(network, "global_pool", "") != "token"
        # Times 255: preprocess counts in [0, 1], pixels in [0, 255].
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255)
        self.temperature = float(calibration.temperature)
        self.spread = float(calibration.spread)
        self.exponent = float(calibration.exponent)
        self.certainty, self.similarity = float(known.certainty), float(known.similarity)
        self.known_bias, self.floor = float(known.bias), float(known.floor)
        none = torch.zeros(0)  # TorchScript has no optional buffers
        self.register_buffer("prototypes", none if known.prototypes is None else known.prototypes)
        self.register_buffer("known_weights", none if known.weights is None else known.weights)

    def squares(self, images: Tensor) -> Tensor:
        """Make what the network sees: (3, H, W) or (B, 3, H, W) uint8 RGB -> (B, 3, S, S) float32.

        Raises:
            ValueError: If type or shape is wrong, or a side is below 16 px.
        """
        if images.dtype != torch.uint8:
            raise ValueError("images must be uint8 RGB, values 0 to 255")
        if images.dim() != 3 and images.dim() != 4:
            raise ValueError("images must have the shape (3, H, W) or (B, 3, H, W)")
        if images.dim() == 3:
            images = images.unsqueeze(0)
        if images.shape[1] != 3:
            raise ValueError("images must have 3 channels first: (B, 3, H, W), red green blue")
        if images.shape[2] < self.min_side_px or images.shape[3] < self.min_side_px:
            raise ValueError("images must be at least 16 pixels high and wide")
        # Inside the file, so that whoever loads it cannot forget to resize and normalise.
        squares = resize_images(images, self.resize_px, self.crop_px, self.pad)
        return ((squares - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def calibrate(self, logits: Tensor) -> Tensor:
        """Turn (B, K) logits into probabilities; temperatures(), written for TorchScript."""
        spreads = logits.std(dim=1, keepdim=True, correction=0).clamp(min=1e-3) / self.spread
        return torch.softmax(logits / (self.temperature * spreads**self.exponent), dim=1)

    def score(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Return the (B,) known score of features and their calibrated probabilities."""
        scores = self.certainty * log_odds(probabilities) + self.known_bias
        pooled = pool_features(features, self.layout, self.prefix)
        directions = normalize(pooled.to(torch.float32), dim=1)
        if len(self.prototypes) > 0:
            nearest = torch.matmul(directions, self.prototypes.t()).amax(1)
            scores = scores + self.similarity * nearest - find_shortfall(nearest, self.floor)
        if len(self.known_weights) > 0:
            scores = scores + torch.matmul(directions, self.known_weights)
        return scores

    def local_logits(self, features: Tensor) -> Tensor:
        """Apply the head to each location separately: features -> (B, K, h, w).

        For a head that is linear on averaged features this is the class activation map of Zhou et
        al. 2016; for other heads it is the closest equivalent.
        """
        batch = features.shape[0]
        if self.layout == "NCHW":
            high, wide = features.shape[2], features.shape[3]
            # Each location becomes a photo of its own, of 1 x 1 features.
            cells = features.permute(0, 2, 3, 1).reshape(batch * high * wide, -1, 1, 1)
        elif self.layout == "NHWC":
            high, wide = features.shape[1], features.shape[2]
            cells = features.reshape(batch * high * wide, 1, 1, -1)
        elif self.layout == "tokens":
            patches = features[:, self.prefix :]
            high = int(float(patches.shape[1]) ** 0.5 + 0.5)
            wide = high
            cells = patches.reshape(batch * high * wide, 1, -1)
            if self.keep_prefix and self.prefix > 0:
                prefix = features[:, : self.prefix].repeat_interleave(high * wide, dim=0)
                cells = torch.cat([prefix, cells], dim=1)
        else:
            return self.network.forward_head(features)[:, :, None, None]
        logits = self.network.forward_head(cells)
        return logits.reshape(batch, high, wide, -1).permute(0, 3, 1, 2)

    def evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """Map where a class stands out: (B, k) class indices -> (B, k, h, w) float32 >= 0.

        Local logits minus their mean over all classes, so that a location which speaks equally
        for every class counts for none.
        """
        maps = self.local_logits(features).to(torch.float32)
        maps = (maps - maps.mean(1, keepdim=True)).relu()
        places = classes[:, :, None, None].expand(-1, -1, maps.shape[2], maps.shape[3])
        return maps.gather(1, places)

    def forward(self, images: Tensor) -> Tensor:
        """Return the probability of each class.

        Args:
            images: (3, H, W) or (B, 3, H, W) uint8 RGB, H and W >= 16.

        Returns:
            (K,) or (B, K) float32; each row sums to 1.
        """
        logits = self.network.forward_head(self.network.forward_features(self.squares(images)))
        probabilities = self.calibrate(logits.to(torch.float32))
        return probabilities[0] if images.dim() == 3 else probabilities

    def known_score(self, images: Tensor) -> Tensor:
        """Return how surely a photo shows one of the known landmarks at all.

        Args:
            images: As in forward.

        Returns:
            (B,) float32, higher is surer; B is 1 for a single photo. The manifest's
            known_threshold is the value that 95 % of validation photos reach.
        """
        features = self.network.forward_features(self.squares(images))
        logits = self.network.forward_head(features).to(torch.float32)
        return self.score(features, self.calibrate(logits))

    def explain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map which parts of a photo speak for its likeliest classes.

        Args:
            images: As in forward.

        Returns:
            Class activation maps (B, k, h, w) float32 >= 0 over the square that the network saw,
            and their class indices (B, k) int64, the likeliest first; k is min(5, K).
        """
        features = self.network.forward_features(self.squares(images))
        logits = self.network.forward_head(features)
        classes = logits.topk(min(5, logits.shape[1]), dim=1).indices
        return self.evidence(features, classes), classes

    def answer(self, images: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return everything from one pass of the network: what a page or a table needs.

        Args:
            images: As in forward.
            count: Number of maps, k; a file with fewer classes returns one for each.

        Returns:
            (B, K) probabilities, (B, K) logits before any temperature, (B,) known scores,
            (B, k, h, w) maps and their (B, k) classes, as forward, known_score and explain do.
        """
        features = self.network.forward_features(self.squares(images))
        logits = self.network.forward_head(features).to(torch.float32)
        classes = logits.topk(min(count, logits.shape[1]), dim=1).indices
        probabilities = self.calibrate(logits)
        return (
            probabilities,
            logits,
            self.score(features, probabilities),
            self.evidence(features, classes),
            classes,
        )
