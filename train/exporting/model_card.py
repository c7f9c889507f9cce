"""Write the model card of a run: what it is, how it was made, where it is weak."""

from pathlib import Path
from typing import Any

from models.files import write_text
from models.model_file.verdict import Thresholds


def describe_known(figures: dict[str, float]) -> str:
    """Say how well the file knows what it does not know, from the manifest's known."""
    passed = (
        "Open-set recognition (is it a known landmark at all?): the threshold accepts 95 % of the "
        "validation photos"
    )
    if not figures:
        return f"{passed}; it was not told what other photos look like."
    return (
        f"{passed}; it learned from {figures['outside_photos']} photos of other things "
        f"(cross-validated AUROC {figures['auroc']:.3f}; of them {figures['fpr95']:.1%} are "
        "accepted where 95 % of the landmarks are)."
    )


def describe_verdicts(thresholds: Thresholds) -> list[str]:
    """Tabulate what each verdict lets pass, as lines of Markdown."""
    if thresholds.sure is None:
        return [
            "No answer of this file is sure: it was exported without enough photos of other things "
            "to measure by.",
            "",
        ]
    counts = thresholds.outside_photos or {}
    lines = [
        "Photos of other things that get a name, of the half that taught nothing:",
        "",
        "| kind | photos | sure | sure or maybe |",
        "|---|---|---|---|",
    ]
    for kind, count in counts.items():
        sure, maybe = (thresholds.passes[verdict][kind] for verdict in ("sure", "maybe"))
        lines.append(f"| {kind} | {count} | {sure:.1%} | {maybe:.1%} |")
    return [*lines, ""]


def write_card(manifest: dict[str, Any], per_class: list[dict[str, Any]], path: Path) -> None:
    """Write Markdown for people, from what the model file itself records.

    Args:
        manifest: The model file's.
        per_class: class, photos, recall, precision on validation photos, the weakest class first.
        path: The .md to write.
    """
    metrics, config = manifest["metrics"], manifest["config"]
    lines = [
        f"# {manifest['name']}",
        "",
        f"Tells {len(manifest['class_names'])} landmarks apart. One TorchScript file, model.pt, "
        "with preprocessing and labels inside; it needs only torch.",
        "",
        "| photos | top-1 | top-5 | loss (nats) | calibration error |",
        "|---|---|---|---|---|",
    ]
    for part, name in (("val", "validation"), ("test", "test")):
        if f"{part}/top1" in metrics:
            figures = " | ".join(
                f"{metrics[f'{part}/{key}']:.4f}" for key in ("top1", "top5", "loss", "ece")
            )
            lines.append(f"| {name}, {metrics[f'{part}/photos']} | {figures} |")
    # Every setting on one line, to be read and searched, not run: paths were left out.
    settings = " ".join(f"{key}={value}" for key, value in config.items() if key != "command")
    weak = ", ".join(
        f"{row['class']} ({row['recall']:.0%} of {row['photos']})"
        for row in per_class[:5]
        if row["recall"] < 1
    )
    start = ""
    if encoder := manifest["training"].get("encoder"):
        start = f"; it started from the encoder {encoder[:12]}, trained without labels"
    lines += [
        "",
        f"Made by `python -m {config['command']}` in {manifest['training']['minutes']} minutes and "
        f"{manifest['training']['epochs']} epochs on {manifest['split']['train_photos']} photos of "
        f"{manifest['data']}; split {manifest['split']['fingerprint'][:12]}{start}.",
        "",
        f"Settings: {settings}.",
        "",
        f"Weakest classes on validation: {weak or 'none below 100 %'}.",
        "",
        f"Temperature {manifest['temperature']:.3f}, fitted on the validation photos. "
        f"{describe_known(manifest['known'])}",
        "",
        *describe_verdicts(Thresholds.from_manifest(manifest)),
        "Do not use it to find people, or where a wrong place does harm. Its licence follows from "
        "those of the photos and of the weights it started from.",
        "",
    ]
    write_text(path, "\n".join(lines))
