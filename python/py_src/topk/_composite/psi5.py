"""The top-k calibrated hinge loss ψ₅."""

from .ranking import add_to_label, kth_highest, label_scores, ranks


def psi5(scores, labels, k, alpha, with_gradient):
    """With s_[k+1] the (k + 1)-th highest of all scores,

        loss = max(0, α + s_[k+1] − s_y)

    (Yang and Koyejo, ICML 2020, https://arxiv.org/abs/1901.11141). Where it is positive, the derivatives are
    1 for the class of s_[k+1] and −1 for the label; if both are the same class, they are 0.
    """
    next_highest = kth_highest(scores, k + 1)
    hinge = (next_highest - label_scores(scores, labels)).add_(alpha)
    if not with_gradient:
        return hinge.relu_().squeeze(1), None
    slope = (hinge > 0).to(scores.dtype)
    _, at = ranks(scores, next_highest, k + 1)
    gradient = at * slope
    return hinge.relu_().squeeze(1), add_to_label(gradient, labels, -slope)
