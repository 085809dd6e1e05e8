"""The smooth top-k SVM."""

import torch

from .ranking import label_scores, without_label
from .soft_hinge import soft_hinge
from .subset_sizes import SubsetSizes, balanced_shift


def smooth_topk_svm(scores, labels, k, tau, alpha, with_gradient):
    """With z_i = s_i / (kτ) and e_j the elementary symmetric polynomials of exp z over the wrong classes,

        x = α + τ (ln e_k − ln e_{k−1}) − s_y/k
        loss = τ ln(1 + exp(x/τ))
        ∂loss/∂s_y = −p/k,   ∂loss/∂s_i = (p/k) (π⁽ᵏ⁾_i − π⁽ᵏ⁻¹⁾_i),   p = 1/(1 + exp(−x/τ))

    with π⁽ʲ⁾_i = ∂ ln e_j / ∂z_i (Berrada, Zisserman and Kumar, ICLR 2018, https://arxiv.org/abs/1802.07595).
    """
    wrong = without_label(scores, labels)
    limits = torch.finfo(scores.dtype)
    per_score = min(max(1 / k / tau, limits.tiny), limits.max)
    # Everything is relative to the k-th highest wrong score: near the hinge x is a small difference of large
    # numbers.
    highest = wrong.amax(1, keepdim=True) if k == 1 else wrong.topk(k, 1).values
    kth = highest[:, k - 1 :]
    offsets = (wrong - kth).mul_(per_score)
    if k == 1:
        weights = offsets.exp_()
        total = weights.sum(1, keepdim=True)
        log_ratio = total.log()
    else:
        shift = balanced_shift(offsets, (highest - kth).mul_(per_score), k)
        sizes = SubsetSizes(offsets.sub_(shift), k)
        p_km1, p_k = sizes.probabilities()
        log_ratio = (p_k / p_km1).log_().add_(shift)
    x = (kth - label_scores(scores, labels)).div_(k).add_(alpha).add_(log_ratio, alpha=tau)
    values, p = soft_hinge(x, tau)
    if not with_gradient:
        return values.squeeze(1), None
    scale = p.div_(k)
    gradient = weights.mul_(scale / total) if k == 1 else sizes.marginals(-scale, scale)
    return values.squeeze(1), gradient.scatter_(1, labels.unsqueeze(1), -scale)
