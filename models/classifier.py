"""What a model file computes: photos in, probabilities out, all in one scriptable module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.photos import MIN_SIDE_PX
from models.preprocess import Preprocess, resize_images


class PhotoClassifier(nn.Module):
    """What a model file contains: uint8 photos in, probabilities out.

    Args:
        network: (B, 3, S, S) float32 -> (B, K) logits.
        preprocess: Resize, crop and normalisation that the network was trained for.
        class_names: K labels, in the order of the logits.
        temperature: Divides the logits; fitted on validation photos (Guo et al. 2017), 1 before.
    """

    class_names: list[str]

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocess,
        class_names: Sequence[str],
        temperature: float = 1.0,
    ) -> None:
        """Hold the network and the preprocessing as scriptable constants."""
        super().__init__()
        self.network = network
        self.class_names = list(class_names)
        self.resize_px = preprocess.resize_px
        self.crop_px = preprocess.crop_px
        self.pad = preprocess.mode == "pad"
        self.min_side_px = MIN_SIDE_PX
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, images: Tensor) -> Tensor:
        """Probability of each class.

        Args:
            images: (3, H, W) or (B, 3, H, W) uint8 RGB, H and W >= 16.

        Returns:
            (K,) or (B, K) float32; each row sums to 1.
        """
        if images.dtype != torch.uint8:
            raise ValueError("images must be uint8 RGB, values 0 to 255")
        if images.dim() != 3 and images.dim() != 4:
            raise ValueError("images must have the shape (3, H, W) or (B, 3, H, W)")
        single = images.dim() == 3
        if single:
            images = images.unsqueeze(0)
        if images.shape[1] != 3:
            raise ValueError("images must have 3 channels first: (B, 3, H, W), red green blue")
        if images.shape[2] < self.min_side_px or images.shape[3] < self.min_side_px:
            raise ValueError("images must be at least 16 pixels high and wide")
        squares = resize_images(images, self.resize_px, self.crop_px, self.pad)
        squares = ((squares - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits = self.network(squares)
        probabilities = torch.softmax(logits.to(torch.float32) / self.temperature, dim=1)
        return probabilities[0] if single else probabilities
