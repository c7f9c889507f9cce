"""TIFFs that Pillow reads wrongly or not at all: the right pixels, or what they are."""

import itertools

import numpy as np
import pytest

from models.photos import PhotoError, read_photo
from tests.support.tiff_photos import CMYK, GREY, GREY_INVERTED, RGB, tiff

LEVELS = np.random.default_rng(0).integers(0, 256, (40, 48, 4)).astype(np.uint8)
REVERSED = "32-bit grey TIFF with reversed bits"
WAYS = list(itertools.product("<>", (False, True), (False, True), (None, 16)))


def stretched(levels: np.ndarray, kind: str) -> np.ndarray:
    """Levels of 255 over the full range of another type."""
    if kind.startswith("f"):
        return (levels / 255).astype(kind)
    return levels.astype(kind) * np.array(np.iinfo(kind).max // 255, kind)


@pytest.mark.parametrize(
    ("photometric", "channels", "extra", "kind"),
    [(GREY, 1, (), kind) for kind in ("u1", "u2", "u4", "f4")]
    + [(GREY_INVERTED, 1, (), kind) for kind in ("u1", "u2", "f4")]
    + [(RGB, 3, (), kind) for kind in ("u1", "u2")]
    + [(RGB, 4, extra, kind) for kind in ("u1", "u2") for extra in ((1,), (2,), (0,))]
    + [(GREY, 2, (2,), "u1"), (CMYK, 4, (), "u1"), (CMYK, 4, (), "u2")],
)
def test_values_are_right_or_refused(
    photometric: int, channels: int, extra: tuple[int, ...], kind: str
) -> None:
    """In both byte orders, planar or not, packed or not, in one strip or several."""
    levels = LEVELS[..., :channels].copy()
    expected = levels[..., :3] if channels >= 3 else levels[..., :1].repeat(3, axis=2)
    if extra in ((1,), (2,)):
        levels[..., -1] = 255
    if photometric == CMYK:
        levels[..., 3] = 0
    if photometric in (CMYK, GREY_INVERTED):
        expected = 255 - expected
    for order, planar, packed, rows in WAYS:
        data = tiff(stretched(levels, kind), order, photometric, planar, packed, extra, rows)
        try:
            image = read_photo(data)
        except PhotoError as error:
            # Only what Pillow has no decoder for: alpha, unused bands and 16-bit CMYK in planes.
            assert planar
            assert channels in (2, 4)
            assert (photometric, extra) != (RGB, (2,))
            assert "not supported; save it as" in str(error)
        else:
            assert np.abs(image.astype(int) - expected).max() <= 1, (order, planar, packed, rows)
            small = read_photo(data, 10)
            assert np.abs(small.mean((0, 1)) - expected.mean((0, 1))).max() < 5


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [GREY, GREY_INVERTED])
@pytest.mark.parametrize("deflated", [False, True])
def test_twelve_bits_are_scaled(order: str, photometric: int, deflated: bool) -> None:
    """Packed by hand: two values in three bytes."""
    values = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (32, 1))
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    rows = packed.astype(np.uint8).reshape(32, 96, 1)
    image = read_photo(tiff(rows, order, photometric, packed=deflated, tags={256: 64, 258: 12}))
    grey = values >> 4
    assert np.array_equal(image[..., 0], grey if photometric == GREY else 255 - grey)


@pytest.mark.parametrize(
    ("values", "options", "name"),
    [
        (LEVELS[..., :3].astype("f4"), {}, "32-bit float RGB TIFF"),
        (LEVELS[..., :1].astype("f2"), {"photometric": GREY}, "16-bit float grey TIFF"),
        (LEVELS[..., :1].astype("f8"), {"photometric": GREY}, "64-bit float grey TIFF"),
        (LEVELS[..., :3].astype("u4"), {}, "32-bit RGB TIFF"),
        (LEVELS[..., :1].astype("u4"), {"photometric": GREY_INVERTED}, "32-bit inverted grey TIFF"),
        (
            LEVELS[..., :2].astype("u2"),
            {"photometric": GREY, "extra": (2,)},
            "16-bit grey and alpha",
        ),
        (LEVELS[..., :1].astype("i2"), {"photometric": GREY}, "16-bit signed grey TIFF"),
        (LEVELS[..., :1].astype("i1"), {"photometric": GREY}, "8-bit signed grey TIFF"),
        (LEVELS[..., :1].astype("i4") * 2**20, {"photometric": GREY}, "32-bit signed grey TIFF"),
        (LEVELS[..., :3], {"photometric": 8}, "8-bit Lab TIFF"),
        (LEVELS[..., :3], {"photometric": 6}, "8-bit YCbCr TIFF"),
        (LEVELS[..., :3], {"tags": {259: 50001}}, "TIFF with WebP compression"),
        (LEVELS[..., :3], {"tags": {259: 34712}}, "TIFF with JPEG 2000 compression"),
        (LEVELS[..., :1].astype("u4"), {"photometric": GREY, "tags": {266: 2}}, REVERSED),
    ],
)
def test_other_kinds_say_what_they_are(values: np.ndarray, options: dict, name: str) -> None:
    for order in "<>":
        with pytest.raises(PhotoError, match=f"is an? {name}.* not supported; save it as JPEG"):
            read_photo(tiff(values, order, **options))
