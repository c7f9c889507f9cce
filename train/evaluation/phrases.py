"""Figures as people read them."""

SHOWN = 5


def percent(value: float, places: int = 1) -> str:
    """A fraction in percent."""
    return f"{100 * value:.{places}f} %"


def span(interval: tuple[float, float] | list[float], scale: str = "%") -> str:
    """A 95 % interval in percent or points."""
    low, high = interval
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} {scale}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 photo, 2 photos, 2 classes."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def name_some(texts: list[str], count: int = SHOWN) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + more
