#!/usr/bin/env python3
"""Makes leaderboard.json: tests of pairs of models by statsmodels, and differences of two models by scikit-learn.

    pip install scikit-learn==1.9.1 statsmodels==0.15.0
    python make_leaderboard.py

Image 11 has no prediction in the tests that use this file, so it is wrong for all models.
"""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

IMAGES, CLASSES, FAILED = 200, 8, 11


def main():
    random = np.random.default_rng(3)
    difficulty = random.normal(size=IMAGES)
    correct = [difficulty + random.normal(size=IMAGES) < skill for skill in [1.1, 1.05, 0.9, 0.5, -0.2]]
    for row in correct:
        row[FAILED] = False
    pairs = list(combinations(range(len(correct)), 2))
    tests = []
    for first, second in pairs:
        a, b = correct[first], correct[second]
        table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        tests.append(mcnemar(table, exact=True).pvalue)
    adjusted = multipletests(tests, method="holm")[1]

    labels = np.arange(IMAGES) * 7919 % CLASSES
    seen = np.arange(IMAGES) != FAILED
    predictions = [np.where(row, labels, (labels + 1 + random.integers(CLASSES - 1, size=IMAGES)) % CLASSES) for row in correct]
    before, after = predictions[0], predictions[3]
    wrong = np.where(seen, 0, -1)
    recalls = [
        recall_score(labels, np.where(seen, row, wrong), labels=np.arange(CLASSES), average=None, zero_division=0)
        for row in [before, after]
    ]
    fixture = {
        "correct": [row.astype(int).tolist() for row in correct],
        "tests": [[*pair, p, q] for pair, p, q in zip(pairs, tests, adjusted.tolist())],
        "predictions": [before.tolist(), after.tolist()],
        "agreement": accuracy_score(before[seen], after[seen]),
        "recall": [row.tolist() for row in recalls],
    }
    text = json.dumps(fixture, separators=(",", ":")).replace(',"', ',\n"').replace("],[", "],\n[")
    Path(__file__).with_name("leaderboard.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
