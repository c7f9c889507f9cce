"""Put figures into words."""

SHOWN = 5


def percent(value: float, places: int = 1) -> str:
    """Show a fraction in percent: 0.956 -> "95.6 %"."""
    return f"{100 * value:.{places}f} %"


def span(interval: tuple[float, float] | list[float], scale: str = "%") -> str:
    """Show a 95 % interval of fractions, in percent or (scale) points."""
    low, high = interval
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} {scale}"


def plural(count: int, noun: str) -> str:
    """Show a count with its noun: 1 photo, 2 photos, 2 classes."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def name_some(texts: list[str], count: int = SHOWN) -> str:
    """Show the first few of a list, and how many more there are."""
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + more


def pad_columns(head: list[str], rows: list[list[str]]) -> list[str]:
    """Show a table as lines of text: the first column aligned left, the others right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
