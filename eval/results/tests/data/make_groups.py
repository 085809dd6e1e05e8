#!/usr/bin/env python3
"""Makes groups.json: accuracy and error ratio on the factors of ImageNet-X for the scores in metrics.json, by its own code.

    pip install imagenet-x==0.0.7 pandas==3.1.1 scipy
    python make_groups.py

Image i belongs to factor f, from 0, if (5 i + 3 f) mod 11 is below 3; every tenth image is not in the table.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from imagenet_x import FACTORS
from imagenet_x.aggregate import compute_factor_accuracies, error_ratio


def main():
    folder = Path(__file__).parent
    source = json.loads((folder / "metrics.json").read_text())
    predicted = np.array(source["scores"]).argmax(axis=1)
    rows = []
    for i, (label, prediction) in enumerate(zip(source["labels"], predicted)):
        if i % 10 > 0:
            factors = {factor: int((5 * i + 3 * f) % 11 < 3) for f, factor in enumerate(FACTORS)}
            rows.append({"model": "m", "is_correct": bool(prediction == label), **factors})
    table = pd.DataFrame(rows)
    accuracies = compute_factor_accuracies(table, FACTORS)
    ratios = error_ratio(accuracies)
    fixture = {
        "factors": FACTORS,
        "images": [int(table[factor].sum()) for factor in FACTORS],
        "accuracies": [float(accuracies.loc["m", factor]) for factor in FACTORS],
        "error_ratios": [float(ratios.loc["m", factor]) for factor in FACTORS],
    }
    (folder / "groups.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
