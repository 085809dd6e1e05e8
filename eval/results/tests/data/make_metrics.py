#!/usr/bin/env python3
"""Makes metrics.json: metrics of random scores, computed by scikit-learn, SciPy and statsmodels.

    pip install scikit-learn==1.9.1 scipy==1.17.1 statsmodels==0.15.0
    python make_metrics.py

The scores have four decimals, and none of a row are equal, so that ranks do not depend on an order of
equal scores.
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

IMAGES, CLASSES, BINS = 300, 8, 15


def scores_and_labels(random):
    labels = random.integers(CLASSES, size=IMAGES)
    scores = random.normal(0, 1.2, (IMAGES, CLASSES))
    scores[np.arange(IMAGES), labels] += random.normal(1.5, 1, IMAGES)
    scores = np.round(scores, 4).astype(np.float32)
    assert all(len(set(row)) == CLASSES for row in scores.tolist())
    return scores, labels


def calibration_error(probabilities, labels):
    """Bins (i / 15, (i + 1) / 15], as in the code of Guo et al., On Calibration of Modern Neural Networks."""
    confidences = probabilities.max(axis=1).astype(np.float32).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    error, bins = 0.0, []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidences > low) & (confidences <= high)
        bins.append([int(inside.sum()), int(right[inside].sum())])
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidences[inside].mean())
    return error, bins


def main():
    random = np.random.default_rng(7)
    scores, labels = scores_and_labels(random)
    probabilities = softmax(scores.astype(np.float64), axis=1)
    classes = np.arange(CLASSES)
    error, bins = calibration_error(probabilities, labels)
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1))
    topk = {}
    for k in [1, 2, 5]:
        correct = int(top_k_accuracy_score(labels, scores, k=k, labels=classes, normalize=False))
        topk[k] = [correct, *proportion_confint(correct, IMAGES, method="wilson")]
    intervals = [
        [x, n, *proportion_confint(x, n, method="wilson")]
        for x, n in [(0, 10), (10, 10), (1, 3), (38_059, 50_000), (49_999, 50_000)]
    ]
    tests = []
    for a, b in [(1, 0), (3, 9), (12, 12), (24, 1), (15, 40), (1_204, 1_924), (2_500, 2_480)]:
        p = mcnemar([[100, a], [b, 100]], exact=True).pvalue
        assert np.isclose(p, binomtest(a, a + b).pvalue, rtol=1e-9)
        tests.append([a, b, p])
    fixture = {
        "classes": CLASSES,
        "scores": [[float(str(score)) for score in row] for row in scores],
        "labels": labels.tolist(),
        "topk": topk,
        "mean_class_accuracy": balanced_accuracy_score(labels, probabilities.argmax(axis=1)),
        "cross_entropy": log_loss(labels, probabilities, labels=classes),
        "calibration_error": error,
        "calibration": bins,
        "confusion": confusion.tolist(),
        "wilson": intervals,
        "mcnemar": tests,
    }
    text = json.dumps(fixture, separators=(",", ":"))
    text = text.replace(',"', ',\n"').replace("],[", "],\n[")
    Path(__file__).with_name("metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
