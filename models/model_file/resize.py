"""Turn a photo of any size into the square that a network sees, inside the model file."""

import torch
from torch import Tensor


def resize_weights(side: int, reference: Tensor, resize_px: int, crop_px: int) -> Tensor:
    """Return the matrix that resizes one axis with antialiasing and takes the centre.

    Shrinking averages the area that an output pixel covers. Training evaluates with OpenCV's
    INTER_AREA, which does the same, so both see the same pixels. Enlarging is bilinear. As a
    product of fixed output size it scripts and exports for every input size;
    torch.nn.functional.interpolate does not (its guards split portrait from landscape).

    Args:
        side: Length of the axis in pixels.
        reference: () float32, the length that becomes resize_px (the short or the long side).
        resize_px: Length of the reference side after the resize.
        crop_px: Length of the axis in the output.

    Returns:
        (crop_px, side) float32. Rows sum to 1, or are 0 where the output lies outside the photo.
    """
    device = reference.device
    length = torch.full((), side, dtype=torch.float32, device=device)
    resized = torch.floor(length * resize_px / reference + 0.5).clamp(min=1.0)
    scale = length / resized
    # trunc rounds towards zero: a crop starts at floor(excess / 2), a border is floor(missing / 2)
    # pixels wide.
    offset = torch.trunc((resized - crop_px) / 2)
    position = (torch.arange(crop_px, dtype=torch.float32, device=device) + offset)[:, None]
    pixel = torch.arange(side, dtype=torch.float32, device=device)[None, :]
    covered = torch.minimum(pixel + 1, (position + 1) * scale) - torch.maximum(
        pixel, position * scale
    )
    # Clamped to the photo: at its edge, bilinear interpolation repeats the last pixel.
    centre = ((position + 0.5) * scale - 0.5).clamp(min=0.0).minimum(length - 1)
    weights = torch.where(scale > 1, covered, 1.0 - (pixel - centre).abs()).clamp(min=0.0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
    inside = (position >= 0) & (position < resized)
    return weights * inside.to(torch.float32)


def resize_images(images: Tensor, resize_px: int, crop_px: int, pad: bool) -> Tensor:
    """Resize and crop (or pad) a batch of photos of one size, as Preprocess says.

    Args:
        images: (B, 3, H, W), any numeric type.
        resize_px: As in Preprocess.
        crop_px: As in Preprocess.
        pad: True for mode "pad".

    Returns:
        (B, 3, crop_px, crop_px) float32, rounded to integers as after an 8-bit resize.
    """
    height, width = images.shape[-2], images.shape[-1]
    rows = torch.full((), height, dtype=torch.float32, device=images.device)
    columns = torch.full((), width, dtype=torch.float32, device=images.device)
    reference = torch.maximum(rows, columns) if pad else torch.minimum(rows, columns)
    across = resize_weights(width, reference, resize_px, crop_px)
    down = resize_weights(height, reference, resize_px, crop_px)
    return torch.matmul(down, torch.matmul(images.to(torch.float32), across.t())).round()
