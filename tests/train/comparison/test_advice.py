"""Which model to choose when: fronts, their picture, the table, the advice."""

import dataclasses

import pytest
import torch

from train.comparison.advice import advise, find_mismatch, mcnemar
from train.comparison.compared_model import ComparedModel, format_table
from train.comparison.pareto import dominates, draw_fronts, pareto_front
from train.comparison.serving_cost import Size, Speed


def test_pareto_front() -> None:
    assert pareto_front([0.9, 0.8, 0.95, 0.85], [10, 20, 50, 5]) == [3, 0, 2]
    assert pareto_front([0.9, 0.8], [50.0, 49.0]) == [0]  # a tie in cost, as far as timing tells
    assert pareto_front([0.9, 0.8], [50.0, 40.0]) == [1, 0]
    assert pareto_front([0.9, 0.9], [50.0, 50.0]) == [0, 1]
    assert pareto_front([], []) == []
    assert dominates(0.9, [1, 1], 0.9, [1, 2]) and not dominates(0.9, [1, 2], 0.9, [2, 1])


def test_the_picture_keeps_names_apart() -> None:
    names = [f"a-rather-long-name-{i}" for i in range(7)]
    top1 = [0.95, 0.952, 0.951, 0.9, 0.85, 0.78, 0.949]
    intervals = [(value - 0.02, value + 0.02) for value in top1]
    costs = {
        "one photo (ms)": [48.0, 49.0, 61.0, 15.0, 12.0, 62.0, 47.0],
        "training (minutes)": [50.0, None, 60.0, 40.0, 70.0, 6.0, 55.0],
    }
    figure, fronts = draw_fronts(names, top1, intervals, costs)
    assert fronts["one photo (ms)"] == [names[i] for i in (4, 3, 1)]
    assert names[1] not in fronts["training (minutes)"]
    figure.draw_without_rendering()
    for axes, values in zip(figure.axes, costs.values(), strict=True):
        assert axes.get_xscale() == "log"
        shown = [text for text in axes.texts if text.get_text() in names]
        assert len(shown) == sum(value is not None for value in values)
        boxes = [text.get_window_extent() for text in shown]
        texts = [super(type(text), text).get_window_extent() for text in shown]
        assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
        pairs = [(a, b) for i, a in enumerate(texts) for b in texts[:i]]
        assert not any(a.overlaps(b) for a, b in pairs)
        points = [
            axes.transData.transform((x, 100 * y)) for x, y in zip(values, top1, strict=True) if x
        ]
        assert not any(box.contains(*point) for box in texts for point in points)


def test_mcnemar_is_exact() -> None:
    correct = torch.tensor([True] * 10 + [False] * 2 + [True] * 30)
    other = torch.tensor([False] * 10 + [True] * 2 + [True] * 30)
    # Twice the chance of at most 2 heads in 12 throws.
    assert mcnemar(correct, other) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(correct, correct) == 1.0


def build_model(name: str, hits: int, **changes: object) -> ComparedModel:
    """A model that gets the first photos of 100 right; 50 ms, 20 MB, an hour by default."""
    changes = {"latency_ms": 50.0, "file_bytes": 20_000_000, "joules": None} | changes
    latency = changes.pop("latency_ms")
    size = Size(10**6, 10**8, changes.pop("file_bytes"))
    speed = Speed(latency, latency, 1000 / latency, changes.pop("joules"))
    values = {
        "network": "net",
        "pretrained": True,
        "split": "s",
        "photos": 100,
        "top1": hits / 100,
        "top5": 1.0,
        "macro_f1": None,
        "ece": None,
        "correct": torch.arange(100) < hits,
        "minutes": 60.0,
        "epochs": 12,
        "images_per_second": 20.0,
    }
    return ComparedModel(name=name, size=size, speed=speed, **values | changes)


def test_advice_follows_the_numbers() -> None:
    best, light = build_model("best", 95), build_model("light", 94, latency_ms=10.0)
    text = advise([light, best])
    assert "Most accurate on the 100 validation photos: **best**, 95.0 %." in text
    assert "over **light** (94.0 %, p = 1.00) is within the noise" in text
    assert "The fastest within 2 points of it: **light**, 10.0 against 50.0 ms, for 1.0" in text
    assert "None within 2 points of it is smaller (20.0 MB)." in text
    assert "All of them began from pretrained weights." in text
    assert "Dominated" not in text

    weak = build_model("weak", 80, latency_ms=10.0, file_bytes=5_000_000, minutes=6.0)
    text = advise([weak, best])
    assert "over the next, **weak** (80.0 %), is more than noise (exact McNemar test, p < " in text
    assert "None within 2 points of it is faster (50.0 ms)." in text
    assert "The fastest of all, **weak** (10.0 ms), gives up 15.0 points." in text
    assert "The smallest of all, **weak** (5.0 MB), gives up 15.0 points." in text
    assert "Least time to train: **weak**, 6.0 minutes against 60.0, for 80.0 %." in text

    own = build_model("own", 80, pretrained=False)
    text = advise([own, best])
    assert "Where pretrained weights may not be used: **own**, 80.0 %, 15.0 points less." in text
    assert "Dominated" not in text  # it is of use where weights may not be
    text = advise([own, build_model("worse", 70, pretrained=False), best])
    assert "pretrained weights: **worse** (**own**)." in text
    random = dataclasses.replace(best, pretrained=False)
    assert "**best** needs no pretrained" in advise([random, light])

    unscored = dataclasses.replace(light, correct=None)
    assert "**light** (94.0 %) is noise cannot be said" in advise([best, unscored])
    untimed = dataclasses.replace(light, minutes=None)
    assert "time to train" not in advise([best, untimed])


def test_mismatch_names_the_groups() -> None:
    runs = [build_model("a", 90), build_model("b", 90), build_model("c", 90, split="other")]
    assert find_mismatch(runs[:2]) is None
    assert "(a, b: split s; c: split other)" in find_mismatch(runs)
    assert "a: no split recorded" in find_mismatch([build_model("a", 90, split=None)] * 2)


def test_the_table_leaves_unknown_cells_empty() -> None:
    best = build_model("best", 95, joules=1.5)
    other = build_model("other", 90, ece=0.041, minutes=None, epochs=None, images_per_second=None)
    _, _, first, second = format_table([other, best]).splitlines()
    assert first.startswith("| best | net | 95.0 % (")
    assert "| 1.0 M | 100.0 M | 20.0 MB | 50.0 / 50.0 ms | 20 photos/s | 1.50 J/photo |" in first
    assert first.endswith("| 60.0 min, 12 epochs, 20 images/s |")
    assert "| 4.1 % |" in second and second.endswith("|  |  |")
