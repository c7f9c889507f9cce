"""Read the right values from TIFFs that Pillow reads wrongly, or name what they are."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, TiffImageFile

from models.photos.file_kind import describe_tiff

BITS, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 258, 262, 277, 284, 339
UNSIGNED, SIGNED = 1, 2
TOGETHER, SEPARATE = 1, 2
WHITE_IS_ZERO, YCBCR = 0, 6

# Big-endian twins of kinds that Pillow knows in little-endian order only; the key is byte order,
# photometric, sample format, fill order, bits and extra samples.
# Of 12 bits, which lie in the same order in both, also those with white as zero.
for order, photometric in ((MM, 0), (MM, 1), (II, 0)):
    OPEN_INFO[order, photometric, (1,), 1, (12,), ()] = ("I;16", "I;12")
OPEN_INFO[MM, 0, (1,), 1, (16,), ()] = ("I;16B", "I;16B")
OPEN_INFO[MM, 1, (1,), 1, (32,), ()] = ("I", "I;32B")
# libtiff returns native byte order, which Pillow knows of these under another name.
NATIVE = {
    "I;32BS": "I;32NS",
    "I;32S": "I;32NS",
    "I;32B": "I;32N",
    "F;32BF": "F;32NF",
    "F;32F": "F;32NF",
}


def mend_tiff(image: TiffImageFile) -> str | None:
    """Make Pillow decode a TIFF's values rightly.

    Args:
        image: Opened; where it is decoded already, nothing changes.

    Returns:
        What the photo is, such as "a 16-bit signed grey TIFF", where its pixels would be wrong all
        the same; None where they will be right.
    """
    if image.tile and image.tag_v2.get(SAMPLES, 1) == 1 and PLANAR in image.tag_v2:
        # One channel has one plane, but Pillow would then drop its bits, order and white.
        image.tag_v2[PLANAR] = TOGETHER
        image._setup()
    tags, is_raw = image.tag_v2, image.info.get("compression") == "raw"
    bits, is_planar = max(tags.get(BITS, (1,))), tags.get(PLANAR) == SEPARATE
    is_signed = max(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) == SIGNED
    is_wrong = (
        image.mode == "LAB"
        or (is_signed and bits < 32)
        or (is_raw and tags.get(PHOTOMETRIC) == YCBCR and len(image.getbands()) == 3)
        or (is_planar and image.mode in ("LA", "PA"))
    )
    tiles = []
    for tile in image.tile:
        (mode, *rest) = tile.args
        if tile.codec_name == "libtiff":
            mode = NATIVE.get(mode, mode)
        elif is_planar:
            # No decoder for premultiplied alpha or unused bands in planes, nor for 16-bit CMYK.
            is_wrong |= mode not in tuple("RGBA" if bits == 16 else "RGBACMYK")
            # Else the 16 bits of each value would pass for two values of 8.
            mode += f";16{'L' if tags.prefix == II else 'B'}" if bits == 16 else ""
        tiles.append(tile._replace(args=(mode, *rest)))
    if is_wrong:
        return describe_tiff(tags)
    image.tile = tiles
    return None


def find_grey_levels(image: Image.Image) -> Callable[[np.ndarray], np.ndarray]:
    """Return what scales values of a decoded image to levels, uint8.

    Args:
        image: Of mode F or of one that begins with I.

    Raises:
        ValueError: Its signed 32-bit values are beyond 16 bits, so that their white is unknown.
    """
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if image.mode == "F":
        scale = 255 / _peak(image)

        def levels(values: np.ndarray) -> np.ndarray:
            return (np.nan_to_num(values).clip(0, None) * scale + 0.5).astype(np.uint8)

    elif image.mode == "I" and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED and tags:

        def levels(values: np.ndarray) -> np.ndarray:
            return (values.view(np.uint32) >> 24).astype(np.uint8)

    else:
        # Pillow writes 16 bits so; anything wider could mean any white.
        low, high = image.getextrema() if tags and image.mode == "I" else (0, 0)
        if low < 0 or high >= 2**16:
            raise ValueError("values beyond 16 bits")
        shift = max(tags.get(BITS, (16,))) - 8 if image.mode != "I" else 8

        def levels(values: np.ndarray) -> np.ndarray:
            return (values.clip(0, 65535) >> shift).astype(np.uint8)

    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return lambda values: 255 - levels(values)
    return levels


def _peak(image: Image.Image) -> float:
    """Return the largest value of a float image, at least 1: the value that becomes white."""
    rows = (np.asarray(image.crop((0, y, image.width, y + 1))) for y in range(image.height))
    return max(1.0, max(float(np.nan_to_num(row).max()) for row in rows))
