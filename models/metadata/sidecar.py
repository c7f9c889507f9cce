"""Write XMP sidecar files: what is known about a photo, in a file beside it.

A new sidecar has the photo's name plus .xmp: photo.jpg.xmp, as darktable and digiKam name it. The
photo.xmp of Adobe and Apple would be one file for both photo.jpg and photo.heic; one that is there,
and can only mean this photo, is updated, so that no two sidecars say different things.
"""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from models.files import clean_text
from models.metadata.photo_tags import (
    CLOCK,
    KEYWORD_TREES,
    LOCATIONS,
    PhotoTags,
    missing_paths,
)
from models.metadata.safe_replace import ChangeError, check_writable, reason
from models.metadata.undo_journal import Journal, Outcome, plan_undo
from models.photos import PHOTO_EXTENSIONS
from models.photos.gps import ESTIMATED, find_position
from models.photos.metadata_blocks import MAX_SIDECAR_BYTES, find_sidecars
from models.photos.raw import RAW_EXTENSIONS
from models.photos.xmp import find_coordinates

IN_SIDECAR = "its sidecar has a position already"
POSITION = ("exif:GPSLatitude", "exif:GPSLongitude")
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "landmarks": "urn:landmarks:1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
# A file, what it holds (None: there is none), and what it is to hold.
Change = tuple[Path, bytes | None, bytes]
PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{}\n<?xpacket end="w"?>\n'


def sidecar_path(photo: Path) -> Path:
    """Return the path of a photo's new sidecar."""
    return photo.with_name(photo.name + ".xmp")


def write_sidecar(
    photo: Path, tags: PhotoTags, journal: Journal | None, overwrite_gps: bool = False
) -> Outcome:
    """Write a photo's sidecar, or add to an existing one.

    Nothing is written where the photo or a sidecar of it has a position: programs believe a
    sidecar more than the photo. Whatever an existing sidecar holds is kept.

    Args:
        photo: Not changed.
        tags: What to write.
        journal: Records how to undo the change; None: a dry run, nothing is written.
        overwrite_gps: Also write where there is a position, and replace that of each sidecar, with
            all that was said of it but its time.

    Returns:
        An outcome whose action is sidecar, skip or fail; nothing is raised for a bad photo or
        sidecar.
    """
    try:
        if not photo.is_file():
            raise ChangeError("does not exist, or is not a file")
        if not overwrite_gps and (found := find_position(photo)) is not None:
            own, source = found
            if source != photo:
                return Outcome(photo, "skip", None, IN_SIDECAR)
            where = f"{own.latitude:.5f}, {own.longitude:.5f}"
            return Outcome(photo, "skip", None, f"has a position of its own ({where})")
        first, *others = _targets(photo)
        target, old = _open(first)
        new, note = merge_sidecar(old, tags, overwrite_gps)
        if new is None:
            return Outcome(photo, "skip", None, note)
        changes: list[Change] = [(target, old, new)]
        if overwrite_gps:  # another sidecar's position would contradict this one
            changes += replace_positions(others, tags)
        for change in changes:
            if journal is None:
                plan_undo(*change[1:])
            else:
                journal.replace(*change)
        return Outcome(photo, "sidecar", target, note)
    except (OSError, ValueError, ChangeError) as error:
        return Outcome(photo, "fail", None, reason(error))


def replace_positions(sidecars: list[Path], tags: PhotoTags) -> list[Change]:
    """Return what sidecars that have a position are to hold instead.

    Raises:
        ChangeError: One is damaged, read-only, or not XMP that this project understands.
        OSError: One cannot be read.
    """
    changes: list[Change] = []
    for target, old in map(_open, sidecars if tags.place else ()):
        if old is not None and next(find_coordinates(old), None) is not None:
            new, _ = merge_sidecar(old, tags, overwrite_gps=True)
            changes.append((target, old, new))
    return changes


def _targets(photo: Path) -> list[Path]:
    """Return the sidecar to write, then others of the photo."""
    found = [path for path in find_sidecars(photo) if path.parent == photo.parent]
    is_own = bool(found) and found[0].stem == photo.name
    if is_own or (found and not _has_namesake(photo)):
        return found
    return [sidecar_path(photo), *found]


