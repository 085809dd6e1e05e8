#!/usr/bin/env python3
"""Writes family.jsonl, beside this file: losses and gradients of the family with 100 digits.

Needs mpmath. Each loss is its definition written out, and each gradient a quotient of central
differences. Where a loss has a kink at equal scores, they are first pulled apart by 1e-25 a class, the
lower class up, which is the convention of the crate.
"""

import json
import random
import struct
from pathlib import Path

from mpmath import cos, exp, fabs, log, log1p, mp, mpf, pi, sin, sqrt

mp.dps = 100
STEP = mpf(10) ** -40
PULL = mpf(10) ** -25


def topk_hinge_alpha(s, y, k, alpha):
    h = sorted((s[j] - s[y] + (alpha if j != y else 0) for j in range(len(s))), reverse=True)
    return max(mpf(0), sum(h[:k]) / k)


def topk_hinge_beta(s, y, k, alpha):
    h = sorted((s[j] - s[y] + (alpha if j != y else 0) for j in range(len(s))), reverse=True)
    return sum(max(mpf(0), x) for x in h[:k]) / k


def truncated_topk_entropy(s, y, k):
    wrong = sorted(s[:y] + s[y + 1 :])
    return log1p(sum(exp(x - s[y]) for x in wrong[: len(wrong) - (k - 1)]))


def psi5(s, y, k, alpha):
    return max(mpf(0), alpha + sorted(s, reverse=True)[k] - s[y])


def splitmix(x):
    mask = 2**64 - 1
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return x ^ x >> 31


def stream(key, i):
    return splitmix(key + 0x9E3779B97F4A7C15 * (i + 1) & 2**64 - 1)


def normal(seed, sample, draw, i):
    key = stream(stream(splitmix(seed), sample), draw)
    u = mpf((stream(key, i - i % 2) >> 11) + 1) / 2**53
    v = mpf(stream(key, i - i % 2 + 1) >> 11) / 2**53
    return sqrt(-2 * log(u)) * (sin(2 * pi * v) if i % 2 else cos(2 * pi * v))


def balanced_noised_topk(s, y, k, epsilon, draws, alpha, seed, margins=None):
    noised = [
        sorted((x + epsilon * normal(seed, 0, b, i) for i, x in enumerate(s)), reverse=True)[k]
        for b in range(draws)
    ]
    margin = alpha if margins is None else mpf(margins[y])
    return max(mpf(0), margin + sum(noised) / draws - s[y])


def lml(s, y, k):
    ranked = sorted(s, reverse=True)
    head, tail = ranked[:k], ranked[k:]
    nu = -(head[-1] + tail[0]) / 2
    low, high = nu - log(len(tail)), nu + log(len(head))
    for _ in range(60):
        # What the head lacks of k against what the tail has; Newton in the logarithm, kept inside.
        has = [1 / (1 + exp(-(x + nu))) for x in tail]
        lacks = [1 / (1 + exp(x + nu)) for x in head]
        f = log(sum(has)) - log(sum(lacks))
        if f > 0:
            high = nu
        else:
            low = nu
        slope = sum(p * (1 - p) for p in has) / sum(has)
        slope += sum(p * (1 - p) for p in lacks) / sum(lacks)
        after = nu - f / slope
        if not low <= after <= high:
            after = (low + high) / 2
        if fabs(after - nu) < mpf(10) ** -90:
            break
        nu = after
    return log1p(exp(-(s[y] + after)))


def differentiable_topk_cross_entropy(s, y, weights, tau):
    n = len(s)
    spread = [sum(fabs(a - b) for b in s) for a in s]
    total, in_topk = mpf(0), mpf(0)
    for k, weight in enumerate(weights, start=1):
        logits = [((n + 1 - 2 * k) * a - b) / tau for a, b in zip(s, spread)]
        top = max(logits)
        in_topk += exp(logits[y] - top) / sum(exp(x - top) for x in logits)
        total += mpf(weight) * in_topk
    return -log(total)


def lapsum(s, y, k, tau):
    def laplace(x):
        return exp(x) / 2 if x < 0 else 1 - exp(-x) / 2

    # Newton on a monotone function of b, kept inside a bracket: the sum falls from n to 0.
    low, high = min(s) - tau * log(2 * mpf(len(s))), max(s) + tau * log(2 * mpf(len(s)))
    ranked = sorted(s, reverse=True)
    b = (ranked[k - 1] + ranked[k]) / 2
    for _ in range(2000):
        xs = [(x - b) / tau for x in s]
        # What the scores above b lack of 1, and what the others have, against k.
        has = sum(exp(x) / 2 for x in xs if x < 0)
        lacks = sum(exp(-x) / 2 for x in xs if x >= 0)
        error = (sum(1 for x in xs if x >= 0) - k) + has - lacks
        if error > 0:
            low = b
        else:
            high = b
        after = b + tau * error / (has + lacks)
        if not low <= after <= high:
            after = (low + high) / 2
        if fabs(after - b) < tau * mpf(10) ** -90:
            break
        b = after
    return -log(laplace((s[y] - after) / tau))


