"""The differentiable top-k cross-entropy."""

import math

import torch
from torch.nn.functional import pad


def differentiable_topk_cross_entropy(scores, labels, p_k, tau, with_gradient):
    """With the relaxed permutation matrix of NeuralSort,

        P_j = softmax(((n + 1 − 2j) s − A) / τ),   A_i = Σ_l |s_i − s_l|
        loss = −ln Σ_k w_k (P_1y + … + P_ky)

    (Petersen, Kuehne, Borgelt and Deussen, ICML 2022, https://arxiv.org/abs/2206.07290; Grover, Wang, Zweig
    and Ermon, ICLR 2019, https://arxiv.org/abs/1903.08850).

    By rank q, the logits of row j are highest at q = j, and fall on both sides by 1, 3, 5, … times the gaps
    between consecutive scores, over τ: sums without cancellation. With g_ji the derivative with respect to a
    logit, C_i the sum of g_ji over j, and equal scores at their mean rank,

        τ ∂loss/∂s_m = Σ_j g_jm · 2 (rank of m − j) − Σ_i C_i sign(s_m − s_i)
    """
    classes = scores.shape[1]
    options = {"dtype": scores.dtype, "device": scores.device}
    k = len(p_k)
    ordered, order = scores.sort(1, descending=True)
    label_rank = (order == labels.unsqueeze(1)).to(scores.dtype).argmax(1).view(-1, 1, 1)
    # Finite, since they are multiplied by 0 below.
    gaps = (ordered[:, :-1] - ordered[:, 1:]).div_(tau).clamp_(max=torch.finfo(scores.dtype).max)

    row = torch.arange(k, **options).unsqueeze(1)
    gap = torch.arange(classes - 1, **options)
    below = (gap - row).mul_(2).add_(1).clamp_(min=0)
    fall = pad((gaps.unsqueeze(1) * below).cumsum_(2), (1, 0))
    if k > 1:
        above = (row - gap[: k - 1]).mul_(2).sub_(1).clamp_(min=0)
        falls = (gaps[:, : k - 1].unsqueeze(1) * above).flip(2).cumsum_(2).flip(2)
        fall[:, :, : k - 1] += falls
    log_rows = fall.neg_().log_softmax(2)
    log_tails = torch.tensor(_log_tails(p_k), dtype=scores.dtype).to(scores.device, non_blocking=True)
    index = label_rank.expand(-1, k, 1)
    logs = log_rows.gather(2, index).squeeze(2) + log_tails
    values = -logs.logsumexp(1)
    if not with_gradient:
        return values, None

    derivative = log_rows.exp_().scatter_(2, index, 0.0)
    derivative.scatter_(2, index, -derivative.sum(2, keepdim=True))
    derivative.mul_(logs.softmax(1).unsqueeze(2))
    rank = torch.arange(classes, **options)
    plain = derivative.sum(1)
    by_rank = derivative.mul_((rank - row).mul_(2)).sum(1)
    # The ranks of the first score that equals this one, and of the one after the last.
    negated = ordered.neg()
    first = torch.searchsorted(negated, negated)
    end = torch.searchsorted(negated, negated, right=True)
    before = pad(plain.cumsum(1), (1, 0))
    # Σ C is 0, so that what is below is minus what is not.
    sign = before.gather(1, first) + before.gather(1, end)
    to_mean = (first + end - 1).to(scores.dtype).sub_(rank.mul_(2)).mul_(plain)
    gradient = by_rank.add_(to_mean).add_(sign).div_(tau)
    return values, torch.empty_like(scores).scatter_(1, order, gradient)


def _log_tails(p_k):
    """ln(w_j + … + w_K) for each j."""
    tails, tail = [], 0.0
    for weight in reversed(p_k):
        tail += weight
        tails.append(math.log(tail) if tail else -math.inf)
    return tails[::-1]
