"""The classes of the package of Berrada, Zisserman and Kumar, under their names and with their defaults.

A program written for that package (https://github.com/oval-group/smooth-topk) runs unchanged. What differs:

- Value and gradient are exact. The authors' smooth losses take the hard loss where the k-th highest score is
  k·tau·ln(1000) above the next one, and otherwise approximate derivatives that their float32 sums cannot
  resolve.
- The smooth top-k loss takes any number of classes above k, and halves. Autocast converts scores to float32.
- Setting the temperature prints nothing, and `.cpu()` works.
- Samples with label -100 do not count, as in PyTorch's losses. The loss of an empty batch is NaN, not 0.

New programs have more options with :mod:`topk.nn`: class weights, reductions, any `ignore_index`.
"""

import torch
from torch import Tensor

from . import _losses, _torch

__all__ = ["MaxTop1SVM", "MaxTopkSVM", "SmoothTop1SVM", "SmoothTopkSVM"]


class _SVMLoss(torch.nn.Module):
    """A loss for a fixed number of classes; the mean over the batch."""

    labels: Tensor

    def __init__(self, n_classes: int, alpha: float | None) -> None:
        super().__init__()
        if not hasattr(n_classes, "__index__"):
            raise TypeError(f"n_classes must be an int, got {type(n_classes).__name__}")
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {n_classes}")
        self.n_classes = n_classes.__index__()
        self.alpha = 1.0 if alpha is None else alpha
        # Not used here, but a part of checkpoints of models that contain the loss.
        self.register_buffer("labels", torch.arange(self.n_classes))

    @property
    def alpha(self) -> float:
        """Margin, at least 0, in units of the scores."""
        return self._alpha

    @alpha.setter
    def alpha(self, alpha: float) -> None:
        alpha = float(alpha)
        _losses.create("max_topk_svm", (1, alpha))
        self._alpha = alpha

    def _mean(self, name: str, parameters: tuple, x: Tensor, y: Tensor) -> Tensor:
        """The mean of the loss of this name."""
        shape = x.shape
        if len(shape) < 2 or shape[1] != self.n_classes:
            n = self.n_classes
            raise ValueError(f"expected scores of shape (N, {n}), as n_classes is {n}, got {list(shape)}")
        return _torch.loss(name, parameters, x, y, None, -100, "mean")

    def get_losses(self) -> None:
        """Does nothing. The authors' classes prepare functions here, after changes of their attributes."""

    def extra_repr(self) -> str:
        shown = {"n_classes": self.n_classes, "alpha": self._alpha}
        shown |= {name: getattr(self, f"_{name}") for name in ("tau", "k") if hasattr(self, f"_{name}")}
        return ", ".join(f"{name}={value}" for name, value in shown.items())


class _OfTopk(_SVMLoss):
    """A loss with a k."""

    @property
    def k(self) -> int:
        """Number of highest scores among which the label should be."""
        return self._k

    @k.setter
    def k(self, k: int) -> None:
        self._k = _losses.check_k(k)


class _Smooth(_SVMLoss):
    """A loss with a temperature."""

    # The authors' classes switch to the hard loss by it. Here it has no effect.
    thresh = 1e3

    @property
    def tau(self) -> float:
        """Temperature, above 0, in units of the scores. It can be set at any time."""
        return self._tau

    @tau.setter
    def tau(self, tau: float) -> None:
        tau = float(tau)
        _losses.create("smooth_topk_svm", (1, tau, 1.0))
        self._tau = tau


class MaxTop1SVM(_SVMLoss):
    """The multi-class hinge loss of Crammer and Singer (JMLR 2001), max(0, alpha + s_j - s_y) for the highest
    score s_j of the wrong classes.

    Args:
        n_classes: number of classes
        alpha: margin, at least 0, in units of the scores; 1 if it is `None`

    Shape:
        - x: scores `(N, n_classes)` of a floating-point type
        - y: labels `(N)` of type int64
        - output: a scalar, the mean

    Raises:
        ValueError: `n_classes` or `alpha` is out of range, or, in a call, a shape is wrong
        TypeError: `n_classes` is not an integer

    Example:

        >>> import torch
        >>> from topk.svm import MaxTop1SVM
        >>> loss = MaxTop1SVM(n_classes=3)
        >>> loss(torch.tensor([[0.5, 1.0, 0.25]]), torch.tensor([0]))
        tensor(1.5000)
    """

    def __init__(self, n_classes: int, alpha: float | None = None) -> None:
        super().__init__(n_classes, alpha)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._mean("max_topk_svm", (1, self._alpha), x, y)