def _has_namesake(photo: Path) -> bool:
    """Tell whether photo.xmp could also mean another photo, such as photo.heic."""
    endings = PHOTO_EXTENSIONS | RAW_EXTENSIONS
    names = {photo.stem + each for ending in endings for each in (ending, ending.upper())}
    others = (name for name in names if name.lower() != photo.name.lower())
    return any(photo.with_name(name).exists() for name in others)


def _open(sidecar: Path) -> tuple[Path, bytes | None]:
    """Return the file behind symbolic links, and what it holds; None: there is none.

    Raises:
        ChangeError: It is too large or cannot be written.
    """
    target, old = sidecar.resolve() if sidecar.is_symlink() else sidecar, None
    if target.exists():
        if target.stat().st_size > MAX_SIDECAR_BYTES:
            raise ChangeError(f"its sidecar is over {MAX_SIDECAR_BYTES // 1000**2} MB")
        old = target.read_bytes()
    check_writable(target)
    return target, old


def merge_sidecar(
    old: bytes | None, tags: PhotoTags, overwrite_gps: bool = False
) -> tuple[bytes | None, str]:
    """Add tags to the text of a sidecar.

    Args:
        old: UTF-8 or UTF-16 XMP; None: there is none yet.
        tags: What to add; existing keywords and place names stay.
        overwrite_gps: Replace its position, if it has one.

    Returns:
        The new text (None: nothing to add) and one line that says what is added, or why not.

    Raises:
        ChangeError: It is damaged, or not XMP that this project understands.
    """
    root, prefixes = _parse(old) if old is not None else (_empty_packet(), {})
    tree = root if root.tag == _name("rdf:RDF") else root.find(_name("rdf:RDF"))
    if tree is None or root.tag not in (_name("x:xmpmeta"), _name("rdf:RDF")):
        raise ChangeError("its sidecar is not XMP, and was left alone")
    # Properties may be spread over several blocks, which all describe the photo.
    blocks = tree.findall(_name("rdf:Description"))
    if not blocks:
        blocks = [ET.SubElement(tree, _name("rdf:Description"), {_name("rdf:about"): ""})]

    if any(_has(blocks, each) for each in POSITION) and not overwrite_gps:
        return None, IN_SIDECAR
    if not _add_keywords(blocks, tags.keywords) and tags.place is None:
        return None, "its sidecar has these keywords already"
    names = {
        f"{'photoshop' if name in ('City', 'Country') else 'Iptc4xmpCore'}:{name}": value
        for name, value in tags.place_names().items()
    }
    with_names = not any(_has(blocks, each) for each in names)
    if tags.place is not None:
        if overwrite_gps:
            _remove_position(blocks)
        _set(blocks, POSITION[0], xmp_degrees(tags.place.latitude, "NS"))
        _set(blocks, POSITION[1], xmp_degrees(tags.place.longitude, "EW"))
        if tags.radius_km is not None:
            _set(blocks, "exif:GPSProcessingMethod", ESTIMATED)
            _set(blocks, "exif:GPSHPositioningError", f"{round(1000 * tags.radius_km)}/1")
        for name, value in names.items() if with_names else ():
            _set(blocks, name, value)
    if old is None:
        _set(blocks, "xmp:CreatorTool", "Landmarks")
    _set(blocks, "landmarks:Model", clean_text(tags.model))
    if tags.radius_km is None:
        _set(blocks, "landmarks:Probability", f"{tags.probability:.4f}")
    return _serialise(root, prefixes), tags.describe(with_names)


def xmp_degrees(degrees: float, signs: str) -> str:
    """Write a coordinate as XMP wants it: 48,51.492000N.

    The format is GPSCoordinate in part 2 of Adobe's XMP specification.

    Args:
        degrees: Signed.
        signs: The letters for positive and negative.
    """
    # In whole millionths of a minute, so that rounding never writes 60 minutes.
    whole, millionths = divmod(round(abs(degrees) * 60 * 1000**2), 60 * 1000**2)
    return f"{whole},{millionths / 1000**2:.6f}{signs[degrees < 0]}"


class _Builder(ET.TreeBuilder):
    """Keep comments and prefixes, and refuse entities: XMP has none, attacks do."""

    def __init__(self) -> None:
        super().__init__(insert_comments=True, insert_pis=True)
        self.prefixes: dict[str, str] = {}

    def start_ns(self, prefix: str | None, uri: str) -> None:
        self.prefixes[prefix or ""] = uri

    def doctype(self, *_: str | None) -> None:
        raise ChangeError("its sidecar declares a document type, which XMP does not have")


