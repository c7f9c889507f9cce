"""Write XMP sidecar files: what is known about a photo, in a file beside it.

A sidecar has the photo's name plus .xmp: photo.jpg.xmp, as darktable and digiKam name it. Adobe's
photo.xmp would be one file for both photo.jpg and photo.heic, and is meant for raw files.
"""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from models.metadata.photo_tags import PhotoTags, clean_text
from models.metadata.safe_replace import ChangeError, check_writable, reason
from models.metadata.undo_journal import Journal, Outcome
from models.photos.position import read_position

MAX_SIDECAR_BYTES = 8 * 1000**2
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "landmarks": "urn:landmarks:1.0/",
}
PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{}\n<?xpacket end="w"?>\n'


def sidecar_path(photo: Path) -> Path:
    """Return the path of a photo's sidecar."""
    return photo.with_name(photo.name + ".xmp")


def write_sidecar(
    photo: Path, tags: PhotoTags, journal: Journal | None, overwrite_gps: bool = False
) -> Outcome:
    """Write a photo's sidecar, or add to an existing one.

    Nothing is written where the photo or its sidecar has a position: programs believe a sidecar
    more than the photo. Whatever an existing sidecar holds is kept.

    Args:
        photo: Not changed.
        tags: What to write.
        journal: Records how to undo the change; None: a dry run, nothing is written.
        overwrite_gps: Also write where there is a position, and replace a sidecar's.

    Returns:
        An outcome whose action is sidecar, skip or fail; nothing is raised for a bad photo or
        sidecar.
    """
    try:
        if not photo.is_file():
            raise ChangeError("does not exist, or is not a file")
        if not overwrite_gps and (own := read_position(photo)) is not None:
            where = f"{own.latitude:.5f}, {own.longitude:.5f}"
            return Outcome(photo, "skip", None, f"has a position of its own ({where})")
        target = sidecar_path(photo)
        if target.is_symlink():
            target = target.resolve()
        old = None
        if target.exists():
            if target.stat().st_size > MAX_SIDECAR_BYTES:
                raise ChangeError(f"its sidecar is over {MAX_SIDECAR_BYTES // 1000**2} MB")
            old = target.read_bytes()
        check_writable(target)
        new, note = merge_sidecar(old, tags, overwrite_gps)
        if new is None:
            return Outcome(photo, "skip", None, note)
        if journal is not None:
            journal.replace(target, old, new)
        return Outcome(photo, "sidecar", target, note)
    except (OSError, ValueError, ChangeError) as error:
        return Outcome(photo, "fail", None, reason(error))


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

    position = ("exif:GPSLatitude", "exif:GPSLongitude")
    if any(_has(blocks, each) for each in position) and not overwrite_gps:
        return None, "its sidecar has a position already"
    bag = _keyword_bag(blocks)
    known = set() if bag is None else {entry.text for entry in bag}
    fresh = [keyword for keyword in tags.keywords if keyword not in known]
    if tags.place is None and not fresh:
        return None, "its sidecar has these keywords already"
    if fresh and bag is None:
        bag = ET.SubElement(ET.SubElement(blocks[0], _name("dc:subject")), _name("rdf:Bag"))
    for keyword in fresh:
        ET.SubElement(bag, _name("rdf:li")).text = keyword
    names = {
        f"{'photoshop' if name in ('City', 'Country') else 'Iptc4xmpCore'}:{name}": value
        for name, value in tags.place_names().items()
    }
    with_names = not any(_has(blocks, each) for each in names)
    if tags.place is not None:
        _set(blocks, position[0], xmp_degrees(tags.place.latitude, "NS"))
        _set(blocks, position[1], xmp_degrees(tags.place.longitude, "EW"))
        for name, value in names.items() if with_names else ():
            _set(blocks, name, value)
    if old is None:
        _set(blocks, "xmp:CreatorTool", "Landmarks")
    _set(blocks, "landmarks:Model", clean_text(tags.model))
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
