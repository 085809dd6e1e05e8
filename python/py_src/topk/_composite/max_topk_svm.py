"""The top-k hinge that the smooth top-k SVM smooths."""

from .ranking import kth_highest, label_scores, ranks, without_label


def max_topk_svm(scores, labels, k, alpha, with_gradient):
    """With t the k-th highest score of the wrong classes,

        loss = max(0, α + (t − s_y)/k)

    (Berrada, Zisserman and Kumar, ICLR 2018, https://arxiv.org/abs/1802.07595). Where it is positive, the
    derivatives are 1/k for the class of t and −1/k for the label.
    """
    wrong = without_label(scores, labels)
    kth = kth_highest(wrong, k)
    hinge = (kth - label_scores(scores, labels)).div_(k).add_(alpha)
    if not with_gradient:
        return hinge.relu_().squeeze(1), None
    slope = (hinge > 0).to(scores.dtype).div_(k)
    _, at = ranks(wrong, kth, k)
    gradient = (at * slope).scatter_(1, labels.unsqueeze(1), -slope)
    return hinge.relu_().squeeze(1), gradient
