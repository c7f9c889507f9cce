"""The decoded cache: contents, size, and runs that share it."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import train.data.photo_cache
from models.environment import CacheError
from models.photos import read_photo
from tests.support.commands import ROOT
from tests.support.drawing import draw_landmark
from train.data.photo_cache import decode_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for variant in range(4):
        draw_landmark(0, variant, (200, 120)).save(root / f"{variant}.png")
    return root


NAMES = ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize("place", ["/proc/none", "file/cache", "file"])
def test_a_cache_that_cannot_be_written_names_the_flag(
    place: str, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot be kept in .*--cache-dir or LANDMARKS_CACHE"):
        decode_photos(photos, NAMES, 60, tmp_path / place)


def test_cache_holds_reduced_photos_and_is_reused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert [cache[i].shape for i in range(4)] == [(60, 100, 3)] * 4
    full = decode_photos(photos, NAMES, 500, tmp_path / "cache")
    assert np.array_equal(full[2], read_photo(photos / "2.png"))
    monkeypatch.setattr(train.data.photo_cache, "read_photo", None)  # decoding again would fail
    again = decode_photos(photos, list(reversed(NAMES)), 60, tmp_path / "cache")
    assert again == cache
    assert np.array_equal(again.subset(["3.png", "1.png"])[0], cache[3])


def test_changed_photo_makes_a_new_cache(photos: Path, tmp_path: Path) -> None:
    before = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    draw_landmark(1, 0, (200, 120)).save(photos / "0.png")
    after = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert after.folder != before.folder
    assert not np.array_equal(before[0], after[0])


def test_bad_photo_is_left_out_with_its_reason(photos: Path, tmp_path: Path) -> None:
    (photos / "1.png").write_bytes(b"no photo")
    cache = decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert cache.paths == ["0.png", "2.png", "3.png"]
    assert list(cache.left_out) == ["1.png"]
    assert cache.left_out["1.png"]


def test_interrupted_decoding_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, side_px: int) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.data.photo_cache, "_decode", interrupt)
        decode_photos(photos, NAMES, 60, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(decode_photos(photos, NAMES, 60, tmp_path / "cache")) == 4


def test_two_runs_may_decode_at_once(photos: Path, tmp_path: Path) -> None:
    caches = []
    threads = [
        threading.Thread(
            target=lambda: caches.append(decode_photos(photos, NAMES, 60, tmp_path / "cache"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caches) == 2
    assert caches[0] == caches[1]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_full_disk_is_said_before_decoding(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(train.data.photo_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="--cache-dir"):
        decode_photos(photos, NAMES, 60, tmp_path / "cache")


PHOTO_BYTES = 60 * 100 * 3
START = """
import sys, time
from pathlib import Path
import train.data.photo_cache

root, cache_dir, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
"""
HOLD = """
cache = train.data.photo_cache.decode_photos(root, names, 60, cache_dir)
print("ready", flush=True)
sys.stdin.read()
print(cache[0].sum())
"""
BUILD = """
decode = train.data.photo_cache._decode

def wait_for_the_other(path, side_px):
    while len(list(cache_dir.glob(".partial-*"))) < 2 and not list(cache_dir.glob("decoded-*")):
        time.sleep(0.01)
    return decode(path, side_px)

