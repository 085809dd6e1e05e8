#!/usr/bin/env python3
"""Makes calibration.json: calibration of random logits, computed by independent libraries in double precision; and
numpy.npz and safetensors.safetensors: the first 40 of them as those libraries write them.

    pip install torch torchmetrics==1.9.0 torch-uncertainty==0.13.0 scipy==1.17.1 scikit-learn==1.9.1 safetensors
    pip install --no-deps torchcp==1.2.1
    python make_calibration.py

Cross-entropy and Brier score are scikit-learn's, the temperature is SciPy's, calibration errors are those of
torchmetrics and torch-uncertainty, and prediction sets those of torchcp. torchcp draws a random number for each class
of an image where the papers have one for the image; here it is given the same number for all of them.
"""

import json
import sys
from pathlib import Path
from unittest import mock

# Parts of torchcp that are not used here, and what they import.
for name in ["torchsort", "torchcp.graph", "torchcp.llm", "torchcp.regression"]:
    sys.modules[name] = mock.MagicMock()

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest, norm
from sklearn.metrics import brier_score_loss, log_loss
from torch_uncertainty.metrics.classification.calibration.adaptive_calibration_error import _ace_compute
from torchcp.classification.score import APS, LAC, RAPS, TOPK
from torchcp.utils.common import calculate_conformal_value
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

IMAGES, CLASSES, BINS, SEED = 401, 12, 15, 5
COVERAGE = [0.5, 0.8, 0.9, 0.99]
PENALTY, KREG = 0.02, 3
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def word(key, i):
    return mix((key + GAMMA * (i + 1)) & MASK)


def uniform(seed, sample, draw):
    """The random number of topk_ops::noise, whose definition is in its documentation."""
    return (word(word(word(mix(seed), sample), draw), 0) >> 11) * 2.0**-53


def mean_with_interval(values):
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    return [mean, *norm.interval(0.95, mean, error)]


def reliability(logits, labels, temperature):
    p = softmax(logits / temperature, axis=1)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    nll = -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels]
    brier = ((p - np.eye(CLASSES)[labels]) ** 2).sum(axis=1)
    assert np.isclose(nll.mean(), log_loss(labels, p, labels=range(CLASSES)))
    assert np.isclose(brier.mean(), brier_score_loss(labels, p, labels=range(CLASSES), scale_by_half=False))
    probabilities = torch.tensor(p, dtype=torch.float64)
    targets = torch.tensor(labels)
    classwise = [binary_calibration_error(probabilities[:, c], (targets == c).long(), n_bins=BINS)
                 for c in range(CLASSES)]
    return {
        "nll": mean_with_interval(nll),
        "brier": mean_with_interval(brier),
        "ece": multiclass_calibration_error(probabilities, targets, CLASSES, n_bins=BINS).item(),
        "adaptive_ece": _ace_compute(torch.tensor(confidence), torch.tensor(correct).double(), BINS).item(),
        "classwise_ece": float(np.mean([float(error) for error in classwise])),
    }


def sets(logits, labels, fit, evaluate, u):
    """Threshold, coverage, mean size, and the sizes of the sets, by method and coverage."""
    scores = {
        "topk": TOPK(randomized=False),
        "lac": LAC(),
        "aps": APS(),
        "raps": RAPS(penalty=PENALTY, kreg=KREG),
    }
    found = []
    for name, score in scores.items():
        def of(rows, label=None):
            drawn = u[rows] if label is not None else u[rows][:, None].expand(-1, CLASSES)
            with mock.patch("torch.rand", lambda *shape, **options: drawn):
                return score(logits[rows], label)
        calibration = of(fit, labels[fit])
        candidates = of(evaluate)
        for coverage in COVERAGE:
            threshold = calculate_conformal_value(calibration, 1 - coverage)
            inside = candidates <= threshold
            sizes = inside.sum(dim=1)
            hits = inside[torch.arange(len(evaluate)), labels[evaluate]].sum().item()
            interval = binomtest(hits, len(evaluate)).proportion_ci(method="wilson")
            found.append({
                "method": name,
                "target": coverage,
                "threshold": threshold.item(),
                "coverage": [hits / len(evaluate), interval.low, interval.high],
                "sizes": torch.bincount(sizes, minlength=CLASSES + 1).tolist(),
            })
    return found


def main():
    random = np.random.default_rng(11)
    labels = random.integers(CLASSES, size=IMAGES)
    logits = random.normal(0, 2.5, (IMAGES, CLASSES))
    logits[np.arange(IMAGES), labels] += random.normal(4, 2.5, IMAGES)
    logits = np.round(logits, 4).astype(np.float32)
    exact = logits.astype(np.float64)
    order = sorted(range(IMAGES), key=lambda i: uniform(SEED, i, 0))
    fit, evaluate = sorted(order[: IMAGES // 2]), sorted(order[IMAGES // 2 :])

    def mean_nll(inverse):
        rows = log_softmax(exact[fit] * inverse, axis=1)
        return -rows[np.arange(len(fit)), labels[fit]].mean()

    inverse = minimize_scalar(mean_nll, bounds=(0.05, 5), method="bounded", options={"xatol": 1e-12}).x
    p = softmax(exact[fit] * inverse, axis=1)
    mean = (p * exact[fit]).sum(axis=1)
    first = mean - exact[fit, labels[fit]]
    second = (p * (exact[fit] - mean[:, None]) ** 2).sum(axis=1)
    error = np.sqrt((first**2).sum()) / second.sum() / inverse
    z = norm.ppf(0.975)
    scaled = torch.tensor(exact * inverse)
    u = torch.tensor([uniform(SEED, i, 1) for i in range(IMAGES)], dtype=torch.float64)
    made = {
        "seed": SEED,
        "coverage": COVERAGE,
        "raps_penalty": PENALTY,
        "raps_k": KREG,
        "labels": labels.tolist(),
        "logits": [[float(str(x)) for x in row] for row in logits],
        "fitted_on": len(fit),
        "temperature": [1 / inverse, np.exp(-z * error) / inverse, np.exp(z * error) / inverse],
        "before": reliability(exact[evaluate], labels[evaluate], 1),
        "after": reliability(exact[evaluate], labels[evaluate], 1 / inverse),
        "sets": sets(scaled, torch.tensor(labels), fit, evaluate, u),
    }
    members = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in made.items()]
    first = {"logits": exact[:40], "labels": labels[:40].astype(np.int32)}
    np.savez_compressed(Path(__file__).with_name("numpy.npz"), **first)
    first = {"logits": logits[:40], "labels": labels[:40].astype(np.uint8), "indices": np.arange(40)}
    save_file(first, Path(__file__).with_name("safetensors.safetensors"))
    Path(__file__).with_name("calibration.json").write_text("{" + ",\n".join(members) + "}\n")


if __name__ == "__main__":
    main()
