"""The photo reader: formats, orientations, limits, and messages for people."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.photos import FORMATS, MIN_SIDE_PX, PhotoError, read_photo
from models.photos.decoding import decode_bytes
from tests.support.bad_photos import BAD_PHOTOS, JPEG, draw, encode, png_header


def quarters(image: np.ndarray) -> list[str]:
    """Names of the colours top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    names = []
    for y, x in [(1, 1), (1, 3), (3, 1), (3, 3)]:
        bright = tuple(bool(value > 150) for value in image[y * height // 4, x * width // 4])
        names.append(NAMES.get(bright, "?"))
    return names


NAMES = {
    (True, False, False): "red",
    (False, True, False): "green",
    (False, False, True): "blue",
    (True, True, True): "white",
}
UPRIGHT = ["red", "green", "blue", "white"]
COLOUR_FILES = {
    "jpeg": encode(draw(), "JPEG"),
    "progressive": encode(draw(), "JPEG", progressive=True),
    "cmyk": encode(draw().convert("CMYK"), "JPEG"),
    "mpo": encode(draw(), "MPO", save_all=True, append_images=[draw().rotate(180)]),
    "png": encode(draw(), "PNG"),
    "palette": encode(draw().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "rgba": encode(draw().convert("RGBA"), "PNG"),
    "webp": encode(draw(), "WEBP"),
    "webp animated": encode(
        draw(), "WEBP", save_all=True, append_images=[draw().rotate(180)], lossless=True
    ),
    "gif": encode(draw(), "GIF"),
    "gif animated": encode(draw(), "GIF", save_all=True, append_images=[draw().rotate(180)]),
    "bmp": encode(draw(), "BMP"),
    "tiff": encode(draw(), "TIFF"),
    "tiff lzw": encode(draw(), "TIFF", compression="tiff_lzw"),
    "tiff cmyk": encode(draw().convert("CMYK"), "TIFF"),
    "heic": encode(draw(), "HEIF", quality=95),
    "avif": encode(draw(), "AVIF", quality=95),
}


@pytest.mark.parametrize("name", COLOUR_FILES)
def test_formats_in_colour(name: str, tmp_path: Path) -> None:
    image = read_photo(COLOUR_FILES[name])
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert quarters(image) == UPRIGHT
    path = tmp_path / "photo"
    path.write_bytes(COLOUR_FILES[name])
    assert np.array_equal(read_photo(path), image)


def test_lossless_formats_are_exact() -> None:
    expected = np.asarray(draw())
    for format in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(read_photo(encode(draw(), format)), expected)
    assert np.array_equal(read_photo(draw()), expected)


def test_grey_becomes_three_equal_channels() -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    for mode in ("L", "LA"):
        image = read_photo(encode(Image.fromarray(ramp).convert(mode), "PNG"))
        assert np.array_equal(image, np.repeat(ramp[..., None], 3, axis=2))
    black_and_white = Image.fromarray(ramp > 127)
    assert set(np.unique(read_photo(encode(black_and_white, "PNG")))) == {0, 255}
    assert read_photo(encode(Image.fromarray(ramp), "JPEG")).shape == (32, 64, 3)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format: str) -> None:
    ramp = np.tile(np.linspace(0, 40000, 64).astype(np.uint16), (32, 1))
    image = read_photo(encode(Image.fromarray(ramp), format))
    expected = np.round(ramp / 257)
    assert np.abs(image[..., 0] - expected).max() <= 1


def test_float_tiff_is_scaled() -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (32, 1))
    ramp[1, 0], ramp[2, 0] = np.nan, -5
    image = read_photo(encode(Image.fromarray(ramp), "TIFF"))
    assert (image[:3, 0] == 0).all()
    assert image[0, 63, 0] == 255
    assert abs(int(image[0, 32, 0]) - 129) <= 1


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    assert (read_photo(encode(clear, "PNG")) == 255).all()
    assert (read_photo(encode(clear, "WEBP", lossless=True)) == 255).all()
    assert abs(int(read_photo(encode(half, "PNG"))[0, 0, 0]) - 127) <= 1
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([200, 0, 0, 0, 200, 0])
    assert (read_photo(encode(palette, "PNG", transparency=0)) == 255).all()
    keyed = Image.new("RGB", (32, 32), (9, 8, 7))
    assert (read_photo(encode(keyed, "PNG", transparency=(9, 8, 7))) == 255).all()


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What a camera held that way stores, for the tag to undo (EXIF 2.3, tag 274).
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.rotate(180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.rotate(90, expand=True),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.rotate(-90, expand=True),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_all_orientations_come_out_upright(orientation: int, format: str) -> None:
    stored = STORED[orientation](draw((640, 480)))
    exif = exif_with(orientation)
    data = encode(stored, format, exif=exif.tobytes() if format == "HEIF" else exif)
    # Here also for AVIF, of which read_photo would start a process.
    image = decode_bytes(data, "a photo", None, FORMATS)
    assert image.shape == (480, 640, 3)
    assert quarters(image) == UPRIGHT
    reduced = decode_bytes(data, "a photo", 100, FORMATS)
    assert quarters(reduced) == UPRIGHT
    assert reduced.shape == ((120, 160, 3) if format == "JPEG" else (100, 133, 3))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_nonsense_orientation_is_ignored(value: int) -> None:
    assert quarters(read_photo(encode(draw(), "JPEG", exif=exif_with(value)))) == UPRIGHT


def test_broken_exif_does_not_spoil_the_photo() -> None:
    data = encode(draw(), "JPEG", exif=b"Exif\x00\x00" + b"II*\x00\xff\xff\xff\xff" + b"\xff" * 40)
    assert quarters(read_photo(data)) == UPRIGHT


@pytest.mark.parametrize(
    ("side_px", "short"),
    [(None, 800), (800, 800), (500, 800), (400, 400), (150, 200), (60, 100), (50, 50)],
)
def test_reduction_never_goes_below_the_side_asked_for(side_px: int | None, short: int) -> None:
    image = read_photo(encode(draw((1200, 800)), "JPEG"), side_px)
    assert image.shape == (short, short * 3 // 2, 3)


def test_reduced_decode_shows_the_same_picture() -> None:
    data = encode(draw((1600, 1200)), "JPEG", quality=95)
    full = Image.fromarray(read_photo(data)).reduce(8)
    assert np.abs(np.asarray(full, float) - read_photo(data, 150)).mean() < 2


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_content_is_explained(name: str, tmp_path: Path) -> None:
    data, message = BAD_PHOTOS[name]
    with pytest.raises(PhotoError, match=message):
        read_photo(data)
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    with pytest.raises(PhotoError, match=f"^holiday.jpg .*({message})") as caught:
        read_photo(path)
    assert str(tmp_path) not in str(caught.value)


def test_over_fifty_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(50 * 1000**2 + 1)
    monkeypatch.setattr(Path, "read_bytes", None)  # must not be read at all
    with pytest.raises(PhotoError, match=r"huge\.jpg is over 50 MB"):
        read_photo(path)
    with pytest.raises(PhotoError, match="over 50 MB"):
        read_photo(JPEG + bytes(50 * 1000**2))


def test_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    for data in (png_header(10_001, 10_000), png_header(15, 40)):
        with pytest.raises(PhotoError, match=r"megapixels|both sides"):
            read_photo(data)


@pytest.mark.parametrize("name", ["notes.txt", "film.mp4", "photo.pdf", "archive.zip"])
def test_wrong_extension(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(JPEG)
    with pytest.raises(PhotoError, match=f"{name} has the extension .*rename"):
        read_photo(path)


@pytest.mark.parametrize("name", ["photo", "photo.JPG", "photo.png", "фото 写真.jpeg"])
def test_content_decides_among_photo_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(JPEG)
    assert quarters(read_photo(path)) == UPRIGHT
    assert quarters(read_photo(str(path))) == UPRIGHT


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"absent\.jpg does not exist"):
        read_photo(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="is not a file"):
        read_photo(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="is not a file"):
        read_photo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="cannot be opened"):
        read_photo("x" * 300 + ".jpg")
    with pytest.raises(PhotoError, match="cannot be opened"):
        read_photo("bad\0name.jpg")


def test_limits_hold_for_opened_images(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (40, 40))
    with monkeypatch.context() as patch, pytest.raises(PhotoError, match="megapixels"):
        patch.setattr("models.photos.decoding.MAX_PIXELS", 1599)
        read_photo(image)
    with pytest.raises(PhotoError, match="both sides"):
        read_photo(Image.new("RGB", (MIN_SIDE_PX - 1, 50)))
    with pytest.raises(PhotoError, match="cut off"):
        read_photo(Image.open(io.BytesIO(encode(draw((640, 480)), "JPEG")[:2000])))


def test_only_named_decoders_run() -> None:
    data = encode(draw(), "PPM")
    assert Image.open(io.BytesIO(data)).size == (64, 48)  # Pillow would
    with pytest.raises(PhotoError, match=r"not a photo in a known format|text file"):
        read_photo(data)


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{}</rdf:Description></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize(
    "note", [' tiff:Orientation="6">', "><tiff:Orientation>6</tiff:Orientation>"]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_orientation_in_xmp_alone_does_not_turn_a_photo(format: str, note: str) -> None:
    xmp = XMP.format(note).encode()
    if format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = encode(draw((320, 240)), "PNG", pnginfo=text)
    elif format == "TIFF":
        data = encode(draw((320, 240)), "TIFF", tiffinfo={700: xmp})
    elif format == "HEIF":  # whose encoder obeys the XMP and turns the photo in its container
        upright = encode(draw((320, 240)), "HEIF", xmp=xmp.replace(b"6", b"1"))
        data = upright.replace(xmp.replace(b"6", b"1"), xmp)
    else:
        data = encode(draw((320, 240)), format, xmp=xmp)
    assert b"tiff:Orientation" in data
    for side_px in (None, 100):
        image = read_photo(data, side_px)
        assert quarters(image) == UPRIGHT
        assert image.shape[1] > image.shape[0]
    if format != "TIFF":  # whose own tag is EXIF's
        turned = encode(draw((320, 240)), format, xmp=xmp, exif=exif_with(8).tobytes())
        assert quarters(read_photo(turned)) == quarters(np.rot90(np.asarray(draw())))


def test_orientation_in_the_exif_of_imagemagick_turns_a_png() -> None:
    exif = exif_with(6).tobytes().hex()
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif) // 2:8}\n{exif}\n", zip=True)
    data = encode(STORED[6](draw()), "PNG", pnginfo=text)
    assert quarters(read_photo(data)) == UPRIGHT


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x12", "JPEG XL"),
        (b"MM\0+\0\x08\0\0", "big-endian BigTIFF"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08" + bytes(20), "JPEG-LS"),
        (b"\xff\xd8\xff\xc1\0\x11\x0c" + bytes(20), "12-bit JPEG"),
        (JPEG[:20] + b"\xff\xc1\0\x11\x0c" + bytes(20), "12-bit JPEG"),
    ],
)
def test_kinds_that_no_decoder_takes_are_named(start: bytes, name: str) -> None:
    with pytest.raises(PhotoError, match=f"is a {name}.* not supported; save it as JPEG or PNG"):
        read_photo(start + bytes(100))


@pytest.mark.parametrize(
    ("item", "brand", "name"),
    [
        (b"av01", b"mif1", "AV1"),
        (b"avc1", b"avci", "H.264"),
        (b"jpeg", b"jpeg", "JPEG"),
        (b"jpeg", b"mif1", "JPEG"),
        (b"j2k1", b"j2ki", "JPEG 2000"),
        (b"vvc1", b"vvic", "VVC"),
        (b"unci", b"mif2", "uncompressed"),
    ],
)
def test_other_pixels_than_those_of_heic_are_named(item: bytes, brand: bytes, name: str) -> None:
    data = encode(draw(), "HEIF")
    start = data[: data.index(b"meta")].replace(b"heic", brand)
    other = start + data[len(start) :].replace(b"hvc1", item).replace(b"hvcC", item[:3] + b"C")
    message = f"is a HEIF photo with {name} pixels, a kind .* not supported; save it as JPEG"
    with pytest.raises(PhotoError, match=message):
        read_photo(other)
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(data.replace(b"hvcC", b"xxxC"))
