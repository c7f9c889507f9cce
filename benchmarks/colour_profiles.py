"""What colour profiles do to the labels of the bundled model, ignored and converted.

python benchmarks/colour_profiles.py --data DIR; converts the validation photos of DIR/train (split
seed 0, those of the bundled model) to each colour space and asks the model without their profile,
which is what ignoring it does, and with it. Prints CSV; and the milliseconds that a 12-megapixel
photo takes to read without a profile, with sRGB's and with Display P3's.
"""

import argparse
import io
import statistics
import struct
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.photos import read_photo
from models.predictor import Predictor
from train.data.split import index_photos, split_by_class

MODEL = Path(__file__).parents[1] / "models/bundled/landmarks.pt"
ROUNDS = 15
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# XYZ of red, green and blue under D50, and the curve's exponent; 0: that of sRGB.
SPACES = {
    "display p3": (
        ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
        0,
    ),
    "adobe rgb": (
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74455)),
        563 / 256,
    ),
    "prophoto": (
        ((0.79771, 0.28806, 0.0), (0.13516, 0.71187, 0.00002), (0.03133, 0.00008, 0.82489)),
        1.8,
    ),
}


def fixed(*values: float) -> bytes:
    """Return numbers as an ICC profile stores them."""
    return struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))


def rgb_profile(name: str) -> bytes:
    """Return the profile of sRGB, or what becomes of it with the colours and curve of a space."""
    profile = bytearray(SRGB)
    colours, exponent = SPACES.get(name, ((), 0))
    (tags,) = struct.unpack_from(">I", profile, 128)
    for kind, start, _ in struct.iter_unpack(">4sII", SRGB[132 : 132 + 12 * tags]):
        if kind.endswith(b"TRC") and exponent:
            profile[start + 12 : start + 32] = fixed(exponent, 1, 0, 1, 0)
        for letter, colour in zip("rgb", colours, strict=False):
            if kind == f"{letter}XYZ".encode():
                profile[start + 8 : start + 20] = fixed(*colour)
    return bytes(profile)


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def read_ms(data: bytes, side_px: int) -> float:
    """Return the median milliseconds that a photo takes to read."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        read_photo(data, side_px)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measure and print CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/")
    data = parser.parse_args().data
    predictor = Predictor.load(MODEL)
    split = split_by_class(index_photos(data), data, 0.1, seed=0)
    images = [Image.fromarray(read_photo(data / path, predictor.side_px)) for path in split.val]
    plain = [next(iter(predictor.classify(image))) for image in images]
    truth = [split.class_names[label] for label in split.labels(split.val)]
    srgb = ImageCms.createProfile("sRGB")
    print("space,profile,photos,labels_changed,top1")
    print(f"srgb,none,{len(images)},0,{share(plain, truth)}")
    for name in SPACES:
        profile = rgb_profile(name)
        there = ImageCms.buildTransform(
            srgb, ImageCms.ImageCmsProfile(io.BytesIO(profile)), "RGB", "RGB"
        )
        converted = [there.apply(image) for image in images]
        for how, kept in (("ignored", None), ("converted", profile)):
            files = [encode(image, "PNG", icc_profile=kept) for image in converted]
            labels = [next(iter(predictor.classify(file))) for file in files]
            changed = sum(a != b for a, b in zip(plain, labels, strict=True))
            print(f"{name},{how},{len(images)},{changed},{share(labels, truth)}", flush=True)
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8)).resize((4000, 3000))
    for name in (None, "srgb", "display p3"):
        file = encode(large, "JPEG", icc_profile=name and rgb_profile(name))
        print(f"read 12 megapixels, profile {name or 'none'}: {read_ms(file, 256):.1f} ms")


def share(labels: list[str], truth: list[str]) -> str:
    """Return the share of labels that are right, with three decimals."""
    return f"{statistics.mean(a == b for a, b in zip(labels, truth, strict=True)):.3f}"


if __name__ == "__main__":
    main()
