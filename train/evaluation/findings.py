"""Say what a scored model is good and bad at, in sentences from the figures of metrics.json."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from train.evaluation.metrics import wilson_interval
from train.evaluation.phrases import SHOWN, name_some, percent, plural, span
from train.evaluation.summary import CONFIDENT

STRENGTH, WEAKNESS, NOTE = "strength", "weakness", "note"


class Finding(NamedTuple):
    """Hold a sentence, and whether it is a strength, a weakness or a note."""

    kind: str
    sentence: str


def find(metrics: dict[str, Any]) -> dict[str, list[str]]:
    """Make the sentences on a scoring.

    Args:
        metrics: What metrics.json holds.

    Returns:
        strength, weakness and note -> sentences.
    """
    rules: list[Callable[[dict[str, Any]], Iterator[Finding]]] = [
        judge_classes,
        judge_mistakes,
        judge_guesses,
        judge_calibration,
        judge_rejection,
        judge_robustness,
        judge_views,
        judge_sample,
    ]
    found: dict[str, list[str]] = {STRENGTH: [], WEAKNESS: [], NOTE: []}
    for rule in rules:
        for kind, sentence in rule(metrics):
            found[kind].append(sentence)
    return found


def judge_classes(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say which classes are recognised, and whether their differences are more than chance."""
    rows = [row for row in metrics["classes"] if row["photos"]]
    # The most photos first: a class of two photos is easily perfect.
    perfect = sorted((row for row in rows if row["recall"] == 1), key=lambda row: -row["photos"])
    if perfect:
        names = name_some([f"{row['class']} ({row['photos']})" for row in perfect])
        yield Finding(
            STRENGTH,
            f"Every photo of {len(perfect)} of {plural(len(rows), 'class')} is recognised: "
            f"{names}.",
        )
    else:
        best = max(rows, key=lambda row: (row["recall"], row["photos"]))
        if best["right"]:
            yield Finding(STRENGTH, f"Best recognised: {describe_recall(best)}.")
    worst = min(rows, key=lambda row: (row["recall"], -row["photos"]))
    if worst["recall"] < 1:
        taken = ""
        if worst["taken_for_photos"] > 1:
            taken = f"; most often taken for {worst['taken_for']} ({worst['taken_for_photos']})"
        yield Finding(WEAKNESS, f"Least recognised: {describe_recall(worst)}{taken}.")
    if len(rows) < 2:
        return  # one class is the average
    low, high = differing_classes(rows, metrics["top1"])
    rule = f"binomial tests against {percent(metrics['top1'])}, 5 % shared by all classes"
    for kind, some, side in ((WEAKNESS, low, "below"), (STRENGTH, high, "above")):
        if some:
            names = name_some([f"{row['class']} ({percent(row['recall'], 0)})" for row in some])
            yield Finding(kind, f"Clearly {side} the average, beyond chance ({rule}): {names}.")
    if not low and not high:
        middle = sorted(row["photos"] for row in rows)[len(rows) // 2]
        yield Finding(
            NOTE,
            f"No class differs from the average beyond chance ({rule}). With some "
            f"{plural(middle, 'photo')} a class, their order in the table is mostly noise.",
        )


def describe_recall(row: dict[str, Any]) -> str:
    """Say how many photos of a class are recognised."""
    return (
        f"{row['class']}, {row['right']} of {plural(row['photos'], 'photo')} "
        f"({percent(row['recall'], 0)}, {span(row['recall_interval_95'])})"
    )


def differing_classes(rows: list[dict], average: float) -> tuple[list[dict], list[dict]]:
    """Find the classes whose recall is below or above the average by more than chance.

    Two-sided binomial tests; 5 % is shared by all classes (Bonferroni), so that with many classes
    the unluckiest does not look special.
    """
    from scipy.stats import binomtest

    differing = [
        row
        for row in rows
        if binomtest(row["right"], row["photos"], average).pvalue < 0.05 / len(rows)
    ]
    low = [row for row in differing if row["recall"] < average]
    return low, [row for row in differing if row["recall"] > average]


def judge_mistakes(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say which classes are confused, and how near the mistakes are."""
    mistakes, photos = metrics["mistakes"], metrics["photos"]
    if not mistakes:
        low, _ = wilson_interval(photos, photos)
        yield Finding(
            STRENGTH,
            f"No mistake in {plural(photos, 'photo')}, which leaves room for an accuracy of "
            f"{percent(low)} (Wilson's 95 % interval).",
        )
        return
    pairs = metrics["confused_pairs"]
    (first, second), (there, back) = pairs[0]["classes"], pairs[0]["mistakes"]
    share = percent((there + back) / mistakes, 0)
    returned = f", the other way round in {back} of {pairs[0]['photos'][1]}" if back else ""
    # One mistake among many is no pattern; a model's only mistake is worth naming.
    if there + back > 1 or mistakes == 1:
        yield Finding(
            WEAKNESS,
            f"Most confused: {first} is taken for {second} in {plural(there, 'photo')} of "
            f"{pairs[0]['photos'][0]}{returned}; that is {share} of all mistakes.",
        )
    else:
        yield Finding(NOTE, f"No pair of classes is confused twice, in {mistakes} mistakes.")
    top = sum(sum(pair["mistakes"]) for pair in pairs[:SHOWN])
    if mistakes >= 10 and len(pairs) > SHOWN:  # fewer say nothing about a pattern
        where = "concentrate on few pairs" if top >= mistakes / 2 else "are spread over many pairs"
        yield Finding(
            NOTE,
            f"Mistakes {where}: the {SHOWN} most confused make up {percent(top / mistakes, 0)} "
            f"of {mistakes}.",
        )
    if len(metrics["classes"]) > 5:  # else the truth is among the five best of necessity
        near = metrics["mistakes_in_top5"]
        kind = STRENGTH if 2 * near >= mistakes else WEAKNESS
        yield Finding(
            kind,
            f"Where the best guess is wrong, the truth is among the five best in {near} of "
            f"{plural(mistakes, 'photo')} ({percent(near / mistakes, 0)}).",
        )


def judge_guesses(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say which answer deserves the least trust."""
    guessed = [row for row in metrics["classes"] if row["guesses"]]
    # By the upper end of the interval: a class guessed once, and wrongly, says little.
    least = min(guessed, key=lambda row: wilson_interval(row["right"], row["guesses"])[1])
    if least["precision"] < 1:
        yield Finding(
            WEAKNESS,
            f"The answer to trust least: {least['class']}, right in {least['right']} of "
            f"{plural(least['guesses'], 'guess')} ({percent(least['precision'], 0)}).",
        )


def judge_calibration(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say whether the model is well calibrated."""
    low, high = metrics["intervals_95"]["overconfidence"]
    said = (
        f"it is {percent(metrics['mean_confidence'])} sure on average and right in "
        f"{percent(metrics['top1'])} (difference {100 * metrics['overconfidence']:+.1f} points, "
        f"{span((low, high), 'points')}; ECE {percent(metrics['ece'])})"
    )
    if low > 0:
        yield Finding(WEAKNESS, f"Overconfident: {said}.")
    elif high < 0:
        yield Finding(WEAKNESS, f"Underconfident: {said}.")
    else:
        yield Finding(STRENGTH, f"Well calibrated, as far as these photos tell: {said}.")


def judge_rejection(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say whether low confidence gives mistakes away."""
    mistakes, photos = metrics["mistakes"], metrics["photos"]
    if not mistakes:
        return
    sure, limit = metrics["confident_mistakes"], percent(CONFIDENT, 0)
    if sure:
        yield Finding(
            WEAKNESS,
            f"Made with a confidence of {limit} or more: {plural(sure, 'mistake')} of {mistakes} "
            f"({percent(sure / mistakes, 0)}).",
        )
    else:
        yield Finding(STRENGTH, f"No mistake is made with a confidence of {limit} or more.")
    # The entry of 10 %, which may round down to 9.1 % of few photos.
    row = next(row for row in metrics["rejection"] if row["rejected"] >= 0.09 or photos < 10)
    if photos < 10 or mistakes == photos:
        return
    # Mistakes among the photos that are still answered, from the accuracy on these.
    left = round((1 - row["rejected"]) * photos)
    caught = 1 - (left - round(row["accuracy"] * left)) / mistakes
    kind = STRENGTH if caught >= 2 * row["rejected"] else WEAKNESS
    yield Finding(
        kind,
        f"Leaving the least certain {percent(row['rejected'], 0)} unanswered (confidence below "
        f"{percent(row['least_confidence'], 0)}) takes top-1 from {percent(metrics['top1'])} to "
        f"{percent(row['accuracy'])}: {percent(caught, 0)} of the mistakes go, where chance would "
        f"take {percent(row['rejected'], 0)}.",
    )


def judge_robustness(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say which bad photos the model copes with."""
    if "robustness" not in metrics:
        return
    measured = metrics["robustness"]
    clean = measured["clean"]["top1"]
    # Each corruption at its highest severity, which comes last.
    hardest = {name: list(rows.items())[-1] for name, rows in measured["corruptions"].items()}
    worst = min(hardest, key=lambda name: hardest[name][1]["top1"])
    severity, row = hardest[worst]
    low, high = row["top1_change_interval_95"]
    if high < 0:
        yield Finding(
            WEAKNESS,
            f"Of bad photos, {worst} harms most: top-1 falls from {percent(clean)} to "
            f"{percent(row['top1'])} at severity {severity} ({row['strength']}; "
            f"{span((low, high), 'points')}).",
        )
    else:
        yield Finding(STRENGTH, "None of the corruptions lowers top-1 beyond chance.")
    # "Hardly" only means something beside a corruption that does harm.
    hardly = [name for name, (_, each) in hardest.items() if clean - each["top1"] <= 0.02]
    if hardly and high < 0:
        yield Finding(
            STRENGTH, f"At severity {severity} at most 2 points are lost to {name_some(hardly)}."
        )
    yield Finding(
        NOTE,
        f"Over all corruptions and severities, top-1 is {percent(measured['mean_top1'])} on "
        f"average, against {percent(clean)} on the same {plural(measured['photos'], 'photo')} "
        "untouched.",
    )


def judge_views(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say whether averaging views is worth its time."""
    if "tta" not in metrics:
        return
    tta = metrics["tta"]
    low, high = tta["top1_gain_interval_95"]
    gain = tta["with"]["top1"] - tta["without"]["top1"]
    # Only an interval on one side of zero is called a gain or a loss.
    verdict, size = "gains nothing beyond chance:", f"{100 * gain:+.1f}"
    if low > 0 or high < 0:
        verdict, size = "gains" if low > 0 else "loses", f"{abs(100 * gain):.1f}"
    yield Finding(
        NOTE,
        f"Averaging {tta['views']} views of each photo {verdict} {size} points of top-1 "
        f"({span((low, high), 'points')}), at {tta['cost_factor']:.1f} times the time.",
    )


def judge_sample(metrics: dict[str, Any]) -> Iterator[Finding]:
    """Say what the photos cannot tell."""
    low, high = metrics["top1_interval_95"]
    if metrics["mistakes"]:
        yield Finding(
            NOTE,
            f"With {plural(metrics['photos'], 'photo')}, the interval of top-1 spans "
            f"{100 * (high - low):.1f} points; less than that between two models may be chance.",
        )
    if metrics.get("views_missing"):
        yield Finding(
            NOTE,
            f"Stopped early: views of {plural(metrics['views_missing'], 'photo')} are missing; the "
            "others are a fair sample, drawn at random.",
        )
    absent = [row["class"] for row in metrics["classes"] if not row["photos"]]
    if absent:
        yield Finding(
            NOTE,
            f"No photos of {len(absent)} of {plural(len(metrics['classes']), 'class')}, so nothing "
            f"is known of them: {name_some(absent)}.",
        )
