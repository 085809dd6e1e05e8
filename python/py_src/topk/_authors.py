"""The functions of the authors' `topk.functional`: each returns a function of scores and labels.

`labels` are the classes, 0, 1, … up to their number; the functions need only their count. In place of
closures, the results are partial functions, which can be pickled.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from . import _losses, _torch

_Function = Callable[[Tensor, Tensor], Tensor]


def Top1_Hard_SVM(labels: Tensor, alpha: float = 1.0) -> _Function:
    """The multi-class hinge loss: see :class:`topk.svm.MaxTop1SVM`.

    Args:
        labels: the classes, `torch.arange(C)`
        alpha: margin, at least 0, in units of the scores

    Returns:
        A function of scores `(N, C)` and int64 labels `(N)` that returns the losses of the samples, `(N)`.

    Example:

        >>> import torch
        >>> loss = Top1_Hard_SVM(torch.arange(3))
        >>> loss(torch.tensor([[0.5, 1.0, 0.25]]), torch.tensor([0]))
        tensor([1.5000])
    """
    return _function("max_topk_svm", (1, float(alpha)), labels)


def Topk_Hard_SVM(labels: Tensor, k: int, alpha: float = 1.0) -> _Function:
    """The hard top-k SVM: see :class:`topk.svm.MaxTopkSVM`.

    Args:
        labels: the classes, `torch.arange(C)`
        k: number of highest scores among which the label should be
        alpha: margin, at least 0, in units of the scores

    Returns:
        A function of scores `(N, C)` and int64 labels `(N)` that returns the losses of the samples, `(N)`.
    """
    return _function("max_topk_svm", (_losses.check_k(k), float(alpha)), labels)


def Top1_Smooth_SVM(labels: Tensor, tau: float, alpha: float = 1.0) -> _Function:
    """The smooth top-k SVM for k = 1: see :class:`topk.svm.SmoothTop1SVM`.

    Args:
        labels: the classes, `torch.arange(C)`
        tau: temperature, above 0, in units of the scores
        alpha: margin, at least 0, in units of the scores

    Returns:
        A function of scores `(N, C)` and int64 labels `(N)` that returns the losses of the samples, `(N)`.
    """
    return _function("smooth_topk_svm", (1, float(tau), float(alpha)), labels)


def Topk_Smooth_SVM(labels: Tensor, k: int, tau: float, alpha: float = 1.0) -> _Function:
    """The smooth top-k SVM: see :class:`topk.svm.SmoothTopkSVM`.

    Args:
        labels: the classes, `torch.arange(C)`
        k: number of highest scores among which the label should be
        tau: temperature, above 0, in units of the scores
        alpha: margin, at least 0, in units of the scores

    Returns:
        A function of scores `(N, C)` and int64 labels `(N)` that returns the losses of the samples, `(N)`.
    """
    return _function("smooth_topk_svm", (_losses.check_k(k), float(tau), float(alpha)), labels)


def _function(name, parameters, labels):
    # Raises for parameters that are out of range.
    _losses.create(name, parameters)
    return partial(_of_samples, name, parameters, len(labels))


def _of_samples(name, parameters, classes, x, y):
    if x.dim() < 2 or x.shape[1] != classes:
        raise ValueError(f"expected scores of shape (N, {classes}), as there are {classes} labels, got {list(x.shape)}")
    return _torch.loss(name, parameters, x, y, None, -100, "none")
