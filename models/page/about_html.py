"""Write what the page says of its model and of itself, as HTML."""

import html

from models.model_file.verdict import Thresholds
from models.page.answer_html import UNMEASURED
from models.page.request_guard import CLEAN_EVERY_SECONDS, KEEP_SECONDS
from models.places.landmarks import country_name
from models.places.world_map import draw_pins
from models.predictor import Predictor
from models.sources.served_model import Served

PARTS = {"test": "test", "val": "validation"}  # in a manifest, in a sentence; the better first


def write_footer(served: Served, collects: bool = False) -> str:
    """Write what everybody should know in a line, and the rest to unfold.

    The line has the number of landmarks, how often the model is right, and how long photos stay.

    Args:
        served: The model.
        collects: Whether the page keeps photos whose answer a person judged.
    """
    predictor, facts = served.predictor, []
    metrics = predictor.manifest.get("metrics", {})
    part = next((part for part in PARTS if f"{part}/top1" in metrics), None)
    facts.append(f"{len(predictor.class_names):,} landmarks")
    if part is not None:
        right = int(100 * metrics[f"{part}/top1"])
        facts[0] += f", right in {right} of 100 {PARTS[part]} photos"
    minutes = (KEEP_SECONDS + CLEAN_EVERY_SECONDS) // 60
    but = ", except those whose answer you judge" if collects else ""
    facts.append(f"photos are deleted after {minutes} minutes{but}")
    return (
        f"<details><summary>{'; '.join(facts)} <u>Details</u></summary>"
        f"<p>{describe_model(served)}</p><p>{describe_refusals(predictor.thresholds)} Photos stay "
        f"on this server and are deleted within {minutes} minutes{but}.</p></details>"
        '<p><a href="api">Use via API</a></p>'
    )


def describe_model(served: Served) -> str:
    """Describe in one line which model answers: name, version, source and measured accuracy."""
    predictor, origin = served.predictor, served.origin
    manifest, metrics = predictor.manifest, predictor.manifest.get("metrics", {})
    figures = []
    for part, name in reversed(PARTS.items()):
        if f"{part}/top1" in metrics:
            top1, top5 = metrics[f"{part}/top1"], metrics[f"{part}/top5"]
            count = metrics[f"{part}/photos"]
            figures.append(f"{name} top-1 {top1:.1%}, top-5 {top5:.1%} ({count:,} photos)")
    name = html.escape(str(manifest.get("name", "unnamed")))
    place = html.escape(f"{predictor.path.parent.name}/{predictor.path.name}")
    if origin is not None:
        place = html.escape(f"W&B {origin.name} ({origin.version})")
        # Checked: an address from elsewhere could be a javascript: one.
        if (origin.run_url or "").startswith(("https://", "http://")):
            place += f', <a href="{html.escape(origin.run_url)}" target="_blank">its training</a>'
    return (
        f"Model <b>{name}</b>, version {predictor.digest[:12]}, from {place} · "
        f"{len(predictor.class_names)} landmarks · {' · '.join(figures) or 'accuracy not measured'}"
    )


def describe_refusals(thresholds: Thresholds) -> str:
    """Describe what a model does with photos of other things, with what was measured of it."""
    if thresholds.maybe is None:
        return (
            "It names one of its landmarks for every photo, even if the photo shows none of them. "
            f"{UNMEASURED}"
        )
    if thresholds.sure is None:
        return (
            "It says so when a photo looks like none of them; the threshold accepts 19 of 20 "
            f"photos of known landmarks. {UNMEASURED}"
        )
    says = "It says so when a photo looks like none of them."
    passes = thresholds.passes or {}
    if not (passes.get("sure") and passes.get("maybe")):
        return says
    sure, maybe = max(passes["sure"].values()), max(passes["maybe"].values())
    count = sum((thresholds.outside_photos or {}).values())
    return (
        f"{says} Measured on {count:,} photos of other things: of each kind, at most {sure:.1%} "
        f"were named for sure, and at most {maybe:.1%} were named at all."
    )


def write_landmarks(predictor: Predictor) -> str:
    """Write the landmarks that a model knows: a map with their pins, and a list by name."""
    places = {label: predictor.place(label) for label in predictor.class_names}
    pins = [(p.latitude, p.longitude, p.name) for p in places.values() if p is not None]
    lines = []
    for label, place in places.items():
        name = label if place is None else place.name
        where = [place.city, country_name(place.country)] if place else []
        lines.append((name, ", ".join(filter(None, where))))
    listed = "".join(
        f"<li><b>{html.escape(name)}</b> <small>{html.escape(where)}</small></li>"
        for name, where in sorted(lines, key=lambda line: line[0].casefold())
    )
    return f"{draw_pins(pins) if pins else ''}<ul>{listed}</ul>"
