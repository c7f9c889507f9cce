"""Find photos of one shot: equal files, equal pixels, or nearly equal, also mirrored or cropped.

Candidates have similar 64-bit DCT hashes (phash of ImageHash; Zauner, Implementation and
Benchmarking of Perceptual Image Hash Functions, 2010). They are found by multi-index hashing
(Norouzi et al., CVPR 2012) instead of comparing all pairs. As hashes of different photos collide,
thumbnails decide: aligned by ECC (Evangelidis, Psarakis, PAMI 2008), they must agree in light and
detail.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import imagehash
import numpy as np
from PIL import Image

SMALL_PX, WINDOW_PX, THUMBNAIL_PX = 80, 74, 24
# (x, y) of nine windows of the reduced photo: a copy cropped by 5 to 10 % resembles one of them.
CORNERS = [(x, y) for y in (0, 3, 6) for x in (0, 3, 6)]
# Two 64-bit hashes that differ in at most 8 bits differ in at most BAND_BITS in one of their four
# bands of 16 bits. Otherwise they would differ in 2 + 2 + 2 + 3 = 9 bits or more.
MAX_BITS, BAND_BITS = 8, (1, 1, 1, 2)
# Grey levels. A thumbnail with less detail than the first is flat. Below the second lies the
# median detail of drawings, of skies, of 4 % of photos: one shape on plain ground agrees with many
# others, so a higher correlation is asked of it.
FLAT_DETAIL, SPARSE_DETAIL = 2.0, 4.0
MIN_CORRELATION, MIN_DETAIL_CORRELATION, SPARSE_DETAIL_CORRELATION = 0.93, 0.85, 0.98
# Two different shots from one place fit only with a shear or in part; a crop fits without.
MAX_SHEAR, MIN_OVERLAP = 0.02, 0.95


@dataclass(frozen=True)
class PhotoHashes:
    """Hold what identifies a photo; JSON-ready through dataclasses.asdict.

    Attributes:
        path: Relative to the data folder, with forward slashes.
        file_sha256, pixels_sha256: Of the file's bytes; of the decoded pixels and their shape.
        width_px, height_px: Of the decoded photo.
        near: phash, 16 hex digits. Empty for a flat photo, as are all fields below: of flat photos
            only exact copies are found.
        mirrored: phash of the mirrored photo.
        windows: phash of each of nine windows of the photo, concatenated.
        thumbnail: (24, 24) uint8 grey levels as hex.
    """

    path: str
    file_sha256: str
    pixels_sha256: str
    width_px: int
    height_px: int
    near: str = ""
    mirrored: str = ""
    windows: str = ""
    thumbnail: str = ""


@dataclass(frozen=True, order=True)
class Pair:
    """Hold the positions of two photos of one shot, first < second, and how they are alike."""

    first: int
    second: int
    kind: str  # "copy" (same bytes), "pixels" (same pixels), "near" or "mirrored"


def hash_photo(path: str, content: bytes, image: np.ndarray) -> PhotoHashes:
    """Compute what finding a photo's duplicates needs; takes 2 ms for 256 x 341 pixels.

    Args:
        path: Relative to the data folder, with forward slashes.
        content: The bytes of the file.
        image: (H, W, 3) uint8 RGB, content decoded at full size.
    """
    pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    exact = (path, hashlib.sha256(content).hexdigest(), pixels, image.shape[1], image.shape[0])
    small = cv2.resize(image, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(small, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    if _detail(thumbnail).std() < FLAT_DETAIL:
        return PhotoHashes(*exact)
    parts = [small[y : y + WINDOW_PX, x : x + WINDOW_PX] for x, y in CORNERS]
    parts = [Image.fromarray(part) for part in (small, small[:, ::-1], *parts)]
    near, mirrored, *windows = [str(imagehash.phash(part)) for part in parts]
    return PhotoHashes(*exact, near, mirrored, "".join(windows), thumbnail.tobytes().hex())


def find_pairs(hashes: Sequence[PhotoHashes]) -> list[Pair]:
    """Find the pairs of photos of one shot.

    Of photos with equal pixels the first represents all: the others are paired only with it, and
    only it is compared with other photos. So a thousand copies make 999 pairs, not half a million;
    group_pairs connects them.

    Args:
        hashes: One entry per photo.

    Returns:
        Pairs of positions in hashes, sorted.
    """
    firsts: dict[tuple[str, str], int] = {}
    pairs, photos = [], []
    for photo, hashed in enumerate(hashes):
        same_file = firsts.setdefault(("copy", hashed.file_sha256), photo)
        same_pixels = firsts.setdefault(("pixels", hashed.pixels_sha256), photo)
        if same_file != photo:
            pairs.append(Pair(same_file, photo, "copy"))
        elif same_pixels != photo:
            pairs.append(Pair(same_pixels, photo, "pixels"))
        elif hashed.near:
            photos.append(photo)
    # Rows: near, mirrored, nine windows; columns: photos. Only near is indexed, all are queries.
    table = "".join(hashes[i].near + hashes[i].mirrored + hashes[i].windows for i in photos)
    table = np.frombuffer(bytes.fromhex(table), np.uint64).reshape(-1, 2 + len(CORNERS)).T.copy()
    bits, query, other = match_hashes(table.ravel(), table[0])
    column, photo = np.divmod(query, max(len(photos), 1))
    candidates = np.stack([bits, column, photo, other])[:, photo != other].T.tolist()
    found = {}
    # Closest hashes first: a symmetric building resembles its mirror image, but itself even more.
    for _, column, a, b in sorted(candidates):
        pair = (photos[min(a, b)], photos[max(a, b)])
        if pair not in found and _is_same_shot(hashes[photos[a]], hashes[photos[b]], column):
            found[pair] = "mirrored" if column == 1 else "near"
    return sorted(pairs + [Pair(*pair, kind) for pair, kind in found.items()])


def group_pairs(count: int, pairs: Sequence[Pair]) -> list[list[int]]:
    """Group photos that are connected by pairs, directly or through others.

    Args:
        count: Number of photos.
        pairs: Pairs of their positions.

    Returns:
        Groups of two or more positions, sorted.
    """
    group_of = [[photo] for photo in range(count)]
    for pair in pairs:
        small, large = sorted((group_of[pair.first], group_of[pair.second]), key=len)
        if small is not large:  # the small group joins the large one: few photos move
            large += small
            for photo in small:
                group_of[photo] = large
    groups = {id(group): group for group in group_of if len(group) > 1}
    return sorted(sorted(group) for group in groups.values())


def match_hashes(queries: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Find every query and index entry that differ in at most MAX_BITS bits.

    Each hash is cut into four bands of 16 bits. A pair within MAX_BITS must differ in at most
    BAND_BITS in one of them, so it is enough to look up, per band, the query's 16 bits and those
    with 1 or 2 bits flipped (17 or 137 look-ups) among the index entries sorted by that band.

    Args:
        queries: (Q,) uint64.
        index: (N,) uint64.

    Returns:
        (3, M) int64, distinct columns: bits that differ, position in queries, position in index.
    """
    matches = [np.empty((3, 0), np.int64)]
    places = [1 << bit for bit in range(16)]
    for band, radius in enumerate(BAND_BITS):
        sought, keys = (h.view(np.uint16)[band::4].astype(int) for h in (queries, index))
        # Sorting the queries too changes no result, but makes the processor's cache hit.
        asked, order = np.argsort(sought), np.argsort(keys)
        sought, values, entries = sought[asked], queries[asked], index[order]
        # Entries whose band is k lie from starts[k] to starts[k + 1].
        starts = np.searchsorted(keys[order], np.arange(2**16 + 1))
        for flip in (sum(c) for count in range(radius + 1) for c in combinations(places, count)):
            first, last = starts[sought ^ flip], starts[(sought ^ flip) + 1]
            # All (query, entry) of these ranges without a Python loop: a repeats each query as
            # often as its range is long, b counts from first to last within each range.
            a = np.repeat(np.arange(len(sought)), last - first)
            b = np.arange(len(a)) + np.repeat(last - np.cumsum(last - first), last - first)
            bits = np.bitwise_count(values[a] ^ entries[b])
            near = np.flatnonzero(bits <= MAX_BITS)
            matches.append(np.stack([bits[near], asked[a[near]], order[b[near]]]))
    # A pair that is close in several bands was found several times.
    return np.unique(np.concatenate(matches, axis=1), axis=1)


