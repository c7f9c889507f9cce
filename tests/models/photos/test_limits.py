"""Files that cost far more than a photo are refused in time; what only looks like them is read."""

import io
import os
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import models.photos.avif_process
from models.model_file.resize import resize_images
from models.photos import PhotoError, memory, read_photo
from models.photos.limits import MAX_DECODE_BYTES, MAX_PIXELS, find_excess, is_avif, max_pixels
from tests.support.bad_photos import draw, encode, noisy
from tests.support.costly_photos import JPEG, LARGE, READ, REFUSED, directory, heif, progressive

SIDE_PX = 64


STATUS = "/proc/self/status"
needs_proc = pytest.mark.skipif(not os.path.exists(STATUS), reason="no /proc: no figures of memory")
pytestmark = pytest.mark.filterwarnings("ignore:Possibly corrupt EXIF:UserWarning")


def sharp(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Noise of every frequency, the hardest content to average."""
    rng = np.random.default_rng(size)
    bands = {"RGB": (3,), "RGBA": (4,), "CMYK": (4,), "L": ()}[mode]
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], *bands), dtype=np.uint8), mode)


def seen(image: np.ndarray, side_px: int) -> np.ndarray:
    """What a network sees of a photo, after the model file's own resize."""
    return resize_images(
        torch.tensor(image).permute(2, 0, 1)[None], side_px, side_px, False
    ).numpy()


@pytest.mark.parametrize("size", [(403, 300), (301, 997), (640, 480), (1000, 257)])
@pytest.mark.parametrize("side_px", [64, 97, 128])
def test_a_model_sees_the_same_of_a_reduced_photo(size: tuple[int, int], side_px: int) -> None:
    data = encode(sharp(size), "PNG")
    reduced = read_photo(data, side_px)
    assert min(reduced.shape[:2]) == side_px
    difference = np.abs(seen(reduced, side_px) - seen(read_photo(data), side_px))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("format", ["WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF", "PNG"])
def test_every_format_is_reduced(format: str) -> None:
    data = encode(sharp((400, 300)), format)
    full, reduced = read_photo(data), read_photo(data, 100)
    assert reduced.shape == (100, 133, 3)
    assert np.abs(seen(full, 100) - seen(reduced, 100)).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "I", "F", "CMYK", "LA", "RGBA", "PA"])
def test_every_mode_is_reduced(mode: str) -> None:
    grey = np.asarray(sharp((300, 200), "L"))
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(grey.astype(kind) * 200)
    elif mode == "PA":
        image = Image.fromarray(grey).convert("P").convert("PA")
    else:
        image = (sharp((300, 200), "RGBA") if "A" in mode else Image.fromarray(grey)).convert(mode)
    assert np.abs(seen(read_photo(image), 50) - seen(read_photo(image, 50), 50)).max() <= 1


def test_transparent_pixels_lend_no_colour() -> None:
    """Invisible red stripes between grey ones would show, if averaged before laying over white."""
    stripes = np.zeros((128, 128, 4), np.uint8)
    stripes[:, ::2] = (255, 0, 0, 0)
    stripes[:, 1::2] = (100, 100, 100, 255)
    for format in ("PNG", "TIFF"):
        image = read_photo(encode(Image.fromarray(stripes), format), 32)
        assert image.shape == (32, 32, 3)
        assert np.abs(image.astype(int) - 178).max() <= 1  # half 100, half white


def test_under_twice_the_side_nothing_changes() -> None:
    for format in ("PNG", "WEBP", "HEIF"):
        data = encode(noisy(), format)  # 160 x 120
        assert np.array_equal(read_photo(data, 61), read_photo(data))
        assert read_photo(data, 60).shape == (60, 80, 3)
        assert np.array_equal(read_photo(data, 300), read_photo(data))


def test_a_callers_image_is_reduced_and_stays_as_it_was() -> None:
    image = Image.open(io.BytesIO(encode(draw((640, 480)), "JPEG")))
    assert read_photo(image, 100).shape == (100, 133, 3)
    assert image.size == (640, 480)


