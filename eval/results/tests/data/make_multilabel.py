#!/usr/bin/env python3
"""Makes multilabel.json: ranking metrics of the scores in metrics.json for several true classes, by scikit-learn and NumPy.

    pip install scikit-learn==1.9.1
    python make_multilabel.py

Image i has its label l; every third also (l + 1 + i) mod 8, every fourth also (l + 3) mod 8.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import coverage_error, label_ranking_average_precision_score, label_ranking_loss


def main():
    folder = Path(__file__).parent
    source = json.loads((folder / "metrics.json").read_text())
    scores = np.array(source["scores"])
    true = np.zeros(scores.shape, dtype=int)
    for i, label in enumerate(source["labels"]):
        true[i, label] = 1
        if i % 3 == 0:
            true[i, (label + 1 + i) % 8] = 1
        if i % 4 == 0:
            true[i, (label + 3) % 8] = 1
    ordered = np.take_along_axis(true, np.argsort(-scores, axis=1), axis=1)
    count = true.sum(axis=1)

    def found(k):
        return np.array([row[:n].sum() for row, n in zip(ordered, k)]) / count

    fixture = {
        "several": int((count > 1).sum()),
        "mean_labels": count.mean(),
        "ranking_average_precision": label_ranking_average_precision_score(true, scores),
        "coverage_error": coverage_error(true, scores),
        "ranking_loss": label_ranking_loss(true, scores),
        "r_precision": found(count).mean(),
        "recall": {k: found([k] * len(count)).mean() for k in (1, 2, 5)},
    }
    (folder / "multilabel.json").write_text(json.dumps(fixture, indent=2) + "\n")


if __name__ == "__main__":
    main()