def _is_same_shot(first: PhotoHashes, second: PhotoHashes, column: int) -> bool:
    """Tell whether thumbnails agree.

    Args:
        first: The query.
        second: The index entry.
        column: What of first second resembles: 0 the photo, 1 its mirror image, 2 to 10 a window.
    """
    grey = np.frombuffer(bytes.fromhex(first.thumbnail + second.thumbnail), np.uint8)
    image, other = grey.reshape(2, THUMBNAIL_PX, THUMBNAIL_PX)
    warp = np.eye(2, 3, dtype=np.float32)
    if column == 1:
        image = np.ascontiguousarray(image[:, ::-1])
    elif column > 1:
        warp *= WINDOW_PX / SMALL_PX
        # OpenCV's origin is the middle of the first pixel, half a pixel from the edge.
        corner = np.array(CORNERS[column - 2]) * THUMBNAIL_PX / SMALL_PX
        warp[:, 2] = corner + (WINDOW_PX / SMALL_PX - 1) / 2
    if _agrees(image, other, warp):
        return True
    try:
        stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 1e-4)
        warp = cv2.findTransformECC(other, image, warp, cv2.MOTION_AFFINE, stop, None, 1)[1]
    except cv2.error:  # not converged: nothing in common
        return False
    return max(abs(warp[0, 1]), abs(warp[1, 0])) <= MAX_SHEAR and _agrees(image, other, warp)


def _agrees(image: np.ndarray, other: np.ndarray, warp: np.ndarray) -> bool:
    """Tell whether image, moved by warp (2, 3), is like other where they overlap."""
    size, flags = other.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones_like(image), warp, size, flags=flags) > 0
    if inside.mean() < MIN_OVERLAP:
        return False
    moved = cv2.warpAffine(image, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    details = [_detail(grey)[inside] for grey in (moved, other)]
    with np.errstate(invalid="ignore"):  # one grey level: nan, which no comparison accepts
        light = np.corrcoef(moved[inside], other[inside])[0, 1]
        detail = np.corrcoef(details)[0, 1]
    is_sparse = np.median(np.abs(details), axis=1).min() < SPARSE_DETAIL
    needed = SPARSE_DETAIL_CORRELATION if is_sparse else MIN_DETAIL_CORRELATION
    return bool(light >= MIN_CORRELATION and detail >= needed)


def _detail(grey: np.ndarray) -> np.ndarray:
    """Subtract a thumbnail's slow changes of light, in which any two skies agree."""
    return grey.astype(np.float32) - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 2)
