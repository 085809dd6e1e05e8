"""The logarithms of the elementary symmetric polynomials of degrees k - 1 and k, and their gradients."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from .. import _losses
from .._composite import compute_dtype
from .._composite.subset_sizes import SubsetSizes, balanced_shift

__all__ = ["LogSumExp", "log_sum_exp", "log_sum_exp_k_autograd"]


class LogSumExp(torch.nn.Module):
    """ln e_(k-1) and ln e_k of exp(x), with e_j the j-th elementary symmetric polynomial: the sum, over all
    sets of j classes, of the products of their exp(x).

    Value and gradient are exact for all x. The derivatives of ln e_j are the marginals: the probabilities of
    the classes to be in a set that is drawn with a probability proportional to its product (Chen and Liu,
    Statistica Sinica 7, 1997).

    Args:
        k: the higher degree, from 1 up to the number of classes
        p: has no effect; order of the authors' approximation of the gradient
        thresh: has no effect; where the authors' class approximates the gradient

    Shape:
        - x: `(N, C)` of a floating-point type, finite
        - output: `(2, N)` of the same type: degree k - 1 first

    Raises:
        ValueError: `k` is below 1, or, in a call, x has another shape or fewer than `k` classes
        TypeError: `k` is not an integer, or, in a call, x not of a floating-point type

    Example:

        >>> import torch
        >>> from topk.polynomial import LogSumExp
        >>> x = torch.tensor([[1.0, 2.0, 4.0]]).log()
        >>> LogSumExp(2)(x).exp()  # 1 + 2 + 4, and 1·2 + 1·4 + 2·4
        tensor([[ 7.0000],
                [14.0000]])
    """

    def __init__(self, k: int, p: int | None = None, thresh: float = 1e-5) -> None:
        super().__init__()
        self.k = _losses.check_k(k)
        self.p = int(1 + 0.2 * self.k) if p is None else p
        self.thresh = thresh

    def forward(self, x: Tensor) -> Tensor:
        return log_sum_exp_k_autograd(x, self.k)

    def extra_repr(self) -> str:
        return f"k={self.k}"


def log_sum_exp(x: Tensor) -> Tensor:
    """ln of the sum of exp(x) over the classes.

    Args:
        x: numbers `(N, C)`

    Returns:
        Numbers `(N)`.

    Example:

        >>> import torch
        >>> log_sum_exp(torch.tensor([[1000.0, 1000.0]]))
        tensor([1000.6932])
    """
    return torch.logsumexp(x, 1)


def log_sum_exp_k_autograd(x: Tensor, k: int) -> Tensor:
    """:class:`LogSumExp` as a function.

    (In the authors' package autograd differentiates this function, and the class approximates the gradient.
    Here both are exact, and can be differentiated once.)

    Args:
        x: numbers `(N, C)` of a floating-point type, finite
        k: the higher degree, from 1 up to the number of classes

    Returns:
        ln e_(k-1) and ln e_k of exp(x), `(2, N)`.

    Raises:
        ValueError: `k` is below 1, or x has another shape or fewer than `k` classes
        TypeError: `k` is not an integer, or x not of a floating-point type
    """
    k = _losses.check_k(k)
    if x.dim() != 2 or x.shape[1] < k:
        raise ValueError(f"expected numbers of shape (N, C) with at least {k} classes, got {list(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"expected numbers of a floating-point type, got {x.dtype}")
    return _LogSumExp.apply(x, k)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(x, k):
        if len(x) == 0:
            return x.new_empty(2, 0)
        wide = x.to(compute_dtype(x.device))
        if k == 1:
            log_k = wide.logsumexp(1)
            return torch.stack((torch.zeros_like(log_k), log_k)).to(x.dtype)
        highest, kth, offsets, shift = _relative(wide, k)
        p_km1, p_k = SubsetSizes(offsets - shift, k).probabilities()
        # ln e_k = ln P_k + kt + Σ ln(1 + exp(x − t)), with the shift t. Of the last two terms, each of the k
        # highest contributes max(x, t), each other class max(x − t, 0), and every class ln(1 + exp(−|x −
        # t|)).
        of_all = softplus(-(offsets - shift).abs()).sum(1, keepdim=True)
        of_others = (offsets.clamp(max=0) - shift).relu_().sum(1, keepdim=True) - k * (-shift).relu()
        total = torch.maximum(highest, kth + shift).sum(1, keepdim=True) + of_others + of_all
        log_km1 = total - (kth + shift) + p_km1.log()
        return torch.cat((log_km1, total + p_k.log()), 1).t().contiguous().to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.k = inputs
        ctx.save_for_backward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_logs):
        (x,) = ctx.saved_tensors
        if len(x) == 0:
            return torch.empty_like(x), None
        wide = x.to(compute_dtype(x.device))
        of_km1, of_k = of_logs.to(wide.dtype).unsqueeze(2)
        if ctx.k == 1:
            return (wide.softmax(1) * of_k).to(x.dtype), None
        _, _, offsets, shift = _relative(wide, ctx.k)
        return SubsetSizes(offsets - shift, ctx.k).marginals(of_km1, of_k).to(x.dtype), None


def _relative(x, k):
    """The k highest of x, the last of them, x relative to it, and the shift of `SubsetSizes`."""
    highest = x.topk(k, 1).values
    kth = highest[:, k - 1 :]
    offsets = x - kth
    return highest, kth, offsets, balanced_shift(offsets, highest - kth, k)