def test_long_photos_stay_small() -> None:
    assert read_photo(encode(Image.new("L", (80_000, 90)), "PNG"), SIDE_PX).shape[0] == 90
    assert read_photo(encode(Image.new("L", (95_000, 100)), "PNG"), SIDE_PX).shape[0] == SIDE_PX
    with pytest.raises(PhotoError, match="too elongated; crop it to the landmark"):
        read_photo(encode(Image.new("L", (200_000, 64)), "PNG"), SIDE_PX)


@pytest.mark.parametrize("name", REFUSED)
def test_what_costs_too_much_is_refused_at_once(name: str) -> None:
    make, message = REFUSED[name]
    data, started = make(), time.process_time()
    with pytest.raises(PhotoError, match=message):
        read_photo(data, SIDE_PX)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", READ)
def test_what_looks_costly_and_is_not_is_read(name: str) -> None:
    started = time.process_time()
    assert min(read_photo(READ[name](), SIDE_PX).shape[:2]) in (48, 64, 120)
    assert time.process_time() - started < 2


def test_several_images_with_metadata_of_their_own_are_read() -> None:
    exif = bytes(4) + directory(bytes(12), bytes(1000))
    items = [(b"hvc1", b"")] * 3 + [(b"Exif", exif)] * 3
    data = heif(items, [(b"cdsc", 4 + i, [1 + i]) for i in range(3)], 2)
    assert find_excess(data) is None
    assert read_photo(data).shape == (64, 64, 3)


def test_a_broken_index_of_a_heic_is_refused() -> None:
    data = heif([(b"hvc1", b""), (b"Exif", bytes(40))], [(b"cdsc", 2, [1])], 1)
    place = data.index(b"iloc") + 10  # how many items follow
    broken = data[:place] + b"\xff\xff" + data[place + 2 :]
    with pytest.raises(PhotoError, match="broken index"):
        read_photo(broken)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_orientation_is_found_beside_large_metadata(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 60_000
    data = encode(draw((80, 40)), format, exif=exif.tobytes() if format == "HEIF" else exif)
    assert read_photo(data).shape == (80, 40, 3)


def test_a_motion_photo_is_read() -> None:
    """A film behind the picture holds every byte sequence, also those that begin scans."""
    film = np.random.default_rng(0).bytes(5_000_000) + b"\xff\xda" * 200
    assert read_photo(JPEG + film).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("format", "bands", "megapixels"),
    [
        ("JPEG", 3, 100),
        ("MPO", 3, 100),
        ("JPEG", 4, 75),
        ("PNG", 4, 100),
        ("GIF", 1, 100),
        ("TIFF", 3, 50),
        ("HEIF", 3, 50),
        ("AVIF", 3, 50),
        ("WEBP", 3, 37),
        (None, 3, 100),
    ],
)
def test_limits_by_format(format: str | None, bands: int, megapixels: int) -> None:
    assert max_pixels(format, bands) // 10**6 == megapixels <= MAX_PIXELS // 10**6


def test_a_panorama_of_a_phone_is_within_the_limits() -> None:
    """8 bits, 4:2:0, no alpha: its 7.5 bytes a pixel are measured."""
    with Image.open(io.BytesIO(encode(draw(), "HEIF", chroma=420))) as image:
        assert max_pixels("HEIF", 3, image.info) == 75_000_000
        assert max_pixels("HEIF", 4, image.info) == 50_000_000
        assert max_pixels("HEIF", 3, image.info | {"bit_depth": 10}) == 50_000_000
        assert max_pixels("HEIF", 3, image.info | {"chroma": 444}) == 50_000_000
        deep = image.info | {"bit_depth": 10, "chroma": 444}
        assert max_pixels("HEIF", 3, deep) == 37_500_000
        assert max_pixels("HEIF", 4, deep) == 30_000_000
        assert max_pixels("HEIF", 4, deep | {"chroma": 420}) == 30_000_000


