"""Class names in every script, on systems with and without fonts for them."""

import io

import matplotlib
import pytest
from matplotlib import font_manager

from train.cleaning.report import plot_classes
from train.evaluation import figure
from train.evaluation.figure import font_families, new_figure


@pytest.fixture(autouse=True)
def fonts_as_they_were() -> object:
    with matplotlib.rc_context():
        font_families.cache_clear()
        yield
    font_families.cache_clear()


def test_names_in_any_script_are_drawn_without_a_warning() -> None:
    """Warnings are errors here, and a missing font must be none."""
    photos = {f"{name}/1.jpg": ("train", name) for name in ("東京タワー", "경복궁", "वाराणसी")}
    drawn = plot_classes(photos, {"train": list(photos)})
    content = io.BytesIO()
    drawn.savefig(content, dpi=60)
    assert content.getbuffer()[:4] == b"\x89PNG"


def test_a_font_that_the_system_has_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any installed font stands for one of another script."""
    monkeypatch.setattr(figure, "FALLBACKS", ("No Such Font", "DejaVu Serif"))
    assert font_families() == ("sans-serif", "DejaVu Serif")
    made = new_figure()
    text = made.text(0, 0, "a")
    found = font_manager.fontManager._find_fonts_by_props(text.get_fontproperties())
    assert ["DejaVuSans.ttf" in found[0], "DejaVuSerif.ttf" in found[1]] == [True, True]


def test_no_font_but_matplotlibs_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    assert font_families() == ("sans-serif",)
