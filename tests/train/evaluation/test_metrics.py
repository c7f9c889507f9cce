"""Figures of a classifier, against what can be worked out by hand."""

import pytest
import torch

from train.evaluation.metrics import bootstrap_interval, classification_metrics, top_k_accuracy


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[3.0, 2, 1, 0], [0, 3, 2, 1], [1, 2, 3, 0], [0, 1, 2, 3]])
    labels = torch.tensor([0, 2, 2, 0])
    assert top_k_accuracy(logits, labels, 1) == 0.5
    assert top_k_accuracy(logits, labels, 2) == 0.75
    assert top_k_accuracy(logits, labels, 9) == 1.0
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert classification_metrics(logits, labels)["loss"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least one"):
        top_k_accuracy(logits[:0], labels[:0], 1)
    low, high = bootstrap_interval(torch.arange(1000) < 900)
    # Normal approximation: 0.9 +- 1.96 * sqrt(0.9 * 0.1 / 1000)
    assert low == pytest.approx(0.8814, abs=0.003)
    assert high == pytest.approx(0.9186, abs=0.003)
