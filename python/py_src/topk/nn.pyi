from collections.abc import Sequence

import torch
from torch import Tensor

from .functional import Reduction

class _Loss(torch.nn.Module):
    weight: Tensor | None
    ignore_index: int
    reduction: Reduction
    label_smoothing: float
    def forward(self, input: Tensor, target: Tensor) -> Tensor: ...
    def __call__(self, input: Tensor, target: Tensor) -> Tensor: ...

class BalancedNoisedTopk(_Loss):
    k: int
    epsilon: float
    draws: int
    alpha: float
    margins: Sequence[float] | None
    def __init__(
        self,
        k: int = 5,
        epsilon: float = 1.0,
        draws: int = 5,
        alpha: float = 1.0,
        *,
        margins: Sequence[float] | None = None,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class DifferentiableTopkCrossEntropy(_Loss):
    k: int
    tau: float
    p_k: Sequence[float] | None
    def __init__(
        self,
        k: int = 5,
        tau: float = 1.0,
        *,
        p_k: Sequence[float] | None = None,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class LML(_Loss):
    k: int
    def __init__(
        self,
        k: int = 5,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class MaxTopkSVM(_Loss):
    k: int
    alpha: float
    def __init__(
        self,
        k: int = 5,
        alpha: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class Psi5(_Loss):
    k: int
    alpha: float
    def __init__(
        self,
        k: int = 5,
        alpha: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class SmoothTopkSVM(_Loss):
    k: int
    tau: float
    alpha: float
    def __init__(
        self,
        k: int = 5,
        tau: float = 1.0,
        alpha: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class TopkHingeAlpha(_Loss):
    k: int
    alpha: float
    def __init__(
        self,
        k: int = 5,
        alpha: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class TopkHingeBeta(_Loss):
    k: int
    alpha: float
    def __init__(
        self,
        k: int = 5,
        alpha: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class TruncatedTopkEntropy(_Loss):
    k: int
    def __init__(
        self,
        k: int = 5,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class LapSum(_Loss):
    k: int
    tau: float
    def __init__(
        self,
        k: int = 5,
        tau: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class DFTopk(_Loss):
    k: int
    tau: float
    def __init__(
        self,
        k: int = 5,
        tau: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...

class LDRKL(_Loss):
    tau: float
    alpha: float
    def __init__(
        self,
        tau: float = 1.0,
        alpha: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None: ...