@pytest.mark.slow
@needs_proc
def test_a_large_heic_stays_within_the_memory() -> None:
    data = encode(Image.new("RGB", (16_382, 3_690), "red"), "HEIF", quality=20)
    check_cost(data)


def test_a_format_that_needs_more_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.photos.limits.MAX_DECODE_BYTES", 40_000)
    for format, hint in (("WEBP", "save it as JPEG or make it smaller"), ("JPEG", ": make it")):
        with pytest.raises(
            PhotoError, match=rf"has 0\.\d megapixels; the limit for a {format} .*{hint}"
        ):
            read_photo(encode(draw((300, 200)), format))


@needs_proc
@pytest.mark.parametrize("name", ["large transparent png", "large jpeg of 100 scans"])
def test_fifty_megapixels_in_little_memory(name: str) -> None:
    check_cost(LARGE[name]())


def check_cost(data: bytes) -> None:
    """Read a large photo within the memory that limits.py allows, and within seconds."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    before, started = memory_mb("VmRSS"), time.process_time()
    assert min(read_photo(data, 256).shape[:2]) == 256
    assert time.process_time() - started < 5
    assert memory_mb("VmHWM") - before < MAX_DECODE_BYTES / 10**6


def memory_mb(field: str) -> float:
    with open(STATUS) as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith(field))


@needs_proc
def test_threads_give_the_memory_of_photos_back() -> None:
    photos = [encode(Image.new("RGB", (2100, 2000)), format) for format in ("WEBP", "PNG")]
    before, start = memory_mb("VmRSS"), threading.Barrier(8)

    def read() -> None:
        for photo in photos:
            start.wait(60)
            read_photo(photo, SIDE_PX)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory_mb("VmRSS") - before < 100


def test_one_large_photo_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.photos.decoding.LARGE_PIXELS", 1000)
    running, most = 0, 0

    def slow(image: Image.Image, *_: object) -> np.ndarray:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)  # long enough for another thread to get here
        running -= 1
        return np.asarray(image)

    monkeypatch.setattr("models.photos.decoding._upright_pixels", slow)
    threads = [threading.Thread(target=read_photo, args=(JPEG,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_avif_is_told_by_its_brands() -> None:
    data = encode(draw(), "AVIF")
    assert is_avif(data)
    assert not is_avif(encode(draw(), "HEIF"))
    assert not is_avif(data[:8])
    assert is_avif(data[:8] + b"mif1" + data[12:])  # still among the compatible ones


def test_a_slow_avif_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.photos.avif_process, "MAX_WAIT_SECONDS", 0.01)
    with pytest.raises(PhotoError, match="too much memory or time to decode"):
        read_photo(encode(draw(), "AVIF"))


def test_an_avif_that_needs_too_much_memory_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds in the process that decodes: here, too little for 12 megapixels."""
    source = (
        "import sys, models.photos.avif_process as a; "
        "a.MAX_MEMORY_BYTES = 90_000_000; sys.exit(a.main())"
    )
    monkeypatch.setattr(models.photos.avif_process, "COMMAND", ("-c", source))
    with pytest.raises(PhotoError, match="too much memory or time to decode"):
        read_photo(encode(draw((4000, 3000)), "AVIF", speed=10), SIDE_PX)
    assert read_photo(encode(draw(), "AVIF"), SIDE_PX).shape == (48, 64, 3)


def test_progressive_photos_are_built_correctly() -> None:
    assert (read_photo(progressive((64, 48), 3)) == 128).all()


@pytest.mark.parametrize("error", [TypeError, OSError, AttributeError])
def test_without_glibc_memory_is_left_alone(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where ctypes.CDLL(None) is a TypeError, and macOS, which has no mallopt."""

    def fail(_: None) -> None:
        raise error

    monkeypatch.setattr("models.photos.memory.ctypes.CDLL", fail)
    for change in (memory.release_memory, memory.keep_memory, memory.share_memory):
        change()
