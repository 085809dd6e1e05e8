"""The noised top-k loss."""

import torch

from .noise import standard_normal
from .ranking import add_to_label, kth_highest, label_scores, ranks


def balanced_noised_topk(scores, labels, k, epsilon, draws, alpha, margins, seed, with_gradient, first=0):
    """With standard normal vectors z⁽¹⁾, …, z⁽ᴮ⁾, and t⁽ᵇ⁾ the (k + 1)-th highest entry of s + εz⁽ᵇ⁾,

        loss = max(0, α + (t⁽¹⁾ + … + t⁽ᴮ⁾) / B − s_y)

    where α is the label's entry of `margins`, if there are any (Garcin, Servajean, Joly and Salmon, ICML
    2022, https://arxiv.org/abs/2202.02193). Where it is positive, the derivatives are, for each class, the
    fraction of the draws in which its entry is t⁽ᵇ⁾, minus 1 for the label.

    The noise is that of the native kernel: a function of the seed, the index of the sample, the draw and the
    class. `first` is the index of the first row.
    """
    noised = standard_normal(seed, first, draws, scores).mul_(epsilon).add_(scores.unsqueeze(1))
    next_highest = kth_highest(noised, k + 1)
    hinge = (next_highest.squeeze(2) - label_scores(scores, labels)).mean(1, keepdim=True)
    if margins is None:
        hinge.add_(alpha)
    else:
        of_classes = torch.tensor(margins, dtype=scores.dtype).to(scores.device, non_blocking=True)
        hinge.add_(of_classes[labels].unsqueeze(1))
    if not with_gradient:
        return hinge.relu_().squeeze(1), None
    slope = (hinge > 0).to(scores.dtype)
    _, at = ranks(noised, next_highest, k + 1)
    gradient = at.sum(1).to(scores.dtype).mul_(slope / draws)
    return hinge.relu_().squeeze(1), add_to_label(gradient, labels, -slope)