def dftopk(s, y, k, tau):
    ranked = sorted(s, reverse=True)
    return log1p(exp(-(s[y] - (ranked[k - 1] + ranked[k]) / 2) / tau))


def ldr_kl(s, y, tau, alpha):
    terms = [exp((x - s[y] + (alpha if j != y else 0)) / tau) for j, x in enumerate(s)]
    return tau * log(sum(terms) / len(s))


def binary_cross_entropy(s, y, is_sum):
    total = sum(log1p(exp(-x if j == y else x)) for j, x in enumerate(s))
    return total if is_sum else total / len(s)


LOSSES = {
    "TopkHingeAlpha": (topk_hinge_alpha, True),
    "TopkHingeBeta": (topk_hinge_beta, True),
    "TruncatedTopkEntropy": (truncated_topk_entropy, True),
    "Psi5": (psi5, True),
    "BalancedNoisedTopk": (balanced_noised_topk, True),
    "Lml": (lml, False),
    "DifferentiableTopkCrossEntropy": (differentiable_topk_cross_entropy, False),
}

LATER_LOSSES = {
    "LapSum": (lapsum, False),
    "DfTopk": (dftopk, True),
    "LdrKl": (ldr_kl, False),
    "BinaryCrossEntropy": (binary_cross_entropy, False),
}


def case(name, scores, y, **parameters):
    loss, kinks = (LOSSES | LATER_LOSSES)[name]
    wide = {
        key: mpf(value) if isinstance(value, float) else value for key, value in parameters.items()
    }
    exact = [mpf(x) for x in scores]
    pulled = [x - i * PULL for i, x in enumerate(exact)] if kinks else exact
    grad = []
    for i in range(len(scores)):
        above = loss(pulled[:i] + [pulled[i] + STEP] + pulled[i + 1 :], y, **wide)
        below = loss(pulled[:i] + [pulled[i] - STEP] + pulled[i + 1 :], y, **wide)
        grad.append(float((above - below) / (2 * STEP)))
    value = float(loss(exact, y, **wide))
    return {"name": name, **parameters, "scores": scores, "y": y, "loss": value, "grad": grad}


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def main():
    rng = random.Random(20240607)

    def normals(n, spread):
        return [single(round(rng.gauss(0, spread) * 256) / 256) for _ in range(n)]

    def ties(n):
        return [float(rng.randrange(4)) for _ in range(n)]

    # Number of classes, k, and scores: few and many classes, ties, and a large spread.
    shapes = [
        (2, 1, normals(2, 1.0)),
        (5, 2, normals(5, 1.0)),
        (9, 8, normals(9, 3.0)),
        (12, 3, ties(12)),
        (20, 5, ties(20)),
        (20, 4, normals(20, 1e4)),
        (30, 6, normals(30, 0.1)),
        (60, 5, normals(60, 10.0)),
    ]
    cases = []
    for shape, (n, k, scores) in enumerate(shapes):
        for which, name in enumerate(LOSSES):
            # The label is among the highest scores in every other case.
            order = sorted(range(n), key=lambda i: -scores[i])
            y = order[min(k, n - 1)] if (shape + which) % 2 else rng.randrange(n)
            parameters = {"k": k}
            if name in ("TopkHingeAlpha", "TopkHingeBeta", "Psi5"):
                parameters["alpha"] = [1.0, 0.5][shape % 2]
            elif name == "BalancedNoisedTopk":
                parameters |= {"epsilon": [0.5, 1.0, 0.0][shape % 3], "draws": 5, "alpha": 1.0}
                parameters["seed"] = shape * 0x123456789
                if shape == 1:
                    parameters["margins"] = [0.125 * (i + 1) for i in range(n)]
            elif name == "DifferentiableTopkCrossEntropy":
                weights = [1.0 / 2**i for i in range(1, k)]
                parameters = {"weights": weights + [1.0 - sum(weights)], "tau": [1.0, 16.0][shape % 2]}
            cases.append(case(name, scores, y, **parameters))
    # After all cases of the others, whose labels are drawn from the same generator.
    for shape, (n, k, scores) in enumerate(shapes):
        for which, name in enumerate(LATER_LOSSES):
            order = sorted(range(n), key=lambda i: -scores[i])
            y = order[min(k, n - 1)] if (shape + which) % 2 else rng.randrange(n)
            parameters = {"tau": [1.0, 0.25, 16.0][shape % 3]}
            if name == "LdrKl":
                parameters["alpha"] = [1.0, 0.0][shape % 2]
            elif name == "BinaryCrossEntropy":
                parameters = {"is_sum": shape % 2 == 1}
            else:
                parameters["k"] = k
            cases.append(case(name, scores, y, **parameters))
    path = Path(__file__).with_name("family.jsonl")
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))


if __name__ == "__main__":
    main()
