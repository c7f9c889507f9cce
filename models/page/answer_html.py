"""Write an answer as HTML: headline, bars and place, or why there is none.

Labels and places come from a model file, which anybody may have made: everything is escaped.
"""

import html

from models.model_file.verdict import Thresholds, is_far
from models.photos.gps import Position
from models.places.landmarks import Place, country_name, distance_km, map_url
from models.places.place_level import PlaceLevel
from models.places.world_map import draw_map
from models.predictor import Answer

UNMEASURED = "This model file was not measured on photos of other things, so it is never sure."
SMALLEST = 0.01  # a guess below it is not shown, unless it is the best


def write_headline(
    answer: Answer,
    place: Place | None,
    count: int,
    thresholds: Thresholds,
    away_km: float | None = None,
    level: PlaceLevel | None = None,
) -> str:
    """Write the answer in a line or two, and what speaks against it in a third.

    Args:
        answer: The model's, after weigh_position.
        place: Place of its best label; None shows only the label.
        count: Number of landmarks that the model knows.
        thresholds: The model's, which say how often it is wrong.
        away_km: How far from the landmark the photo was taken, if known.
        level: How exactly the place may be believed, by Predictor.place_level.
    """
    if answer.verdict == "none":
        return (
            f'<div class="none"><h2>None of the {count:,}</h2><p>This does not look like one of '
            "the landmarks that this model knows; the bars show only its nearest guesses.</p></div>"
        )
    name, facts = answer.label, ""
    if place is not None:
        name = place.name
        where = ", ".join(filter(None, (place.city, country_name(place.country))))
        facts = " in ".join(filter(None, (place.kind, where)))
    # The word of the verdict is for screen readers only; on the page the wording shows it.
    word, title, note = "Sure", name, ""
    if answer.verdict == "maybe":
        word, title, note = "Maybe", f"Looks like {name}", _write_note(thresholds, away_km)
    if place is not None and level in ("city", "country"):
        country = country_name(place.country)
        area = country if level == "country" else ", ".join(filter(None, (place.city, country)))
        note += f"<p>In any case, most likely somewhere in {html.escape(area)}.</p>"
    return (
        f'<div class="{answer.verdict}"><span class="heard">{word}: </span>'
        f"<h2>{html.escape(title)}</h2>"
        f"<p>{html.escape(facts[:1].upper() + facts[1:]) or 'Most likely'}</p>{note}</div>"
    )


def _write_note(thresholds: Thresholds, away_km: float | None) -> str:
    """Write why an answer is not sure, the strongest reason only."""
    share = thresholds.wrong_share
    if is_far(away_km):
        note = f"But its GPS data says that it was taken {away_km:,.0f} km away."
        return f'<p class="far">{note}</p>'
    if share is None:
        return f"<p>{UNMEASURED}</p>" if thresholds.sure is None else ""
    if share == 0:
        return ""
    if share > 2 / 3:  # "1 in 1"
        return "<p>Most photos like this are something else.</p>"
    return f"<p>About 1 in {round(1 / share):,} photos like this is something else.</p>"


def shown_guesses(answer: Answer) -> dict[str, float]:
    """Return the guesses worth a bar, best first: the best, and what has at least 1 %."""
    best, *others = answer.probabilities.items()
    return dict([best, *(guess for guess in others if guess[1] >= SMALLEST)])


def write_bars(answer: Answer, names: dict[str, str]) -> str:
    """Write the guesses as bars; choosing one shows what spoke for it.

    Args:
        answer: The model's. Where its verdict is none, nothing can be chosen.
        names: Label of each shown guess -> what to call it.
    """
    bars = []
    for rank, (label, probability) in enumerate(shown_guesses(answer).items()):
        share = "&gt;99%" if probability >= 0.995 else f"{probability:.0%}"
        choice = ""
        if answer.verdict != "none":
            checked = "" if rank else " checked"
            choice = f'<input type="radio" name="guess" value="{rank}"{checked}>'
        tag = "label" if choice else "div"
        bars.append(
            f'<{tag} class="bar" style="--share:{probability:.1%}">{choice}'
            f"<span>{html.escape(names[label])}</span><b>{share}</b></{tag}>"
        )
    return (
        '<fieldset><legend class="heard">Most likely landmarks; choose one to see what speaks '
        f"for it</legend>{''.join(bars)}</fieldset>"
    )


def write_error(message: str) -> str:
    """Write why a photo got no answer; message may quote a file's name, which is anybody's text."""
    return f'<div class="error"><h2>No answer</h2><p>{html.escape(message)}</p></div>'


def write_place(answer: Answer, place: Place | None, position: Position | None) -> str:
    """Write where the landmark is, with a map, and where the photo was taken.

    The map of a mere guess is folded, unless it shows how far away the photo was taken.

    Args:
        answer: The model's, after weigh_position.
        place: The landmark's, if known.
        position: From the photo's own GPS data, if it has any.

    Returns:
        An empty text if there is neither.
    """
    parts, away, pin = [], "", ""
    if place is not None:
        taken_at = None
        if position is not None:
            away = f", {describe_distance(position, place)} from the landmark"
            if is_far(_distance_km(position, place)):
                taken_at, pin = (position.latitude, position.longitude), " (amber pin)"
        shown = (
            f'{draw_map(place.latitude, place.longitude, taken_at)}<p class="where">'
            f"{describe_point(place)}{_write_links(place)}</p>"
        )
        if answer.verdict == "maybe":
            start = "<details open>" if taken_at else "<details>"
            shown = f"{start}<summary>Where {html.escape(place.name)} is</summary>{shown}</details>"
        parts.append(shown)
    if position is not None:
        parts.append(
            "<p>According to its GPS data, this photo was taken at "
            f"{describe_point(position)}{pin}{away}. "
            "<small>This position stays on this server.</small></p>"
        )
    return "".join(parts)


def _write_links(place: Place) -> str:
    """Link to what others say of a landmark; nothing is fetched until somebody clicks."""
    links = {"OpenStreetMap": map_url(place.latitude, place.longitude)}
    if place.wikidata:
        wiki = "https://www.wikidata.org/wiki"
        # Wikidata forwards to the article, if there is one in English.
        links["Wikipedia"] = f"{wiki}/Special:GoToLinkedPage/enwiki/{place.wikidata}"
        links["Wikidata"] = f"{wiki}/{place.wikidata}"
    return " ".join(
        f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer">{name}</a>'
        for name, url in links.items()
    )


def describe_point(point: Place | Position) -> str:
    """Write a position, such as 48.8584° N, 2.2945° E."""
    north, east = "NS"[point.latitude < 0], "EW"[point.longitude < 0]
    return f"{abs(point.latitude):.4f}° {north}, {abs(point.longitude):.4f}° {east}"


def describe_distance(point: Place | Position, other: Place | Position) -> str:
    """Write a distance as 650 m, 3.2 km or 1,234 km: a landmark's coordinates are no finer."""
    km = _distance_km(point, other)
    if km < 0.995:  # what would round to 1000 m is 1.0 km
        return f"{round(100 * km) * 10} m"
    return f"{km:.1f} km" if km < 9.95 else f"{km:,.0f} km"


def _distance_km(point: Place | Position, other: Place | Position) -> float:
    return distance_km(point.latitude, point.longitude, other.latitude, other.longitude)
