"""Find labels that look wrong, by a classifier on frozen features and photos it has not seen."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.model_file.preprocess import Preprocess
from models.model_file.resize import resize_images
from models.networks.pretrained import build_pretrained, normalisation
from models.photos import read_photo

SIDE_PX = 224
FOLDS = 5
BATCH = 32


@dataclass(frozen=True)
class Suspicion:
    """Record a label that is probably wrong.

    Attributes:
        path: The photo, relative to the data folder.
        label: The label by its folder.
        instead: The classifier's label.
        quality: Out-of-fold probability of the folder's label; low is suspicious.
    """

    path: str
    label: str
    instead: str
    quality: float


@torch.inference_mode()
def frozen_features(data: Path, paths: list[str]) -> np.ndarray:
    """Return (N, D) float32 features of the default backbone with ImageNet weights, at 224 px.

    Raises:
        BackboneError: The weights are neither cached nor to be had.
    """
    backbone = build_pretrained("tf_efficientnet_lite0", 0).eval()
    backbone = backbone.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in normalisation(backbone))
    preprocess = Preprocess(SIDE_PX, SIDE_PX)
    batches = []
    for first in tqdm(range(0, len(paths), BATCH), "features", unit="batch"):
        squares = []
        for path in paths[first : first + BATCH]:
            photo = torch.tensor(read_photo(data / path, SIDE_PX)).permute(2, 0, 1)[None]
            square = resize_images(photo, preprocess.resize_px, preprocess.crop_px, pad=False)
            squares.append(square)
        images = (torch.cat(squares) / 255 - mean) / std
        with torch.autocast("cpu", torch.bfloat16, torch.cpu._is_avx512_bf16_supported()):
            batches.append(backbone(images.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(batches).numpy()


def suspect_labels(data: Path, labelled: list[tuple[str, str]], seed: int) -> list[Suspicion]:
    """Find labels that are probably wrong (confident learning, Northcutt et al. 2021; cleanlab).

    Args:
        data: The data folder.
        labelled: (path, label) of each photo; classes with a single photo are skipped.
        seed: Seed of the folds.

    Returns:
        Suspicions, the most suspicious first.

    Raises:
        BackboneError: The weights are neither cached nor to be had.
    """
    from cleanlab.filter import find_label_issues
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = Counter(label for _, label in labelled)
    labelled = [each for each in labelled if count[each[1]] >= 2]
    names = sorted({label for _, label in labelled})
    labels = np.array([names.index(label) for _, label in labelled])
    # Frozen features of ImageNet, since a network trained on these labels would learn the errors.
    features = frozen_features(data, [path for path, _ in labelled])
    smallest = int(np.bincount(labels).min())
    # Out of fold: a classifier that saw a photo with its wrong label would repeat the error.
    folds = StratifiedKFold(max(2, min(FOLDS, smallest)), shuffle=True, random_state=seed)
    probabilities = np.zeros((len(labels), len(names)))
    splits = folds.split(features, labels)
    for rest, fold in tqdm(splits, "judging labels", folds.get_n_splits(), unit="fold"):
        # Without the reduction to 256 dimensions it took ten times as long, with 50 classes.
        reduction = PCA(min(256, len(rest) // 2), random_state=seed)
        regression = LogisticRegression(C=0.01, max_iter=200)
        classifier = make_pipeline(StandardScaler(), reduction, regression)
        classifier.fit(features[rest], labels[rest])
        probabilities[fold] = classifier.predict_proba(features[fold])
    issues = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    return [
        Suspicion(
            *labelled[i], names[int(probabilities[i].argmax())], float(probabilities[i, labels[i]])
        )
        for i in issues
    ]