train.data.photo_cache._decode = wait_for_the_other
cache = train.data.photo_cache.decode_photos(root, names, 60, cache_dir)
print(cache.folder.name, sum(int(cache[photo].sum()) for photo in range(len(cache))))
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", START + script, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def folders(cache_dir: Path) -> set[Path]:
    return set(cache_dir.iterdir())


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for caches with room for three photos."""
    monkeypatch.setenv("LANDMARKS_CACHE_GB", str((3 * PHOTO_BYTES + 2000) / 1e9))
    return tmp_path / "cache"


def test_two_processes_may_build_the_same_cache_at_once(photos: Path, tmp_path: Path) -> None:
    cache_dir = tmp_path / "cache"
    builders = [start(BUILD, photos, cache_dir, *NAMES) for _ in range(2)]
    found = [builder.communicate(timeout=60) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], found
    cache = decode_photos(photos, NAMES, 60, cache_dir)
    total = sum(int(cache[photo].sum()) for photo in range(4))
    assert [output for output, _ in found] == [f"{cache.folder.name} {total}\n"] * 2
    assert folders(cache_dir) == {cache.folder}


def test_least_recently_used_caches_make_room(photos: Path, limited: Path) -> None:
    first, second, third = (decode_photos(photos, [name], 60, limited).folder for name in NAMES[:3])
    for age_seconds, folder in ((300, first), (200, second), (100, third)):
        os.utime(folder / "index.json", (0, time.time() - age_seconds))
    decode_photos(photos, NAMES[:1], 60, limited)  # used again: now the second is the oldest
    last = decode_photos(photos, NAMES[3:], 60, limited).folder
    assert folders(limited) == {first, third, last}
    pair = decode_photos(photos, NAMES[1:3], 60, limited).folder
    assert len(folders(limited)) == 2
    assert pair in folders(limited)
    whole = decode_photos(photos, NAMES, 60, limited)  # larger than the limit: only it stays
    assert folders(limited) == {whole.folder}
    assert whole[3].shape == (60, 100, 3)


def test_cache_of_another_process_is_never_deleted(photos: Path, limited: Path) -> None:
    user = start(HOLD, photos, limited, *NAMES[:2])
    assert user.stdout.readline() == "ready\n"
    used = folders(limited)
    own = decode_photos(photos, NAMES[2:], 60, limited)
    assert folders(limited) == used | {own.folder}
    decode_photos(photos, NAMES[1:], 60, limited)  # neither fits beside it, both are in use
    assert len(folders(limited)) == 3
    output, errors = user.communicate(timeout=30)
    assert user.returncode == 0, errors
    assert int(output) > 0
    last = decode_photos(photos, NAMES[:3], 60, limited)
    assert folders(limited) == {own.folder, last.folder}
    part = own.subset(NAMES[3:])
    del own
    decode_photos(photos, NAMES, 60, limited)
    assert part.folder.is_dir()
    assert part[0].shape == (60, 100, 3)


def test_a_full_disk_makes_room_too(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_dir = tmp_path / "cache"
    old = decode_photos(photos, NAMES[:1], 60, cache_dir).folder
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        train.data.photo_cache.shutil,
        "disk_usage",
        lambda path: usage._replace(free=20000 * (not old.exists())),
    )
    new = decode_photos(photos, NAMES[1:2], 60, cache_dir).folder
    assert folders(cache_dir) == {new}


def test_left_over_parts_are_deleted_when_old(photos: Path, tmp_path: Path) -> None:
    cache_dir = tmp_path / "cache"
    parts = [cache_dir / f".partial-{name}" for name in ("old", "new", "empty")]
    for part in parts:
        part.mkdir(parents=True)
        if part.name != ".partial-empty":
            (part / "pixels.bin").write_bytes(b"half")
    for part in (parts[0], parts[2]):
        os.utime(part, (0, time.time() - 7200))
    cache = decode_photos(photos, NAMES, 60, cache_dir)
    assert folders(cache_dir) == {cache.folder, parts[1]}


@pytest.mark.parametrize("value", ["much", "-1", "nan"])
def test_impossible_limit_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("LANDMARKS_CACHE_GB", value)
    with pytest.raises(ValueError, match=rf"LANDMARKS_CACHE_GB is '{value}'; give a number"):
        decode_photos(photos, NAMES, 60, tmp_path / "cache")


def test_broken_cache_is_named(photos: Path, tmp_path: Path) -> None:
    folder = decode_photos(photos, NAMES, 60, tmp_path / "cache").folder
    (folder / "pixels.bin").unlink()
    with pytest.raises(OSError, match=f"{folder.name} is broken; delete it"):
        decode_photos(photos, NAMES, 60, tmp_path / "cache")
