"""Duplicates among drawn photos: found, named right, and no others."""

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.photos import read_photo
from tests.support.drawing import draw_landmark
from train.cleaning import duplicates
from train.cleaning.duplicates import (
    CORNERS,
    MAX_BITS,
    THUMBNAIL_PX,
    Pair,
    PhotoHashes,
    find_pairs,
    group_pairs,
    hash_photo,
    match_hashes,
)

Change = Callable[[np.ndarray], np.ndarray]


@cache
def draw_scene(seed: int) -> np.ndarray:
    """Textured noise of all scales, (256, 341, 3) uint8, as busy as a photo."""
    rng = np.random.default_rng((7, seed))
    scene = np.zeros((256, 341, 3), np.float32)
    for cells in (4, 8, 16, 32, 64):
        noise = rng.normal(0, 130 / cells**0.5, (cells, cells * 4 // 3, 3)).astype(np.float32)
        scene += cv2.resize(noise, (341, 256), interpolation=cv2.INTER_CUBIC)
    image = (scene + 128).clip(0, 255).astype(np.uint8)
    image.setflags(write=False)
    return image


def encode(image: np.ndarray, image_format: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, image_format, **options)
    return file.getvalue()


def hash_bytes(path: str, content: bytes) -> PhotoHashes:
    return hash_photo(path, content, read_photo(content))


def kinds_of(*contents: bytes) -> list[str]:
    return [pair.kind for pair in find_pairs([hash_bytes("photo.jpg", c) for c in contents])]


def half(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def scaled(factor: float) -> Change:
    return lambda image: (image * factor).clip(0, 255).astype(np.uint8)


def cropped(top: int, bottom: int, left: int, right: int) -> Change:
    return lambda image: image[top : 256 - bottom, left : 341 - right]


CHANGES = {
    "recompress-40": (lambda image: image, {"quality": 40}, "near"),
    "recompress-80": (lambda image: image, {"quality": 80}, "near"),
    "half": (half, {"quality": 90}, "near"),
    "mirror": (lambda image: image[:, ::-1], {"quality": 90}, "mirrored"),
    "darker": (scaled(0.7), {"quality": 90}, "near"),
    "brighter": (scaled(1.3), {"quality": 90}, "near"),
    "webp": (lambda image: image, {"image_format": "WEBP", "quality": 80}, "near"),
    "crop-corner": (cropped(0, 13, 0, 17), {"quality": 90}, "near"),
    "crop-middle": (cropped(10, 9, 13, 12), {"quality": 90}, "near"),
    "crop-10": (cropped(26, 0, 20, 14), {"quality": 90}, "near"),
}


def assert_found(change: str, images: list[np.ndarray]) -> None:
    """Each image and its changed copy are one pair, named right, in either order."""
    alter, options, kind = CHANGES[change]
    originals = [encode(image, quality=92) for image in images]
    changed = [encode(alter(read_photo(original)), **options) for original in originals]
    hashes = [hash_bytes("photo.jpg", content) for content in originals + changed]
    pairs = [Pair(number, number + len(images), kind) for number in range(len(images))]
    assert find_pairs(hashes) == pairs
    assert find_pairs(hashes[len(images) :] + hashes[: len(images)]) == pairs


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photo_is_found_and_named(change: str) -> None:
    assert_found(change, [draw_scene(seed) for seed in range(6)])


@pytest.mark.parametrize("change", [name for name in CHANGES if not name.startswith("crop")])
def test_a_drawing_with_few_edges_is_found_and_named(change: str) -> None:
    drawn = [draw_landmark(label, 1, (341, 256)) for label in (0, 1, 2, 3, 5)]
    assert_found(change, [np.asarray(image) for image in drawn])


def test_equal_bytes_and_equal_pixels() -> None:
    jpeg = encode(draw_scene(0), quality=85)
    pixels = read_photo(jpeg)
    hashes = [
        hash_bytes("train/01.A/a.jpg", jpeg),
        hash_bytes("a.png", encode(pixels, "PNG")),
        hash_bytes("test/02.B/a.jpg", jpeg),
        hash_bytes("a.bmp", encode(pixels, "BMP")),
        hash_bytes("other.jpg", encode(draw_scene(1))),
        hash_bytes("a40.jpg", encode(pixels, quality=40)),
    ]
    expected = [Pair(0, 1, "pixels"), Pair(0, 2, "copy"), Pair(0, 3, "pixels"), Pair(0, 5, "near")]
    assert find_pairs(hashes) == expected
    assert group_pairs(6, expected) == [[0, 1, 2, 3, 5]]


def test_the_shape_is_part_of_the_pixels() -> None:
    plain = np.zeros((32, 64, 3), np.uint8)
    first, second = (hash_photo("a", bytes(i), plain.reshape(-1, 16 << i, 3)) for i in (0, 1))
    assert first.pixels_sha256 != second.pixels_sha256
    assert (first.width_px, first.height_px) == (16, 128)


def test_a_symmetric_photo_is_like_itself_rather_than_its_mirror_image() -> None:
    image = draw_scene(3).copy()
    image[:, 171:] = image[:, :170][:, ::-1]
    image[40:90, 200:300] = draw_scene(4)[40:90, 200:300]
    original = encode(image, quality=92)
    assert kinds_of(original, encode(image, quality=60)) == ["near"]
    assert kinds_of(original, encode(image[:, ::-1], quality=60)) == ["mirrored"]


def test_different_photos_are_not_paired() -> None:
    scenes = [encode(draw_scene(seed), quality=90) for seed in range(40)]
    drawn = [
        encode(np.asarray(draw_landmark(label, variant, (341, 256))))
        for label in range(6)
        for variant in range(10)
    ]
    assert kinds_of(*scenes, *drawn) == []


def draw_flat_photos() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    down = np.linspace(0, 1, 256)[:, None, None]
    noise = [rng.normal(0, 4, (256, 341, 3)) for _ in range(12)]
    blanks = [np.full((256, 341, 3), level) + noise[level // 22] for level in range(0, 256, 22)]
    skies = [
        rng.uniform(0, 120, 3) + down * rng.uniform(60, 130, 3) + noise[sky] for sky in range(12)
    ]
    photos = [(image + 0.5).clip(0, 255).astype(np.uint8) for image in blanks + skies]
    for _ in range(12):
        page = Image.new("RGB", (341, 256), "white")
        centre = rng.uniform((150, 110), (190, 145))
        sides = int(rng.integers(3, 9))
        ImageDraw.Draw(page).regular_polygon(
            (*centre, rng.uniform(45, 75)), sides, rng.uniform(0, 90), outline="black"
        )
        photos.append(np.asarray(page))
    return photos


def test_flat_photos_are_not_paired_with_each_other() -> None:
    contents = [encode(image) for image in draw_flat_photos()]
    assert len(contents) == 36
    assert kinds_of(*contents) == []
    assert hash_bytes("blank.jpg", contents[0]).near == ""


def test_copies_of_flat_photos_are_found() -> None:
    blank = np.full((64, 64, 3), 200, np.uint8)
    photos = encode(blank, "PNG"), encode(blank, "BMP"), encode(blank, "PNG")
    assert sorted(kinds_of(*photos)) == ["copy", "pixels"]


def test_nothing_and_one_photo_have_no_pairs() -> None:
    assert find_pairs([]) == []
    assert kinds_of(encode(draw_scene(0))) == []
    assert group_pairs(0, []) == []
    assert group_pairs(3, []) == []


def test_a_thousand_copies_make_a_thousand_pairs() -> None:
    one = hash_bytes("a.jpg", encode(draw_scene(0)))
    pairs = find_pairs([one] * 1000)
    assert pairs == [Pair(0, photo, "copy") for photo in range(1, 1000)]
    assert group_pairs(1000, pairs) == [list(range(1000))]


def test_groups_are_connected_components() -> None:
    links = [(5, 6), (0, 1), (2, 3), (1, 2), (0, 3), (8, 9), (6, 8)]
    pairs = [Pair(first, second, "near") for first, second in links]
    assert group_pairs(11, pairs) == [[0, 1, 2, 3], [5, 6, 8, 9]]


def test_groups_equal_those_of_a_slow_search() -> None:
    rng = np.random.default_rng(0)
    links = np.sort(rng.integers(0, 60, (35, 2)), axis=1)
    pairs = [Pair(int(a), int(b), "near") for a, b in links if a != b]
    group = np.arange(60)
    for _ in range(60):
        for pair in pairs:
            group[[pair.first, pair.second]] = min(group[pair.first], group[pair.second])
    slow = [np.flatnonzero(group == name).tolist() for name in np.unique(group)]
    assert group_pairs(60, pairs) == [members for members in slow if len(members) > 1]


def test_hashes_travel_as_json() -> None:
    hashed = hash_bytes("train/01.A/a.jpg", encode(draw_scene(0)))
    assert PhotoHashes(**json.loads(json.dumps(asdict(hashed)))) == hashed


def test_hashing_takes_read_only_and_strided_pixels() -> None:
    image = draw_scene(0)
    assert not image.flags.writeable
    strided = np.stack([image, image], axis=-1)[..., 0]
    assert hash_photo("a", b"", strided) == hash_photo("a", b"", image)


def test_matches_equal_those_of_all_comparisons() -> None:
    rng = np.random.default_rng(1)
    index = rng.integers(0, 2**64, 3000, np.uint64)
    queries = rng.integers(0, 2**64, 2500, np.uint64)
    for query in range(1500):
        flips = rng.permutation(64)[: rng.integers(0, 13)]
        queries[query] = index[query] ^ np.bitwise_or.reduce(
            1 << flips.astype(np.uint64), initial=0
        )
    # The worst that must still be found: bits spread over all bands, in every way.
    for query, bits in enumerate(combinations(range(0, 64, 5), MAX_BITS), 1500):
        if query < 2000:
            queries[query] = index[0] ^ np.uint64(sum(1 << bit for bit in bits))
    distance = np.bitwise_count(queries[:, None] ^ index)
    expected = np.argwhere(distance <= MAX_BITS).tolist()
    found = match_hashes(queries, index)
    assert sorted(found[1:].T.tolist()) == expected
    assert len(expected) > 1400
    assert (found[0] == distance[found[1], found[2]]).all()


def draw_hashes(count: int, near: int, seed: int) -> list[PhotoHashes]:
    """Random hashes of no photos; the first ones are like later ones in all ways, also none."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**64, (count, 2 + len(CORNERS)), np.uint64)
    grey = rng.integers(0, 256, (count, THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for photo in range(near):
        flips = rng.permutation(64)[: rng.integers(0, 13)].astype(np.uint64)
        changed = values[near + photo, 0] ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=0)
        column = photo % 3
        values[photo, column] = changed
        if photo % 10:  # else only the hashes are alike
            other = grey[near + photo]
            grey[photo] = other[:, ::-1] if column == 1 else other
    rows = [value.tobytes().hex() for value in values]
    return [
        PhotoHashes(
            f"{photo}.jpg",
            f"{photo}",
            f"{photo}",
            341,
            256,
            row[:16],
            row[16:32],
            row[32:],
            grey[photo].tobytes().hex(),
        )
        for photo, row in enumerate(rows)
    ]


def test_pairs_equal_those_of_all_comparisons() -> None:
    hashes = draw_hashes(300, 120, 2)
    words = [np.frombuffer(bytes.fromhex(h.near + h.mirrored + h.windows), ">u8") for h in hashes]
    expected = {}
    for a, b in combinations(range(300), 2):
        ways = [
            (int(np.bitwise_count(words[x][column] ^ words[y][0])), column, x, y)
            for x, y in ((a, b), (b, a))
            for column in range(2 + len(CORNERS))
        ]
        for bits, column, x, y in sorted(ways):
            if bits <= MAX_BITS and duplicates._is_same_shot(hashes[x], hashes[y], column):
                expected[a, b] = "mirrored" if column == 1 else "near"
                break
    assert find_pairs(hashes) == [Pair(*pair, kind) for pair, kind in sorted(expected.items())]
    assert 40 < len(expected) < 120
    assert set(expected.values()) == {"near", "mirrored"}


def test_twenty_thousand_hashes_take_seconds() -> None:
    hashes = draw_hashes(20_000, 300, 3)
    started = time.perf_counter()
    pairs = find_pairs(hashes)
    assert time.perf_counter() - started < 12  # 1.5 s on two cores
    assert 100 < len(pairs) < 300
    assert all(pair.second == pair.first + 300 for pair in pairs)
