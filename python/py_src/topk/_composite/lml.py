"""The log-likelihood under the limited multi-label projection."""

import math

import torch

from .ranking import label_scores
from .soft_hinge import soft_hinge

# On scores of many shapes and spreads, with up to 200,000 classes, five steps were enough for float64.
_STEPS = 8


def lml(scores, labels, k, with_gradient):
    """With p_i = σ(s_i + ν), ν such that Σ p_i = k, v_i = p_i (1 − p_i) and V = Σ v_i,

        loss = −ln p_y
        ∂loss/∂s_y = −(1 − p_y) (1 − v_y/V),   ∂loss/∂s_i = (1 − p_y) v_i/V

    (Amos, Koltun and Kolter, https://arxiv.org/abs/1906.08707). With a and b the k-th and (k + 1)-th highest
    scores, h = (a − b)/2 and x = ν + (a + b)/2, the equation is that what the k highest, the head, lack of 1
    equals what the others, the tail, have:

        Σ_tail σ(x − h − d_i) = Σ_head σ(−x − h − d_i),   d_i = b − s_i in the tail, s_i − a in the head

    Newton's method on the logarithm of the ratio of both sides starts from x = 0. The slope is between 1 and
    2, and the curvature at most ½, so that a step from a distance of d leads to at most min(d, d²/4).
    """
    highest, order = scores.topk(k + 1, 1)
    head = order[:, :k]
    a, b = highest[:, k - 1 : k], highest[:, k:]
    half_gap = (a - b).mul_(0.5)
    # Minus the d of each side; the head is not in the tail.
    in_tail = (scores - b).scatter_(1, head, -torch.inf)
    in_head = a - highest[:, :k]

    def terms(shift, offsets):
        """exp h times the terms of a side, and times the magnitudes of their slopes."""
        exponent = offsets + shift
        rest = torch.sigmoid(half_gap - exponent)
        term = exponent.exp_().mul_(rest)
        return term, rest.mul_(term)

    low, high = -math.log(scores.shape[1] - k), math.log(k)
    x = torch.zeros_like(a)
    for _ in range(_STEPS):
        sums = (each.sum(1, keepdim=True) for each in (*terms(x, in_tail), *terms(-x, in_head)))
        tail, tail_slope, head_sum, head_slope = sums
        slope = tail_slope / tail + head_slope / head_sum
        x = (x - (tail / head_sum).log_() / slope).clamp_(low, high)

    label = label_scores(scores, labels)
    logit = torch.where(label >= a, (label - a) + half_gap + x, x - half_gap - (b - label))
    values, missing = soft_hinge(-logit)
    if not with_gradient:
        return values.squeeze(1), None
    column = labels.unsqueeze(1)
    slopes = terms(x, in_tail)[1].scatter_(1, head, terms(-x, in_head)[1])
    of_label = slopes.gather(1, column)
    others = slopes.scatter_(1, column, 0.0).sum(1, keepdim=True)
    scale = missing / (others + of_label)
    return values.squeeze(1), slopes.mul_(scale).scatter_(1, column, -scale * others)
