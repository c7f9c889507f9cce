"""Turn a photo of any size into the square that a network sees, inside the model file."""

import torch
from torch import Tensor


def resize_rows(
    images: Tensor, reference: Tensor, resize_px: int, crop_px: int, block: int, span: int
) -> Tensor:
    """Resize the vertical axis with antialiasing and take the centre.

    Shrinking averages the area that an output pixel covers. Training evaluates with OpenCV's
    INTER_AREA, which does the same, so both see the same pixels. Enlarging is bilinear. As
    products of fixed output size it scripts and exports for every input size;
    torch.nn.functional.interpolate does not (its guards split portrait from landscape).

    Args:
        images: (B, C, H, W), any numeric type.
        reference: () float32, the length that becomes resize_px (the short or the long side).
        resize_px: Length of the reference side after the resize.
        crop_px: Rows in the output.
        block: How many rows are made at a time.
        span: Rows of the photo that such a block may cover, and a few more.

    Returns:
        (B, C, crop_px, W) float32, 0 where the output lies outside the photo.
    """
    batch, channels, side, width = images.shape
    device = images.device
    length = torch.full((), side, dtype=torch.float32, device=device)
    resized = torch.floor(length * resize_px / reference + 0.5).clamp(min=1.0)
    scale = length / resized
    # trunc rounds towards zero: a crop starts at floor(excess / 2), a border is floor(missing / 2)
    # pixels wide.
    offset = torch.trunc((resized - crop_px) / 2)
    blocks = (crop_px + block - 1) // block
    positions = torch.arange(blocks * block, dtype=torch.float32, device=device) + offset
    position = positions.reshape(blocks, block, 1)
    first = (torch.floor(position[:, :1] * scale) - 1).clamp(min=0.0)
    pixel = first + torch.arange(span, dtype=torch.float32, device=device)
    covered = torch.minimum(pixel + 1, (position + 1) * scale) - torch.maximum(
        pixel, position * scale
    )
    # Clamped to the photo: at its edge, bilinear interpolation repeats the last pixel.
    centre = ((position + 0.5) * scale - 0.5).clamp(min=0.0).minimum(length - 1)
    weights = torch.where(scale > 1, covered, 1.0 - (pixel - centre).abs()).clamp(min=0.0)
    weights = weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6)
    inside = (position >= 0) & (position < resized)
    weights = weights * inside.to(torch.float32)
    # Pixels beyond the photo have the weight 0, whichever stands in for them.
    index = pixel.minimum(length - 1).to(torch.int64).reshape(-1)
    rows = images.index_select(2, index).to(torch.float32)
    rows = torch.matmul(weights, rows.reshape(batch, channels, blocks, span, width))
    return rows.reshape(batch, channels, blocks * block, width)[:, :, :crop_px]


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
    # An output pixel needs two or three rows of the photo. So rows are made a few at a time, from
    # the part of the photo that these cover: one matrix for all would be zero nearly everywhere.
    # From 576 x 432 to 256 x 256, onnxruntime takes 1.5 ms on one core instead of 6.
    #
    # An output pixel covers at most 2 * short side / (2 * resize_px - 1) pixels; the long side is
    # rounded. Choosing the short side would split portrait from landscape; the harmonic mean of
    # both sides is at least as large, and does not.
    block = crop_px if pad else 16
    span = 4 * block * height * width // ((height + width) * (2 * resize_px - 1)) + 4
    high, wide = (height, width) if pad else (span, span)
    down = resize_rows(images, reference, resize_px, crop_px, block, high).transpose(2, 3)
    return resize_rows(down, reference, resize_px, crop_px, block, wide).transpose(2, 3).round()
