"""The log-likelihood under LapSum's soft top-k selection."""

import math

import torch

from .ranking import label_scores


def lapsum(scores, labels, k, tau, with_gradient):
    """With F the distribution function of the Laplace distribution, exp(x)/2 for x < 0 and 1 − exp(−x)/2 otherwise,
    x_i = (s_i − b)/τ, b such that Σ F(x_i) = k, h = F′(x_y)/F(x_y) and q the softmax of −|x|,

        loss = −ln F(x_y)
        ∂loss/∂s_y = −(h/τ) (1 − q_y),   ∂loss/∂s_i = (h/τ) q_i

    (Struski, Bednarczyk, Podolak and Tabor, ICML 2025, https://arxiv.org/abs/2503.06242). Let m scores be at least b,
    A the sum of exp((s_m − s_i)/τ) over them, C that of exp((s_{m+1} − s_i)/−τ) over the others, d = m − k, and
    r² = d² + A C exp((s_{m+1} − s_m)/τ). Then exp((b − s_m)/τ) = (d + r)/A and exp((b − s_{m+1})/τ) = C/(r − d), and
    the sums of exp(−|x|) on both sides are r + d and r − d.
    """
    classes = scores.shape[1]
    ranked, order = scores.sort(1, descending=True)
    count = _above(ranked, k, tau)
    last = ranked.gather(1, (count - 1).clamp(min=0))
    first = ranked.gather(1, count.clamp(max=classes - 1))
    is_head = torch.arange(classes, device=scores.device) < count
    distance = torch.where(is_head, last - ranked, ranked - first).div_(tau)
    terms = distance.exp_()
    head = (terms * is_head).sum(1, keepdim=True)
    tail = (terms * ~is_head).sum(1, keepdim=True)
    d = (count - k).to(scores.dtype)
    # Scores on one side only have no gap, and a product of 0.
    gap = (last - first) / tau
    product = head * tail * (-gap).exp()
    larger = (d * d + product).sqrt() + d.abs()

    label = label_scores(scores, labels)
    from_head = (label - last) / tau - (larger / head).log()
    from_tail = (label - first) / tau + (larger / tail).log()
    middle = (label - last) / tau + 0.5 * (gap - (tail / head).log())
    x = torch.where(d > 0, from_head, torch.where(d < 0, from_tail, middle))
    power = 0.5 * (-x.clamp(min=0)).exp()
    values = torch.where(x < 0, math.log(2) - x, -torch.log1p(-power))
    if not with_gradient:
        return values.squeeze(1), None
    scale = power / (1 - power) / tau
    smaller = torch.where(d == 0, larger, product / larger)
    both = larger + smaller
    # Of the same size where m = k, even if both underflow.
    half = torch.full_like(both, 0.5)
    of_head = torch.where(d == 0, half, torch.where(d > 0, larger, smaller) / both) / head
    of_tail = torch.where(d == 0, half, torch.where(d > 0, smaller, larger) / both) / tail
    shares = terms * torch.where(is_head, of_head, of_tail)
    shares = torch.empty_like(shares).scatter_(1, order, shares)
    column = labels.unsqueeze(1)
    others = shares.scatter_(1, column, 0.0).sum(1, keepdim=True)
    return values.squeeze(1), shares.mul_(scale).scatter_(1, column, -scale * others)


def _above(ranked, k, tau):
    """The number of scores of each row, in descending order, that are above b: those with which as b the sum of
    probabilities is below k. Found bit by bit, since that sum grows with the rank.

    With F(x) = ½ + ½ sign(x) (1 − exp(−|x|)), the sum is below k where that of the second terms is below 2 k − n.
    """
    classes = ranked.shape[1]
    scaled = ranked / tau
    count = torch.zeros_like(ranked[:, :1], dtype=torch.int64)
    for bit in reversed(range(classes.bit_length())):
        more = count + (1 << bit)
        x = scaled - scaled.gather(1, (more - 1).clamp(max=classes - 1))
        sums = torch.copysign(torch.expm1(x.abs().neg_()), x).sum(1, keepdim=True)
        count = torch.where((sums < 2 * k - classes) & (more <= classes), more, count)
    return count
