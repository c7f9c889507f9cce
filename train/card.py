"""The model card of a run: what it is, how it was made, where it is weak."""

from pathlib import Path
from typing import Any

from train.checkpoint import write_text


def write_card(manifest: dict[str, Any], per_class: list[dict[str, Any]], path: Path) -> None:
    """Markdown for people, from what the model file itself records.

    Args:
        manifest: Of the model file.
        per_class: class, photos, recall, precision, the weakest first; on validation photos.
        path: The .md to write.
    """
    metrics, config = manifest["metrics"], manifest["config"]
    lines = [
        f"# {manifest['name']}",
        "",
        f"Tells {len(manifest['class_names'])} landmarks apart. One TorchScript file, model.pt, "
        "with preprocessing and labels inside; it needs torch alone.",
        "",
        "| photos | top-1 | top-5 | loss (nats) |",
        "|---|---|---|---|",
    ]
    for part, name in (("val", "validation"), ("test", "test")):
        if f"{part}/top1" in metrics:
            figures = " | ".join(
                f"{metrics[f'{part}/{key}']:.4f}" for key in ("top1", "top5", "loss")
            )
            lines.append(f"| {name}, {metrics[f'{part}/photos']} | {figures} |")
    settings = " ".join(f"{key}={value}" for key, value in config.items() if key != "command")
    weak = ", ".join(
        f"{row['class']} ({row['recall']:.0%} of {row['photos']})"
        for row in per_class[:5]
        if row["recall"] < 1
    )
    encoder = manifest["training"].get("encoder")
    start = (
        f"; it started from the encoder {encoder[:12]}, trained without labels" if encoder else ""
    )
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
        "It names one of its landmarks for every photo, also where none of them is shown. Do not "
        "use it to find people, or where a wrong place does harm. Its licence follows that of the "
        "photos and of the weights it started from.",
        "",
    ]
    write_text(path, "\n".join(lines))
