#!/usr/bin/env python3
"""Makes average_precision.json: mean average precision of the logits in calibration.json for several true classes, by
scikit-learn, and compares it with torchmetrics.

    pip install scikit-learn==1.9.1 scipy==1.17.1 torchmetrics==1.9.0 torch
    python make_average_precision.py

Image i has its label l, or 0 in place of 11, which no image has; every third also (l + i) mod 11. Every fifth image has the
logits of the one before, so that scores are tied.
"""

import json
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score
from torchmetrics.classification import MultilabelAveragePrecision


def main():
    folder = Path(__file__).parent
    source = json.loads((folder / "calibration.json").read_text())
    logits = np.array(source["logits"], np.float32).astype(np.float64)
    for i in range(5, len(logits), 5):
        logits[i] = logits[i - 1]
    true = np.zeros(logits.shape, dtype=int)
    for i, label in enumerate(source["labels"]):
        true[i, label % 11] = 1
        if i % 3 == 0:
            true[i, (label + i) % 11] = 1
    present = true.any(axis=0)
    assert (present == [True] * 11 + [False]).all()

    fixture = {}
    for name, scores in [("softmax", softmax(logits, axis=1)), ("sigmoid", expit(logits))]:
        fixture[name] = {}
        for field, average in [("mean", "macro"), ("weighted", "weighted")]:
            # Both libraries count a class that no image has as 0.
            expected = average_precision_score(true[:, present], scores[:, present], average=average)
            metric = MultilabelAveragePrecision(num_labels=int(present.sum()), average=average, thresholds=None)
            found = metric(torch.tensor(scores[:, present]), torch.tensor(true[:, present])).item()
            print(name, average, expected, found)
            assert abs(found - expected) < 1e-6
            fixture[name][field] = expected
    (folder / "average_precision.json").write_text(json.dumps(fixture, indent=2) + "\n")


if __name__ == "__main__":
    main()