def _parse(text: bytes) -> tuple[ET.Element, dict[str, str]]:
    builder = _Builder()
    parser = ET.XMLParser(target=builder)
    try:
        parser.feed(text)
        return parser.close(), builder.prefixes
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ChangeError(f"its sidecar is damaged ({error}), and was left alone") from error


def _empty_packet() -> ET.Element:
    root = ET.Element(_name("x:xmpmeta"))
    ET.SubElement(root, _name("rdf:RDF"))
    return root


def _serialise(root: ET.Element, prefixes: dict[str, str]) -> bytes:
    # ElementTree's table of prefixes is global: ours come last, so that they always hold.
    for prefix, uri in {**prefixes, **NAMESPACES}.items():
        if prefix and not re.fullmatch(r"ns\d+", prefix):  # reserved by ElementTree
            ET.register_namespace(prefix, uri)
    if not prefixes:
        ET.indent(root)
    try:
        return PACKET.format(ET.tostring(root, encoding="unicode")).encode()
    except RecursionError as error:
        raise ChangeError("its sidecar is nested too deeply, and was left alone") from error


def _name(short: str) -> str:
    """Expand a name: dc:subject -> {http://purl.org/dc/elements/1.1/}subject."""
    prefix, name = short.split(":")
    return f"{{{NAMESPACES[prefix]}}}{name}"


def _has(blocks: list[ET.Element], short: str) -> bool:
    name = _name(short)
    return any(name in block.attrib or block.find(name) is not None for block in blocks)


def _set(blocks: list[ET.Element], short: str, value: str) -> None:
    """Set a simple property, which may be an attribute or an element, in any block."""
    name = _name(short)
    for block in blocks:
        block.attrib.pop(name, None)
        for element in block.findall(name):
            block.remove(element)
    ET.SubElement(blocks[0], name).text = value


def _remove_position(blocks: list[ET.Element]) -> None:
    """Remove all that is said about a position but its time, also from IPTC's locations."""
    gps, locations = _name("exif:GPS"), {_name(f"Iptc4xmpExt:{each}") for each in LOCATIONS}
    for block in blocks:
        inner = (each for top in block if top.tag in locations for each in top.iter())
        for element in [block, *inner]:
            names = [*element.attrib, *(child.tag for child in element)]
            for name in names:
                # A comment's tag is a function.
                if not isinstance(name, str) or not name.startswith(gps):
                    continue
                if name.split("}")[1] not in CLOCK:
                    element.attrib.pop(name, None)
                    for child in element.findall(name):
                        element.remove(child)


def _add_keywords(blocks: list[ET.Element], keywords: tuple[str, ...]) -> bool:
    """Add the keywords that are missing, also as paths where there are such; tell if any were."""
    bag = _keyword_bag(blocks)
    known = set() if bag is None else {entry.text for entry in bag}
    fresh = [keyword for keyword in keywords if keyword not in known]
    if fresh and bag is None:
        bag = ET.SubElement(ET.SubElement(blocks[0], _name("dc:subject")), _name("rdf:Bag"))
    added = [(bag, fresh)]
    lists_of_xmp = {_name("rdf:Bag"), _name("rdf:Seq")}
    for short, (_, separator) in KEYWORD_TREES.items():
        found = [element for block in blocks for element in block.findall(_name(short))]
        lists = [each for element in found for each in element if each.tag in lists_of_xmp]
        if len(lists) == 1:  # else in an unknown way, and left alone
            paths = [entry.text or "" for entry in lists[0]]
            added.append((lists[0], missing_paths(keywords, paths, separator)))
    for entries, words in added:
        for word in words:
            ET.SubElement(entries, _name("rdf:li")).text = word
    return any(words for _, words in added)


def _keyword_bag(blocks: list[ET.Element]) -> ET.Element | None:
    """Return the list of keywords, if there is one."""
    name = _name("dc:subject")
    found = [element for block in blocks for element in block.findall(name)]
    if not found and not any(name in block.attrib for block in blocks):
        return None
    bag = found[0].find(_name("rdf:Bag")) if len(found) == 1 else None
    if bag is None:
        raise ChangeError("its sidecar lists keywords in an unknown way")
    return bag
