"""Positive numbers by their logarithms, as in the authors' `topk.logarithm`."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

__all__ = ["LogTensor", "log1mexp"]


class LogTensor:
    """Numbers of at least 0 by their logarithms: sums and products that neither overflow nor underflow.

    `+`, `-`, `*` and `/` take other `LogTensor`s, and numbers of at least 0; `**` takes a number. PyTorch's
    autograd differentiates the results.

    Args:
        x: the logarithms, of any shape and floating-point type

    Example:

        >>> import torch
        >>> sum_ = LogTensor(torch.tensor([1000.0])) + LogTensor(torch.tensor([1000.0]))
        >>> sum_.torch()  # 1000 + ln 2
        tensor([1000.6932])
    """

    def __init__(self, x: Tensor) -> None:
        self._x = x

    def torch(self) -> Tensor:
        """The logarithms."""
        return self._x

    def __add__(self, other: LogTensor | float) -> LogTensor:
        other = self._log(other)
        return other if other is NotImplemented else LogTensor(torch.logaddexp(self._x, other))

    __radd__ = __add__

    def __sub__(self, other: LogTensor | float) -> LogTensor:
        """The difference; where it is negative, the result is NaN."""
        other = self._log(other)
        return other if other is NotImplemented else LogTensor(self._x + log1mexp(other - self._x))

    def __mul__(self, other: LogTensor | float) -> LogTensor:
        other = self._log(other)
        return other if other is NotImplemented else LogTensor(self._x + other)

    __rmul__ = __mul__

    def __truediv__(self, other: LogTensor | float) -> LogTensor:
        other = self._log(other)
        return other if other is NotImplemented else LogTensor(self._x - other)

    def __pow__(self, power: float) -> LogTensor:
        return LogTensor(self._x * power)

    def __repr__(self) -> str:
        return f"LogTensor({self._x!r})"

    def _log(self, other):
        if isinstance(other, LogTensor):
            return other._x
        if not isinstance(other, Real):
            return NotImplemented
        if other < 0:
            raise ValueError(f"a LogTensor holds numbers of at least 0, got {other}")
        return torch.full_like(self._x, math.log(other) if other else -math.inf)


def log1mexp(U: Tensor, eps: float = 1e-3) -> Tensor:
    """ln(1 - exp(u)) for u <= 0, to the rounding of the type: NaN for u > 0.

    From -ln 2 on it is ln(-expm1(u)), below it log1p(-exp(u)): Mächler, "Accurately Computing
    log(1 - exp(-|a|))", 2012.

    Args:
        U: numbers of any shape
        eps: has no effect; the authors' function approximates numbers above `-eps`

    Returns:
        Numbers of the shape and type of `U`.

    Example:

        >>> import torch
        >>> log1mexp(torch.tensor([-1e-10, -1.0]))
        tensor([-23.0259,  -0.4587])
    """
    above = U > -math.log(2)
    # Each branch sees only numbers for which its derivative is finite: infinity times 0 would be NaN.
    inside = torch.full_like(U, -1.0)
    near = torch.log(-torch.expm1(torch.where(above, U, inside)))
    far = torch.log1p(-torch.exp(torch.where(above, inside, U)))
    return torch.where(above, near, far)
