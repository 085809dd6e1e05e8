from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

from numpy.typing import NDArray
from torch import Tensor

Reduction = Literal["none", "mean", "sum"]
Array = NDArray[Any]

@overload
def balanced_noised_topk(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    epsilon: float = 1.0,
    draws: int = 5,
    alpha: float = 1.0,
    margins: Sequence[float] | None = None,
    seed: int | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def balanced_noised_topk(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    epsilon: float = 1.0,
    draws: int = 5,
    alpha: float = 1.0,
    margins: Sequence[float] | None = None,
    seed: int | None = None,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def differentiable_topk_cross_entropy(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    tau: float = 1.0,
    p_k: Sequence[float] | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def differentiable_topk_cross_entropy(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    tau: float = 1.0,
    p_k: Sequence[float] | None = None,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def lml(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def lml(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def max_topk_svm(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def max_topk_svm(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def psi5(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def psi5(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def smooth_topk_svm(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    tau: float = 1.0,
    alpha: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def smooth_topk_svm(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    tau: float = 1.0,
    alpha: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def topk_hinge_alpha(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def topk_hinge_alpha(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def topk_hinge_beta(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def topk_hinge_beta(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    alpha: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def truncated_topk_entropy(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def truncated_topk_entropy(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def dftopk(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    tau: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def dftopk(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    tau: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def lapsum(
    input: Tensor,
    target: Tensor,
    k: int = 5,
    *,
    tau: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def lapsum(
    input: Array,
    target: Array,
    k: int = 5,
    *,
    tau: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
@overload
def ldr_kl(
    input: Tensor,
    target: Tensor,
    tau: float = 1.0,
    alpha: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
@overload
def ldr_kl(
    input: Array,
    target: Array,
    tau: float = 1.0,
    alpha: float = 1.0,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any: ...
def value_and_grad(
    loss: Callable[..., Any], input: Array, target: Array, *args: Any, **options: Any
) -> tuple[Any, Array]: ...
def Top1_Hard_SVM(labels: Tensor, alpha: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]: ...
def Topk_Hard_SVM(labels: Tensor, k: int, alpha: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]: ...
def Top1_Smooth_SVM(labels: Tensor, tau: float, alpha: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]: ...
def Topk_Smooth_SVM(labels: Tensor, k: int, tau: float, alpha: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]: ...
