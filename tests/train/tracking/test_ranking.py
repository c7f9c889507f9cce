"""Which model is the best, and which old ones may go."""

import random

import pytest

from train.data.split import classes_hash
from train.tracking.ranking import Candidate, comparable, format_table, rank, to_prune


def candidate(index: int, top1: float, loss: float = 1.0, **changes: object) -> Candidate:
    settings = {
        "version": f"v{index}",
        "run": f"run{index}",
        "split": "a" * 64,
        "classes": "c",
        "metrics": {"val/top1": top1, "val/loss": loss, "test/top1": 1 - top1},
    } | changes
    return Candidate(**settings)


def test_the_best_validation_figure_wins() -> None:
    found = [candidate(0, 0.7), candidate(1, 0.9, 0.5), candidate(2, 0.8), candidate(10, 0.9, 0.4)]
    random.Random(0).shuffle(found)
    assert [each.version for each in rank(found)] == ["v10", "v1", "v2", "v0"]
    assert [each.version for each in rank(found, "val/loss")][:2] == ["v10", "v1"]
    tied = [candidate(3, 0.9), candidate(2, 0.9)]
    assert rank(tied)[0].version == "v2"
    bare = candidate(4, 0.9, metrics={})
    assert rank([bare, candidate(5, 0.1)])[-1] is bare


def test_test_figures_never_decide() -> None:
    with pytest.raises(ValueError, match="validation"):
        rank([candidate(0, 0.5)], "test/top1")
    with pytest.raises(ValueError, match="there are: val/loss, val/top1"):
        rank([candidate(0, 0.5)], "val/f1")


def test_only_the_same_photos_and_classes_compete() -> None:
    best = candidate(0, 0.5, aliases=("best",))
    same, split = candidate(1, 0.9), candidate(2, 0.95, split="b" * 64)
    classes = candidate(3, 0.99, classes="d")
    assert comparable([best, same, split, classes]) == [best, same]
    assert comparable([best, same, split, classes], "bb") == [split]
    assert comparable([same, split]) == [split]  # nothing is best yet: the newest decides
    assert comparable([]) == []
    for wrong in ("zz", ""):
        with pytest.raises(ValueError, match="there are: aaaaaaaaaaaa, bbbbbbbbbbbb"):
            comparable([best, split], wrong)


def test_prune_keeps_new_and_named_versions() -> None:
    found = [
        candidate(0, 0.1, aliases=("best",)),
        candidate(1, 0.1, aliases=("run-1",)),
        candidate(2, 0.1, aliases=("shown to the board",)),
        candidate(3, 0.1, aliases=("run-3", "v3")),
        candidate(4, 0.1, aliases=("latest", "run-4")),
    ]
    assert [each.version for each in to_prune(found, 1)] == ["v3", "v1"]
    assert [each.version for each in to_prune(found, 0)] == ["v4", "v3", "v1"]
    assert to_prune(found, 5) == []


def test_table_shows_what_decided() -> None:
    found = [candidate(0, 0.5, aliases=("best", "run-x")), candidate(1, 0.9)]
    text = format_table(rank(found), "val/top1")
    lines = text.splitlines()
    assert lines[1].split()[:2] == ["v1", "0.9000"]
    assert "best" in lines[2]
    assert "run-x" not in text


def test_class_hash_depends_on_order() -> None:
    assert classes_hash(["a", "b"]) == classes_hash(("a", "b")) != classes_hash(["b", "a"])