class MaxTopkSVM(_OfTopk):
    """The hard top-k SVM: see :func:`topk.functional.max_topk_svm`.

    Args:
        n_classes: number of classes, above `k`
        alpha: margin, at least 0, in units of the scores; 1 if it is `None`
        k: number of highest scores among which the label should be

    Shape:
        - x: scores `(N, n_classes)` of a floating-point type
        - y: labels `(N)` of type int64
        - output: a scalar, the mean

    Raises:
        ValueError: a parameter is out of range, or, in a call, a shape is wrong or `k` too high
        TypeError: `n_classes` or `k` is not an integer

    Example:

        >>> import torch
        >>> from topk.svm import MaxTopkSVM
        >>> loss = MaxTopkSVM(n_classes=4, k=2)
        >>> loss(torch.tensor([[0.0, 1.0, 0.5, -1.0]]), torch.tensor([0]))
        tensor(1.2500)
    """

    def __init__(self, n_classes: int, alpha: float | None = None, k: int = 5) -> None:
        super().__init__(n_classes, alpha)
        self.k = k

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._mean("max_topk_svm", (self._k, self._alpha), x, y)


class SmoothTop1SVM(_Smooth):
    """The smooth top-k SVM for k = 1: tau ln(1 + sum exp((alpha + s_j - s_y) / tau)), over the wrong classes
    j.

    Args:
        n_classes: number of classes
        alpha: margin, at least 0, in units of the scores; 1 if it is `None`
        tau: temperature, above 0, in units of the scores

    Shape:
        - x: scores `(N, n_classes)` of a floating-point type
        - y: labels `(N)` of type int64
        - output: a scalar, the mean

    Raises:
        ValueError: a parameter is out of range, or, in a call, a shape is wrong
        TypeError: `n_classes` is not an integer

    Example:

        >>> import torch
        >>> from topk.svm import SmoothTop1SVM
        >>> loss = SmoothTop1SVM(n_classes=2)
        >>> loss(torch.tensor([[2.0, -1.0], [0.5, 0.0]]), torch.tensor([0, 1]))
        tensor(0.9142)
        >>> loss.tau = 0.1
        >>> loss
        SmoothTop1SVM(n_classes=2, alpha=1.0, tau=0.1)
    """

    def __init__(self, n_classes: int, alpha: float | None = None, tau: float = 1.0) -> None:
        super().__init__(n_classes, alpha)
        self.tau = tau

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._mean("smooth_topk_svm", (1, self._tau, self._alpha), x, y)


class SmoothTopkSVM(_OfTopk, _Smooth):
    """The smooth top-k SVM: see :func:`topk.functional.smooth_topk_svm`.

    Args:
        n_classes: number of classes, above `k`
        alpha: margin, at least 0, in units of the scores; 1 if it is `None`
        tau: temperature, above 0, in units of the scores
        k: number of highest scores among which the label should be

    Shape:
        - x: scores `(N, n_classes)` of a floating-point type
        - y: labels `(N)` of type int64
        - output: a scalar, the mean

    Raises:
        ValueError: a parameter is out of range, or, in a call, a shape is wrong or `k` too high
        TypeError: `n_classes` or `k` is not an integer

    Example:

        >>> import torch
        >>> from topk.svm import SmoothTopkSVM
        >>> loss = SmoothTopkSVM(n_classes=100, tau=0.1)
        >>> scores = torch.randn(8, 100, requires_grad=True)
        >>> loss(scores, torch.randint(100, (8,))).backward()
        >>> loss
        SmoothTopkSVM(n_classes=100, alpha=1.0, tau=0.1, k=5)
    """

    def __init__(self, n_classes: int, alpha: float | None = None, tau: float = 1.0, k: int = 5) -> None:
        super().__init__(n_classes, alpha)
        self.k = k
        self.tau = tau

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._mean("smooth_topk_svm", (self._k, self._tau, self._alpha), x, y)
