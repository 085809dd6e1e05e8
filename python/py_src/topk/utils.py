"""The functions of the authors' `topk.utils`."""

import math

from torch import Tensor

__all__ = ["delta", "detect_large", "split"]


def delta(y: Tensor, labels: Tensor, alpha: float | None = None) -> Tensor:
    """The 0-1 loss of predicting each class, times `alpha` if it is given.

    Args:
        y: labels of the samples, `(N)`
        labels: the classes, `(C)`
        alpha: a factor

    Returns:
        A float32 tensor `(N, C)`: 0 for the label of a sample, and otherwise 1 or `alpha`.

    Example:

        >>> import torch
        >>> delta(torch.tensor([1]), torch.arange(3), alpha=0.5)
        tensor([[0.5000, 0.0000, 0.5000]])
    """
    losses = (y.unsqueeze(1) != labels).float()
    return losses if alpha is None else losses * alpha


def split(x: Tensor, y: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Takes the scores of the labels out of the others.

    Args:
        x: scores `(N, C)`
        y: labels `(N)`, classes
        labels: the classes, `torch.arange(C)`

    Returns:
        The scores of the wrong classes, in their order, `(N, C - 1)`, and those of the labels, `(N)`.

    Example:

        >>> import torch
        >>> split(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]), torch.arange(3))
        (tensor([[1., 3.]]), tensor([2.]))
    """
    label = y.unsqueeze(1)
    others = labels[:-1].expand(len(y), -1)
    return x.gather(1, others + (others >= label)), x.gather(1, label).squeeze(1)


def detect_large(x: Tensor, k: int, tau: float, thresh: float) -> tuple[Tensor, Tensor]:
    """Where the authors' classes take the smooth loss, and where the hard one. The losses here do not use it.

    Args:
        x: scores `(N, C)` of more than `k` classes
        k: the k of the loss
        tau: temperature
        thresh: factor between the terms of the k-th highest score and the next one

    Returns:
        Two boolean tensors `(N)`: whether the smooth loss is taken, as the k-th highest score is less than
        k·tau·ln(thresh) above the next one, and the opposite.

    Example:

        >>> import torch
        >>> detect_large(torch.tensor([[9.0, 1.0], [2.0, 1.0]]), k=1, tau=1.0, thresh=1e3)
        (tensor([False,  True]), tensor([ True, False]))
    """
    highest = x.detach().topk(k + 1, 1).values
    hard = highest[:, k - 1] - highest[:, k] >= k * tau * math.log(thresh)
    return ~hard, hard
