"""Scoring a model file on a test folder, and the report of it."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import train.evaluation.variants
from models.command_line import parse_flags
from models.model_file.torchscript import rewrite_manifest
from models.photos import read_photo
from models.predictor import Predictor
from tests.support.drawing import TOY_CLASSES, draw_landmark
from train.evaluate import EvaluateConfig, labelled_photos, main, save_figures
from train.evaluation.corruptions import CORRUPTIONS, corrupt, shrink
from train.evaluation.findings import NOTE, STRENGTH, WEAKNESS, find
from train.evaluation.metrics import (
    bootstrap_difference,
    bootstrap_draws,
    expected_calibration_error,
    macro_f1,
    reliability,
    selective_accuracy,
    wilson_interval,
)
from train.evaluation.plots import cluster, draw_figures
from train.evaluation.predictions import Predictions
from train.evaluation.report import write_evaluation
from train.evaluation.summary import summarise
from train.evaluation.variants import ViewScores, crop_views, score_views, summarise_views


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, name in enumerate(TOY_CLASSES[:3]):
        folder = tmp_path / "photos" / "test" / f"{label}.{name.replace(' ', '_')}"
        folder.mkdir(parents=True)
        for variant in range(3):
            draw_landmark(label, variant).save(folder / f"{variant}.png")
    return tmp_path / "photos"


def test_figures_are_those_of_the_file(
    photos: Path, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (photos / "test" / "0.Red_Tower" / "broken.jpg").write_bytes(b"")
    model = tmp_path / "model.pt"
    shutil.copy(toy_model, model)
    before = Predictor.load(model)
    out, log = tmp_path / "out", tmp_path / "LOG.md"
    config = EvaluateConfig(data=photos, out=out, model=model, record=True, log=log)
    assert main(config) == 0
    hits = sum(
        next(iter(before.classify(path))) == name
        for name in TOY_CLASSES[:3]
        for path in (photos / "test").glob(f"*{name.replace(' ', '_')}/*.png")
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["top1"] == pytest.approx(hits / 9)
    assert metrics["photos"] == 9
    assert len(metrics["unreadable"]) == 1
    low, high = metrics["top1_interval_95"]
    assert low <= metrics["top1"] <= high
    assert len(list(csv.DictReader((out / "photos.csv").read_text().splitlines()))) == 9
    assert "9 photos" in capsys.readouterr().out

    after = Predictor.load(model)
    assert after.digest[:12] in log.read_text()
    assert after.manifest["metrics"]["test/top1"] == metrics["top1"]
    assert after.manifest["metrics"]["val/top1"] == before.manifest["metrics"]["val/top1"]
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 60), dtype=np.uint8)
    assert np.array_equal(after.probabilities(images), before.probabilities(images))


def test_outside_photos_measure_what_the_file_does_not_know(
    photos: Path, toy_model: Path, tmp_path: Path
) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    for number in range(6):
        draw_landmark(5, number).save(outside / f"{number}.png")
    (outside / "7.png").write_bytes(b"no photo")
    config = EvaluateConfig(data=photos, out=out, model=toy_model, outside=(outside,))
    assert main(config) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    rows = list(csv.DictReader((out / "outside.csv").read_text().splitlines()))
    assert {row["photo"] for row in rows} == {"1.png", "3.png", "5.png"}  # half B, from the second
    scores = [float(row["known_score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    predictor = Predictor.load(toy_model)
    surest = predictor.answer(outside / rows[0]["photo"])
    assert surest.known_score == pytest.approx(scores[0], abs=1e-3)
    listed = list(csv.DictReader((out / "photos.csv").read_text().splitlines()))
    known = [float(row["known_score"]) for row in listed]
    wins = sum((a > b) + (a == b) / 2 for a in known for b in scores)
    assert metrics["known"]["auroc"] == pytest.approx(wins / len(known) / len(scores), abs=0.02)
    assert metrics["known"]["accepted"] == 1.0  # the toy model has no threshold
    assert "Not a known landmark" in (out / "report.html").read_text()
    assert metrics["reliability_uncalibrated"] == metrics["reliability"]  # temperature 1
    absent = EvaluateConfig(data=photos, out=out, model=toy_model, outside=(tmp_path / "absent",))
    assert main(absent) == 2


def test_kinds_of_outside_photos_are_told_apart(
    photos: Path, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for kind, count in (("ruins", 4), ("towns/a", 2), ("towns/b", 3), ("single", 1)):
        (tmp_path / "others" / kind).mkdir(parents=True)
        for number in range(count):
            draw_landmark(4, number).save(tmp_path / "others" / kind / f"{number}.png")
    model, out = tmp_path / "model.pt", tmp_path / "out"
    shutil.copy(toy_model, model)
    others, predictor = tmp_path / "others", Predictor.load(model)
    scores = {
        path.relative_to(others).as_posix(): predictor.answer(path)
        for path in others.rglob("*.png")
    }
    half_b = ["ruins/1.png", "ruins/3.png", "towns/b/0.png", "towns/b/1.png", "towns/b/2.png"]
    values = sorted(scores[photo].known_score for photo in half_b)
    thresholds = {"known_threshold": values[1], "verdicts": {"sure_threshold": values[3]}}
    rewrite_manifest(model, predictor.manifest | thresholds)
    config = EvaluateConfig(data=photos, out=out, model=model, outside=(others,))
    assert main(config) == 0
    rows = list(csv.DictReader((out / "outside.csv").read_text().splitlines()))
    assert {row["photo"]: row["kind"] for row in rows} == {
        photo: photo.split("/")[0] for photo in half_b
    }
    assert [row["verdict"] for row in rows] == ["sure", "sure", "maybe", "maybe", "none"]
    assert [row["known"] for row in rows] == ["True"] * 4 + ["False"]
    assert [row["label"] for row in rows] == [scores[row["photo"]].label for row in rows]

    known = json.loads((out / "metrics.json").read_text())["known"]
    assert known["kinds"] == {"ruins": 2, "towns": 3}
    assert known["outside_accepted"] == pytest.approx(4 / 5)
    for verdict, count in (("maybe", 4), ("sure", 2)):
        named = [row for row in rows if row["verdict"] in ("sure", verdict)]
        assert len(named) == count
        assert known["thresholds"][verdict]["passes"] == {
            kind: pytest.approx(sum(row["kind"] == kind for row in named) / size)
            for kind, size in known["kinds"].items()
        }
        classes = known["thresholds"][verdict]["classes"].values()
        assert sum(each["outside_photos"] for each in classes) == count
    said = capsys.readouterr()
    assert "fewer than 20 outside photos to measure on: ruins (2), single (0), towns" in said.err
    assert said.err.count("warning: ") == 1
    assert "R@5" in said.out and "threshold" in said.out
    assert (out / "figures" / "open_set.png").is_file()

    # Several folders: paths are relative to the folder that holds them all.
    several = (others / "towns", others / "ruins")
    assert main(EvaluateConfig(data=photos, out=out, model=model, outside=several)) == 0
    again = list(csv.DictReader((out / "outside.csv").read_text().splitlines()))
    assert again == rows
    for photo in half_b[:2]:
        (others / photo).write_bytes(b"no photo")
    assert main(config) == 1
    assert "none of the 2 photos of 'ruins'" in capsys.readouterr().err


def test_outside_may_be_given_several_times() -> None:
    def parse(*args: str) -> EvaluateConfig:
        return parse_flags(EvaluateConfig, "evaluate", args=["--data", "d", "--out", "o", *args])

    assert parse().outside == ()
    assert parse("--outside", "a").outside == (Path("a"),)
    assert parse("--outside", "a", "--outside", "b").outside == (Path("a"), Path("b"))


def test_mistakes_end_in_one_line(
    photos: Path, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(EvaluateConfig(data=tmp_path / "absent", out=out, model=toy_model)) == 2
    assert main(EvaluateConfig(data=photos, out=out, model=tmp_path / "absent.pt")) == 2
    (tmp_path / "damaged.pt").write_bytes(toy_model.read_bytes()[:500])
    assert main(EvaluateConfig(data=photos, out=out, model=tmp_path / "damaged.pt")) == 2
    (photos / "test" / "9.Unknown_Place").mkdir()
    assert main(EvaluateConfig(data=photos, out=out, model=toy_model)) == 1
    errors = capsys.readouterr().err
    for message in ("no data folder", "no model file", "is no class of this model"):
        assert message in errors


def test_mistakes_are_told_before_anything_is_loaded(
    photos: Path,
    toy_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(Predictor, "load", lambda path: pytest.fail("loaded"))
    right = {"data": photos, "out": tmp_path / "out", "model": toy_model}
    empty = tmp_path / "empty"
    empty.mkdir()
    for message, change in {
        "no data folder at": {"data": tmp_path / "absent"},
        "no model file at": {"model": tmp_path / "absent.pt"},
        "no model.pt in": {"model": empty},
        "no folder of outside photos": {"outside": (tmp_path / "absent",)},
        "no photos in": {"outside": (empty,)},
        "no --severities [6]": {"severities": (1, 6)},
    }.items():
        assert main(EvaluateConfig(**right | change)) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_subfolders_count_as_their_class_and_hidden_entries_do_not(photos: Path) -> None:
    before = labelled_photos(photos, TOY_CLASSES)
    deeper = photos / "test" / "0.Red_Tower" / "2019" / "May"
    deeper.mkdir(parents=True)
    (deeper / "new.jpg").write_bytes(b"")
    for name in ("0.Red_Tower/._0.png", "1.Green_Castle/@eaDir/0.png", ".ipynb_checkpoints/0.png"):
        (photos / "test" / name).parent.mkdir(exist_ok=True)
        (photos / "test" / name).write_bytes(b"")
    found = labelled_photos(photos, TOY_CLASSES)
    assert found == {**before, "test/0.Red_Tower/2019/May/new.jpg": 0}
    assert labelled_photos(photos / "test", TOY_CLASSES).keys() == {
        name.removeprefix("test/") for name in found
    }
    with pytest.raises(ValueError, match="0 class folders"):
        labelled_photos(deeper, TOY_CLASSES)


def scored(
    labels: list[int], guesses: list[int], confidence: float | list[float] = 0.8, classes: int = 6
) -> Predictions:
    """Predictions with these best guesses; the truth comes second where they are wrong."""
    count = len(labels)
    sure = torch.tensor(confidence).expand(count).clone()
    each = torch.arange(count)
    rows = ((1 - sure) * 0.1 / (classes - 1))[:, None].repeat(1, classes)
    truth, guess = torch.tensor(labels), torch.tensor(guesses)
    rows[each, torch.where(truth == guess, (truth + 1) % classes, truth)] += (1 - sure) * 0.9
    rows[each, guess] = 0
    rows[each, guess] = 1 - rows.sum(1)
    names = [f"Place {label}" for label in range(classes)]
    photos = [f"{photo}.png" for photo in range(count)]
    return Predictions(photos, torch.tensor(labels), rows, names)


def random_predictions(count: int = 300, classes: int = 7) -> Predictions:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (count,), generator=generator)
    logits = 2 * torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 2
    names = [f"Place {label}" for label in range(classes)]
    return Predictions([f"{i}.png" for i in range(count)], labels, logits.softmax(1), names)


def test_extras_are_scored_by_the_file_and_everything_is_reported(
    photos: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    original = score_views
    monkeypatch.setattr(
        train.evaluation.variants,
        "score_views",
        lambda *args: kept.append(original(*args)) or kept[0],
    )
    out = tmp_path / "out"
    config = EvaluateConfig(
        data=photos, out=out, model=toy_model, robustness=True, severities=(5, 2), tta=True
    )
    assert main(config) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    names = {path.stem for path in (out / "figures").iterdir()}
    assert names == {"classes", "confusion", "reliability", "rejection", "robustness"}
    rows = list(csv.DictReader((out / "photos.csv").read_text().splitlines()))
    assert {row["correct"] for row in rows} <= {"0", "1"}
    assert all((row["correct"] == "1") == (row["rank"] == "1") for row in rows)
    report = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', report)
    assert "Strengths and weaknesses" in report

    [scores] = kept
    predictor = Predictor.load(toy_model)
    position = scores.photos[4]
    path = sorted((photos / "test").glob("*/*.png"))[position]
    image = read_photo(path)
    images = [view.transpose(2, 0, 1) for view in crop_views(image)]
    views = [predictor.probabilities(np.ascontiguousarray(each)) for each in images]
    assert np.allclose(scores.plain[4], views[0], atol=1e-5)
    assert np.allclose(scores.averaged[4], np.mean(views, 0), atol=1e-5)
    name = path.relative_to(photos).as_posix()
    worse = corrupt(shrink(image), "noise", 2, name).transpose(2, 0, 1)
    assert np.allclose(scores.corrupted["noise", 2][4], predictor.probabilities(worse), atol=1e-5)

    measured = metrics["robustness"]
    assert set(measured["corruptions"]) == set(CORRUPTIONS)
    assert list(measured["corruptions"]["blur"]) == ["2", "5"]
    assert measured["clean"]["top1"] == metrics["top1"] == metrics["tta"]["without"]["top1"]
    top1 = (scores.averaged.argmax(1) == torch.tensor(scores.photos) // 3).float().mean().item()
    assert metrics["tta"]["with"]["top1"] == pytest.approx(top1)
    assert metrics["tta"]["cost_factor"] > 1


def test_views_are_the_photo_its_corners_and_middle_mirrored() -> None:
    image = np.arange(16 * 32 * 3, dtype=np.uint8).reshape(16, 32, 3)
    views = crop_views(image)
    assert len(views) == 12
    assert np.array_equal(views[1], image[:, ::-1])
    assert {view.shape for view in views[2:]} == {(16, 28, 3)}  # never under 16 px
    assert np.array_equal(views[4], image[:, 4:])
    assert np.array_equal(views[10], image[:, 2:30])


def test_ctrl_c_keeps_what_was_scored(
    photos: Path,
    toy_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    calls = []

    def interrupted(*args: object) -> np.ndarray:
        calls.append(args)
        if len(calls) > 3 * len(CORRUPTIONS):
            raise KeyboardInterrupt
        return corrupt(*args)

    monkeypatch.setattr(train.evaluation.variants, "corrupt", interrupted)
    out = tmp_path / "out"
    config = EvaluateConfig(data=photos, out=out, model=toy_model, robustness=True, severities=(1,))
    assert main(config) == 130
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["photos"], metrics["views_missing"]) == (9, 6)
    assert metrics["robustness"]["photos"] == 3
    assert "3 photos" in (out / "report.html").read_text()

    def at_once(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "measure", at_once)
    assert main(EvaluateConfig(data=photos, out=tmp_path / "none", model=toy_model)) == 130
    assert "stopped before the report" in capsys.readouterr().err
    assert main(EvaluateConfig(data=photos, out=out, model=toy_model, severities=(0, 3))) == 2
    assert "no --severities [0]" in capsys.readouterr().err


def draw_photos(predictions: Predictions, folder: Path) -> None:
    folder.mkdir()
    for photo, label in zip(predictions.photos, predictions.labels.tolist(), strict=True):
        draw_landmark(label, 0, (40, 30)).save(folder / photo)


@pytest.mark.parametrize(
    "predictions",
    [
        scored([0], [0]),
        scored([0], [1]),
        scored([0, 1, 2] * 3, [0, 1, 2] * 3),
        scored([0, 1, 2] * 3, [1, 2, 0] * 3),
        scored([0, 1] * 4, [0, 1] * 4, 1.0, classes=2),
        scored(list(range(24)), [*range(23), 0], classes=24),  # from 21 on, labels stand above, too
    ],
    ids=["one right", "one wrong", "all right", "all wrong", "two classes, certain", "24 classes"],
)
def test_a_report_of_every_kind_of_result(predictions: Predictions, tmp_path: Path) -> None:
    data, path = tmp_path / "photos", tmp_path / "report.html"
    draw_photos(predictions, data)
    metrics = {**summarise(predictions), "model": "0" * 64, "name": "toy", "unreadable": []}
    json.dumps(metrics, allow_nan=False)
    figures = save_figures(draw_figures(predictions, metrics), tmp_path / "figures")
    write_evaluation(path, data, predictions, metrics, figures)
    report = path.read_text()
    wrong = int((~predictions.right()).sum())
    assert ("Confident mistakes" in report) == ("Most confused pairs" in report) == bool(wrong)
    absent = len(predictions.class_names) - len(predictions.labels.unique())
    assert (f"No photos of {absent} of" in report) == bool(absent)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    plain = scored([0, 1], [1, 1], classes=3)
    names = ["<script>alert(1)</script>", 'A & "B"', "$x_$"]
    predictions = Predictions(plain.photos, plain.labels, plain.probabilities, names)
    data, path = tmp_path / "<b>photos", tmp_path / "report.html"
    draw_photos(predictions, data)
    metrics = summarise(predictions)
    metrics |= {"model": "0" * 64, "name": "<i>toy", "unreadable": ["<u>broken.jpg is empty"]}
    figures = save_figures(draw_figures(predictions, metrics), tmp_path / "figures")
    write_evaluation(path, data, predictions, metrics, figures)
    report = path.read_text()
    for markup in ("<script>", "<b>photos", "<i>toy", "<u>broken", '"B"'):
        assert markup not in report
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report


def test_sentences_follow_the_numbers() -> None:
    labels = [label for label in range(6) for _ in range(20)]

    def sentences(guesses: list[int], confidence: float | list[float]) -> dict[str, list[str]]:
        return find(summarise(scored(labels, guesses, confidence)))

    def has(lines: list[str], start: str) -> bool:
        return any(line.startswith(start) for line in lines)

    good = sentences(labels, 0.99)
    assert has(good[STRENGTH], "No mistake in 120 photos")
    assert has(good[STRENGTH], "Every photo of 6 of 6 classes")
    assert not has(good[WEAKNESS], "Most confused")

    # Class 3 is always taken for 4, with little confidence.
    guesses = [4 if label == 3 else label for label in labels]
    one = sentences(guesses, [0.5 if label == 3 else 0.95 for label in labels])
    assert has(one[WEAKNESS], "Most confused: Place 3 is taken for Place 4 in 20 photos of 20; ")
    assert has(one[WEAKNESS], "Least recognised: Place 3, 0 of 20 photos")
    assert has(one[WEAKNESS], "Clearly below the average")
    assert has(one[WEAKNESS], "The answer to trust least: Place 4, right in 20 of 40 guesses")
    assert has(one[STRENGTH], "Leaving the least certain 10 % unanswered")
    assert has(one[STRENGTH], "No mistake is made with a confidence of 90 % or more")
    assert has(one[STRENGTH], "Where the best guess is wrong, the truth is among the five best")

    # The same mistakes, made with confidence: rejecting does not find them.
    sure = sentences(guesses, [0.99 if label == 3 else 0.9 for label in labels])
    assert has(sure[WEAKNESS], "Made with a confidence of 90 % or more: 20 mistakes of 20 (100 %)")
    assert has(sure[WEAKNESS], "Leaving the least certain 10 % unanswered")
    assert has(sure[WEAKNESS], "Overconfident")
    assert has(sentences(guesses, 0.55)[WEAKNESS], "Underconfident")

    # One mistake a class: no class is special, and 5 of 6 pairs hold most of them.
    spread = [(label + 1) % 6 if i % 20 == 0 else label for i, label in enumerate(labels)]
    even = sentences(spread, 0.95)
    assert has(even[NOTE], "No class differs from the average beyond chance")
    assert has(even[STRENGTH], "Well calibrated")
    assert has(even[STRENGTH], "Best recognised: Place 0, 19 of 20 photos (95 %")


def test_single_mistakes_do_not_make_a_pair_or_a_bad_answer() -> None:
    # Place 5 is guessed once, and wrongly; Place 0 often.
    labels = [label for label in range(5) for _ in range(20)]
    apart = list(labels)
    apart[0], apart[20], apart[40] = 1, 2, 3
    found = find(summarise(scored(labels, apart)))
    assert any(line.startswith("No pair of classes is confused twice") for line in found[NOTE])
    assert not any("Most confused" in line for line in found[WEAKNESS])
    guesses = list(labels)
    guesses[99] = 5
    guesses[20:80:5] = [0] * 12
    found = find(summarise(scored(labels, guesses)))
    assert any("trust least: Place 0, right in 20 of 32" in line for line in found[WEAKNESS])


def with_views(before: list[bool], averaged: list[bool], dark: list[bool]) -> dict[str, list[str]]:
    """Sentences on views of 100 photos of one class that were right or not."""
    labels = [0] * 100

    def guesses(right: list[bool]) -> Tensor:
        return scored(labels, [int(not each) for each in right]).probabilities

    predictions = scored(labels, [int(not each) for each in before])
    worse = {name: dark if name == "darkness" else before for name in CORRUPTIONS}
    scores = ViewScores(
        photos=list(range(100)),
        plain=guesses(before),
        averaged=guesses(averaged),
        plain_seconds=0.01,
        averaged_seconds=0.1,
        clean=guesses(before),
        corrupted={(name, 5): guesses(right) for name, right in worse.items()},
    )
    return find(summarise(predictions) | summarise_views(scores, predictions))


def test_sentences_on_views_follow_the_numbers() -> None:
    most, half, all_right = (
        [i >= 10 for i in range(100)],
        [i >= 50 for i in range(100)],
        [True] * 100,
    )
    found = with_views(most, all_right, half)
    harm = "Of bad photos, darkness harms most: top-1 falls from 90.0 % to 50.0 % at severity 5"
    assert any(harm in line for line in found[WEAKNESS])
    assert any("at most 2 points are lost to blur" in line for line in found[STRENGTH])
    assert any("12 views of each photo gains 10.0 points" in line for line in found[NOTE])
    assert any("at 10.0 times the time" in line for line in found[NOTE])
    found = with_views(most, half, most)
    assert "None of the corruptions lowers top-1 beyond chance." in found[STRENGTH]
    assert any("loses 40.0 points" in line for line in found[NOTE])
    found = with_views(most, [i >= 9 for i in range(100)], most)
    assert any("gains nothing beyond chance: +1.0 points" in line for line in found[NOTE])


def test_confused_classes_stand_side_by_side() -> None:
    confusion = np.diag([10] * 8)
    for a, b in ((0, 5), (2, 7), (1, 6)):
        confusion[a, b], confusion[b, a] = 4, 2
    order = cluster(confusion)
    assert sorted(order) == list(range(8))
    for a, b in ((0, 5), (2, 7), (1, 6)):
        assert abs(order.index(a) - order.index(b)) == 1


def test_summary_counts_what_is_there() -> None:
    # Place 2: two of four taken for 0; one 0 taken for 2; 1 always right; 3 to 5 absent.
    summary = summarise(scored([0, 0, 1, 2, 2, 2, 2], [0, 2, 1, 2, 2, 0, 0]))
    assert summary["confused_pairs"] == [
        {"classes": ["Place 2", "Place 0"], "photos": [4, 2], "mistakes": [2, 1]}
    ]
    rows = {row["class"]: row for row in summary["classes"]}
    assert (rows["Place 2"]["taken_for"], rows["Place 2"]["taken_for_photos"]) == ("Place 0", 2)
    assert rows["Place 2"]["precision"] == pytest.approx(2 / 3)
    assert rows["Place 2"]["f1"] == pytest.approx(4 / 7)
    assert summary["macro_f1"] == pytest.approx((2 / 5 + 1 + 4 / 7) / 3)
    assert summary["macro_recall"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert (summary["mistakes"], summary["mistakes_in_top5"]) == (3, 3)
    assert summary["recall_per_class"].keys() == {"Place 0", "Place 1", "Place 2"}


def test_bootstrap_draws_are_the_figures_of_resampled_photos() -> None:
    predictions = random_predictions()
    probabilities, labels = predictions.probabilities, predictions.labels
    drawn = bootstrap_draws(probabilities, labels, draws=4, seed=3)
    counts = np.random.default_rng(3).multinomial(300, np.full(300, 1 / 300), 4)
    for draw, count in enumerate(counts):
        each = torch.arange(300).repeat_interleave(torch.tensor(count))
        some, truth = probabilities[each], labels[each]
        assert drawn["macro_f1"][draw] == pytest.approx(macro_f1(some, truth), abs=1e-6)
        ece = expected_calibration_error(some, truth)
        assert drawn["ece"][draw] == pytest.approx(ece, abs=1e-5)
        gap = some.max(1).values.mean() - (some.argmax(1) == truth).float().mean()
        assert drawn["overconfidence"][draw] == pytest.approx(gap.item(), abs=1e-5)


def test_reliability_adds_up_to_the_calibration_error() -> None:
    predictions = random_predictions()
    rows = reliability(predictions.probabilities, predictions.labels)
    assert sum(row["photos"] for row in rows) == 300
    gaps = sum(row["photos"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / 300
    ece = expected_calibration_error(predictions.probabilities, predictions.labels)
    assert gaps == pytest.approx(ece, abs=1e-5)


def test_rejecting_starts_with_the_least_confident() -> None:
    predictions = scored([0, 0, 0, 0], [1, 0, 0, 1], [0.7, 0.9, 0.8, 0.6])
    accuracies = selective_accuracy(predictions.probabilities, predictions.labels)
    assert accuracies.tolist() == pytest.approx([1, 1, 2 / 3, 1 / 2])
    summary = summarise(predictions)
    assert summary["aurc"] == pytest.approx(1 - (1 + 1 + 2 / 3 + 1 / 2) / 4)
    half = next(row for row in summary["rejection"] if row["rejected"] == 0.5)
    assert (half["accuracy"], half["least_confidence"]) == (1, pytest.approx(0.8))


def test_intervals_hold_what_they_should() -> None:
    before = torch.arange(1000) < 900
    low, high = bootstrap_difference(before, before)
    assert low == high == 0
    low, high = bootstrap_difference(before, torch.arange(1000) < 920)
    assert 0.01 < low < 0.02 < high < 0.03
    # As a textbook has it: none of ten, up to 28 %.
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)
