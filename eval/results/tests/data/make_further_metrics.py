#!/usr/bin/env python3
"""Makes further_metrics.json: metrics of the scores in metrics.json, by scikit-learn, torch-uncertainty and netcal.

    pip install scikit-learn==1.9.1 torch==2.15.0 torchmetrics==1.9.0 netcal==1.4.0
    pip install torch-uncertainty==0.13.0 lightning==2.6.6 rich torchvision
    python make_further_metrics.py

Where definitions differ:
- torch-uncertainty integrates the risk-coverage curve by trapezoids from coverage 1/n to 1. Ours is the mean of
  the n risks, as in Geifman and El-Yaniv's papers; the script checks the relation of the two.
- netcal's bins of equal mass have edges at quantiles. torch-uncertainty divides the sorted confidences, as we do.
  Both agree on 300 images in 15 bins; on 293 images only torch-uncertainty's values are kept.
- Libraries order images of equal confidence as they come. Ours are means over all orders: the script enumerates
  the orders of seven images.
"""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from netcal.metrics import ECE
from scipy.special import softmax
from sklearn.metrics import precision_recall_fscore_support
from torch_uncertainty.metrics import AURC, AdaptiveCalibrationError, BrierScore, RiskAtxCov

BINS, COVERAGES = 15, [1.0, 0.95, 0.9, 0.8, 0.7, 0.5]


def risks(errors):
    return np.cumsum(errors) / np.arange(1, len(errors) + 1)


def computed(metric, probabilities, labels):
    metric.update(torch.tensor(probabilities), torch.tensor(labels))
    return float(metric.compute())


def metrics(probabilities, labels):
    classes, images = probabilities.shape[1], len(labels)
    wrong = probabilities.argmax(axis=1) != labels
    curve = risks(wrong[np.argsort(-probabilities.max(axis=1))])
    aurc = curve.mean()
    trapezoids = (curve.sum() - (curve[0] + curve[-1]) / 2) / (images - 1)
    assert np.isclose(computed(AURC(), probabilities, labels), trapezoids, rtol=1e-6)
    adaptive = AdaptiveCalibrationError(task="multiclass", num_classes=classes, num_bins=BINS, norm="l1")
    adaptive = computed(adaptive, probabilities, labels)
    if images % BINS == 0:
        netcal = ECE(BINS, equal_intervals=False).measure(probabilities, labels)
        assert np.isclose(adaptive, netcal, rtol=1e-6)
    averages = {}
    for average in ["macro", "weighted"]:
        values = precision_recall_fscore_support(labels, probabilities.argmax(axis=1), average=average, zero_division=0)
        averages[average] = [float(value) for value in values[:3]]
    precision, recall, f1, images_of_classes = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=range(classes), zero_division=0
    )
    return {
        "brier_score": computed(BrierScore(num_classes=classes), probabilities, labels),
        "adaptive_calibration_error": adaptive,
        "aurc": aurc,
        "risk_at_coverage": [computed(RiskAtxCov(coverage), probabilities, labels) for coverage in COVERAGES],
        "risk_coverage": [curve[-(-percent * images // 100) - 1] for percent in range(1, 101)],
        **averages,
        "classes": [list(row) for row in zip(precision, recall, f1, images_of_classes.tolist())],
    }


def ties():
    """The means over all orders of equal confidences."""
    confidences = [0.9, 0.5, 0.9, 0.5, 0.5, 0.75, 0.25]
    wrong = [0, 1, 1, 0, 1, 0, 1]
    curves = []
    for order in permutations(range(len(wrong))):
        if all(confidences[a] >= confidences[b] for a, b in zip(order, order[1:])):
            curves.append(risks(np.array(wrong)[list(order)]))
    mean = np.mean(curves, axis=0)
    return {"confidences": confidences, "wrong": wrong, "risks": mean.tolist(), "aurc": mean.mean()}


def main():
    folder = Path(__file__).parent
    source = json.loads((folder / "metrics.json").read_text())
    labels = np.array(source["labels"])
    probabilities = softmax(np.array(source["scores"], dtype=np.float32).astype(np.float64), axis=1)
    fixture = {
        "300": metrics(probabilities, labels),
        "293": metrics(probabilities[:293], labels[:293]),
        # Class 7 has no images, but is predicted.
        "without_class_7": metrics(probabilities[labels != 7], labels[labels != 7]),
        "ties": ties(),
    }
    text = json.dumps(fixture, separators=(",", ":")).replace(',"', ',\n"')
    (folder / "further_metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
