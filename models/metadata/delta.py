"""What is left to keep of an old file once the new one is there: the bytes that are gone."""

import base64
import zlib

import numpy as np

# A copy from the new file (first byte, length), or text: base64 of zlib of bytes that are gone.
Part = list[int] | str
ANCHOR_BYTES = 32
MAX_SEARCHES = 64


def describe_old(old: bytes, new: bytes) -> list[Part]:
    """How to make the old bytes from the new ones: copies of what stayed, and what is gone.

    What stayed is found greedily: some bytes of a gap are looked up in the new file, and the match
    is extended to both sides. Metadata moves the pixels of a photo as one block.

    Returns:
        Parts in the order of the old file. rebuild_old(new, parts) is old.
    """
    old_array, new_array = (np.frombuffer(each, np.uint8) for each in (old, new))
    copies: list[tuple[int, int, int]] = []
    gaps, searches = [(0, len(old))], 0
    while gaps:
        low, high = gaps.pop()
        last = high - ANCHOR_BYTES
        for start in (low, last, (low + last) // 2, (3 * low + last) // 4, (low + 3 * last) // 4):
            if last < low or searches >= MAX_SEARCHES:
                break
            searches += 1
            # The last bytes are looked for from behind: flat photos repeat themselves.
            find = new.rfind if start == last else new.find
            found = find(old[start : start + ANCHOR_BYTES])
            if found < 0:
                continue
            back = _common(old_array[low:start][::-1], new_array[:found][::-1])
            length = back + _common(old_array[start:high], new_array[found:])
            first = start - back
            copies.append((first, found - back, length))
            gaps += [(low, first), (first + length, high)]
            break
    parts: list[Part] = []
    position = 0
    for first, source, length in [*sorted(copies), (len(old), 0, 0)]:
        if position < first:
            parts.append(base64.b64encode(zlib.compress(old[position:first], 9)).decode())
        if length:
            parts.append([source, length])
        position = first + length
    return parts


def rebuild_old(new: bytes, parts: list[Part]) -> bytes:
    """The old bytes, of describe_old's parts."""
    pieces = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(zlib.decompress(base64.b64decode(part)))
        else:
            pieces.append(new[part[0] : part[0] + part[1]])
    return b"".join(pieces)


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many first values two arrays share."""
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    return int(different.argmax()) if different.any() else length
