"""The log-likelihood under the differentiable top-k operator DFTopK."""

from .ranking import add_to_label, kth_highest, label_scores, ranks
from .soft_hinge import soft_hinge


def dftopk(scores, labels, k, tau, with_gradient):
    """With t the middle between the k-th and the (k + 1)-th highest score, and σ the sigmoid,

        loss = −ln σ((s_y − t)/τ)

    (https://arxiv.org/abs/2510.11472). With g = σ((t − s_y)/τ)/τ, the derivatives are −g for the label and g/2 for each
    of the two classes of t.
    """
    above, below = kth_highest(scores, k), kth_highest(scores, k + 1)
    label = label_scores(scores, labels)
    # Halved before they are added, since the sum may overflow.
    values, missing = soft_hinge(((above - label) * 0.5 + (below - label) * 0.5) / tau)
    if not with_gradient:
        return values.squeeze(1), None
    share = missing / tau
    of_threshold = (ranks(scores, above, k)[1], ranks(scores, below, k + 1)[1])
    gradient = (of_threshold[0].to(scores.dtype) + of_threshold[1].to(scores.dtype)) * (0.5 * share)
    return values.squeeze(1), add_to_label(gradient, labels, -share)
