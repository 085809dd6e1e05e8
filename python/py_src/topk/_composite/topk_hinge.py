"""The top-k hinge losses α and β."""

import torch

from .ranking import label_scores, ranks, without_label


def topk_hinge_alpha(scores, labels, k, alpha, with_gradient):
    """With h_j = α + s_j − s_y for the wrong classes, h_y = 0, and h_[j] the j-th highest of all,

        loss = max(0, (h_[1] + … + h_[k]) / k)

    (Lapin, Hein and Schiele, NIPS 2015, https://arxiv.org/abs/1511.06683). Where it is positive, the
    derivatives are 1/k for each wrong class among the k and minus their sum for the label.
    """
    wrong, highest, label = _of_wrong(scores, labels, k)
    violations = (highest - label).add_(alpha)
    # Of the wrong classes only the k-th can rank after the label, whose h is 0.
    kth_violation = violations[:, k - 1 :]
    kth_counts = kth_violation > 0
    if with_gradient:
        higher, at = ranks(wrong, highest[:, k - 1 :], k)
        # An h of 0 does not change the sum, but ranks before the label if its class does.
        before = at.cumsum(1, dtype=torch.int32).gather(1, labels.unsqueeze(1)) > 0
        at = at & (kth_counts | ((kth_violation == 0) & before))
    kth_violation.relu_()
    mean = violations.sum(1, keepdim=True).div_(k)
    if not with_gradient:
        return mean.relu_().squeeze(1), None
    slope = (mean > 0).to(scores.dtype).div_(k)
    return mean.relu_().squeeze(1), _with_label((higher | at) * slope, labels)


def topk_hinge_beta(scores, labels, k, alpha, with_gradient):
    """With the h of `topk_hinge_alpha`,

        loss = (max(0, h_[1]) + … + max(0, h_[k])) / k

    (Usunier, Buffoni and Gallinari, ICML 2009; Lapin, Hein and Schiele, NIPS 2015,
    https://arxiv.org/abs/1511.06683). The derivatives are 1/k for each wrong class among the k with h > 0 and
    minus their sum for the label.
    """
    wrong, highest, label = _of_wrong(scores, labels, k)
    values = (highest - label).add_(alpha).relu_().sum(1).div_(k)
    if not with_gradient:
        return values, None
    higher, at = ranks(wrong, highest[:, k - 1 :], k)
    positive = (wrong - label).add_(alpha) > 0
    gradient = ((higher | at) & positive).to(scores.dtype).div_(k)
    return values, _with_label(gradient, labels)


def _of_wrong(scores, labels, k):
    """The scores without the label, the k highest of them in descending order, and the label's."""
    wrong = without_label(scores, labels)
    return wrong, wrong.topk(k, 1).values, label_scores(scores, labels)


def _with_label(gradient, labels):
    """The gradient with minus its sum for the label."""
    return gradient.scatter_(1, labels.unsqueeze(1), -gradient.sum(1, keepdim=True))
