"""The LDR-KL loss."""

import torch

from .ranking import label_scores


def ldr_kl(scores, labels, tau, alpha, with_gradient):
    """With x_j = (s_j − s_y + α)/τ for the wrong classes, and 0 for the label,

        loss = τ ln( (1/n) Σ_j exp x_j )

    (Zhu, Ying and Yang, ICML 2023, https://arxiv.org/abs/2112.14869). The derivatives are those of cross-entropy with
    the scores x.
    """
    column = labels.unsqueeze(1)
    x = (scores - label_scores(scores, labels)).add_(alpha).div_(tau).scatter_(1, column, 0.0)
    highest = x.amax(1, keepdim=True)
    # The mean of the exponentials is near 1 where all x are near 0: then it is summed without the ones.
    near = torch.expm1(x.clamp(max=1.0)).mean(1, keepdim=True).log1p_()
    weights = (x - highest).exp_()
    far = weights.mean(1, keepdim=True).log_() + highest
    values = torch.where(highest <= 1.0, near, far).mul_(tau)
    if not with_gradient:
        return values.squeeze(1), None
    own = weights.gather(1, column)
    others = weights.scatter_(1, column, 0.0).sum(1, keepdim=True)
    total = own + others
    return values.squeeze(1), weights.div_(total).scatter_(1, column, -others / total)
