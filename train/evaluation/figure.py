"""Figures whose labels may be in any script: class names are whatever folders are called."""

import functools
import warnings
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

# matplotlib's own font has Latin, Greek, Cyrillic, Hebrew and Arabic. These have the rest, by
# system: Linux, then Windows and macOS.
FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "Noto Sans SC",
    "Noto Sans KR",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "NanumGothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Nirmala UI",
    "Leelawadee UI",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
)


def new_figure(**options: Any) -> Figure:
    """Make a figure that takes characters from other installed fonts where matplotlib's lacks them.

    A character that no font has becomes a box, without a warning for each. Both settings stay:
    ticks read the first when they are drawn, and so does W&B, which takes no subclass of Figure.

    Args:
        options: matplotlib's own: figsize, layout, ...
    """
    matplotlib.rcParams["font.family"] = list(font_families())
    warnings.filterwarnings("ignore", "Glyph .* missing from")
    return Figure(**options)


@functools.cache
def font_families() -> tuple[str, ...]:
    """Return matplotlib's font, then those of FALLBACKS that this system has."""
    installed = set(font_manager.get_font_names())
    return ("sans-serif", *(name for name in FALLBACKS if name in installed))
