"""Hold what a model says of labelled photos: table, confusion, classes, worst mistakes."""

import csv
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from models.photos import read_photo
from train.data.split import classes_hash
from train.evaluation.metrics import classification_metrics, expected_calibration_error, macro_f1


@dataclass(frozen=True)
class Predictions:
    """Hold probabilities and truth of N photos.

    Attributes:
        photos: N paths, as shown to people.
        labels: (N,) int64, the truth.
        probabilities: (N, K) float32.
        class_names: K labels.
        logits: (N, K) float32 before calibration; None where they were not kept.
        known_scores: (N,) float32; None where they were not kept.
    """

    photos: list[str]
    labels: Tensor
    probabilities: Tensor
    class_names: list[str]
    logits: Tensor | None = None
    known_scores: Tensor | None = None

    def uncalibrated(self) -> "Predictions":
        """Return the same predictions before calibration.

        Raises:
            ValueError: The logits were not kept.
        """
        if self.logits is None:
            raise ValueError("these predictions have no logits")
        return dataclasses.replace(self, probabilities=self.logits.softmax(1))

    def metrics(self) -> dict[str, float]:
        """Return loss in nats, top1, top5 and macro_f1."""
        # A probability may underflow to 0: the loss stays finite.
        figures = classification_metrics(self.probabilities.clamp(min=1e-12).log(), self.labels)
        return {**figures, "macro_f1": macro_f1(self.probabilities, self.labels)}

    def figures(self) -> dict[str, float]:
        """Return the metrics and ece.

        ece is kept out of metrics, since train.promote may rank by any metric and takes higher as
        better.
        """
        ece = expected_calibration_error(self.probabilities, self.labels)
        return {**self.metrics(), "ece": ece}

    def right(self) -> Tensor:
        """Return (N,) bool: whether the best guess is the truth."""
        return self.probabilities.argmax(1) == self.labels

    def confusion(self) -> np.ndarray:
        """Return (K, K) int64 counts: rows the truth, columns the best guess."""
        from sklearn.metrics import confusion_matrix

        classes = range(len(self.class_names))
        return confusion_matrix(self.labels, self.probabilities.argmax(1), labels=list(classes))

    def per_class(self) -> list[dict[str, str | int | float]]:
        """Return photos, recall, precision and F1 of each class, the lowest recall first."""
        confusion = self.confusion()
        truth, guessed, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
        rows = [
            {
                "class": name,
                "photos": int(truth[label]),
                "recall": float(right[label] / max(1, truth[label])),
                "precision": float(right[label] / max(1, guessed[label])),
                "f1": float(2 * right[label] / max(1, truth[label] + guessed[label])),
            }
            for label, name in enumerate(self.class_names)
        ]
        return sorted(rows, key=lambda row: (row["recall"], row["precision"]))

    def best(self, photo: int, k: int = 5) -> list[tuple[str, float]]:
        """Return the k likeliest labels of one photo with their probabilities, best first."""
        values, indices = self.probabilities[photo].topk(min(k, len(self.class_names)))
        names = [self.class_names[index] for index in indices.tolist()]
        return list(zip(names, values.tolist(), strict=True))

    def worst_mistakes(self, count: int = 24) -> list[int]:
        """Return photos with a wrong best guess, lowest probability of the truth first."""
        wrong = (~self.right()).nonzero().flatten()
        truth = self.probabilities[wrong, self.labels[wrong]]
        return wrong[truth.argsort()][:count].tolist()

    def confident_mistakes(self) -> list[int]:
        """Return photos with a wrong best guess, the most confident first."""
        wrong = (~self.right()).nonzero().flatten()
        confidences = self.probabilities[wrong].max(1).values
        return wrong[confidences.argsort(descending=True, stable=True)].tolist()

    def of_class(self, name: str, other: str) -> list[int]:
        """Return photos of a class: those taken for the other, then the right ones, then the rest.

        Within each of the three, the most confident come first.
        """
        label, mistaken = self.class_names.index(name), self.class_names.index(other)
        confidences, guesses = self.probabilities.max(1)
        # A confidence is at most 1: half of it orders photos within their group only.
        ranks = 2 * (guesses == mistaken) + (guesses == label) + confidences / 2
        photos = (self.labels == label).nonzero().flatten()
        return photos[ranks[photos].argsort(descending=True, stable=True)].tolist()

    def show_mistakes(self, root: Path) -> Iterator[tuple[str, Image.Image, str, str]]:
        """Yield the worst mistakes for people: path, small picture, truth, five best.

        Args:
            root: Folder of the photos.
        """
        for photo in self.worst_mistakes():
            picture = Image.fromarray(read_photo(root / self.photos[photo], 192))
            picture.thumbnail((256, 256))
            best = ", ".join(f"{name} {value:.0%}" for name, value in self.best(photo))
            yield self.photos[photo], picture, self.class_names[self.labels[photo]], best

    def write_csv(self, path: Path) -> None:
        """Write a line per photo: label, its rank, the five best, correct, label_probability.

        known_score is the last column where it was kept.
        """
        truth = self.probabilities.gather(1, self.labels[:, None])
        # Ties do not push the truth back: a photo that is right has rank 1.
        ranks = ((self.probabilities > truth).sum(1) + 1).tolist()
        count = min(5, len(self.class_names))
        pairs = [f"{what}_{i}" for i in range(1, count + 1) for what in ("label", "probability")]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            scores = [] if self.known_scores is None else self.known_scores.tolist()
            extra = ["known_score"] if scores else []
            header = ["photo", "label", "rank", *pairs, "correct", "label_probability", *extra]
            writer.writerow(header)
            right = self.right().int().tolist()
            for photo, name in enumerate(self.photos):
                best = [
                    cell for label, p in self.best(photo, count) for cell in (label, f"{p:.4f}")
                ]
                label, share = self.class_names[self.labels[photo]], f"{truth[photo].item():.4f}"
                known = [f"{scores[photo]:.4f}"] if scores else []
                writer.writerow([name, label, ranks[photo], *best, right[photo], share, *known])


@dataclass(frozen=True)
class Results:
    """Hold what a finished training has beside its curves.

    Attributes:
        predictions: What the model file says of the validation photos.
        root: The data folder.
        manifest: The model file's.
        sha256: The model file's, hex.
    """

    predictions: Predictions
    root: Path
    manifest: dict[str, Any]
    sha256: str

    def metadata(self) -> dict[str, Any]:
        """Return the model's metadata in W&B, which train.tracking.ranking compares."""
        return {
            **self.manifest["metrics"],
            "run": self.manifest["name"],
            "split": self.manifest["split"]["fingerprint"],
            "classes": classes_hash(self.manifest["class_names"]),
            "class_count": len(self.manifest["class_names"]),
            "sha256": self.sha256,
        }
