"""The truncated top-k entropy loss."""

from .ranking import kth_highest, label_scores, ranks, without_label
from .soft_hinge import soft_hinge


def truncated_topk_entropy(scores, labels, k, with_gradient):
    """With J the wrong classes but the k − 1 highest,

        loss = ln(1 + Σ_{j ∈ J} exp(s_j − s_y))

    (Lapin, Hein and Schiele, CVPR 2016, https://arxiv.org/abs/1512.00486). The derivatives are those of
    cross-entropy over y and J, and 0 for the other classes.
    """
    wrong = without_label(scores, labels)
    kth = kth_highest(wrong, k)
    if k > 1:
        higher, _ = ranks(wrong, kth, k)
        wrong.masked_fill_(higher, -float("inf"))
    # Relative to the highest of J, the k-th wrong class.
    weights = wrong.sub_(kth).exp_()
    total = weights.sum(1, keepdim=True)
    values, p = soft_hinge((kth - label_scores(scores, labels)).add_(total.log()))
    if not with_gradient:
        return values.squeeze(1), None
    return values.squeeze(1), weights.mul_(p / total).scatter_(1, labels.unsqueeze(1), -p)
