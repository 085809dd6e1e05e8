"""The losses by name, with their parameters."""

from functools import lru_cache

from ._topk import Loss

# The parameters of each loss, in the order of its arguments here and in PyTorch's operators, in the language of
# operator schemas.
PARAMETERS = {
    "smooth_topk_svm": "int k, float tau, float alpha",
    "max_topk_svm": "int k, float alpha",
    "topk_hinge_alpha": "int k, float alpha",
    "topk_hinge_beta": "int k, float alpha",
    "truncated_topk_entropy": "int k",
    "psi5": "int k, float alpha",
    "balanced_noised_topk": "int k, float epsilon, int draws, float alpha, float[]? margins, Tensor seed",
    "lml": "int k",
    "differentiable_topk_cross_entropy": "float[] p_k, float tau",
    "lapsum": "int k, float tau",
    "dftopk": "int k, float tau",
    "ldr_kl": "float tau, float alpha",
}

REDUCTIONS = ("none", "mean", "sum")


@lru_cache(maxsize=256)
def _cached(name, parameters):
    return getattr(Loss, name)(*parameters)


def create(name, parameters):
    """The native loss of this name.

    Raises:
        ValueError: a parameter is out of range
        TypeError: a parameter has the wrong type
    """
    if name == "balanced_noised_topk":
        # Its seed differs from call to call.
        return Loss.balanced_noised_topk(*parameters)
    return _cached(name, parameters)


def check_k(k, name="k"):
    """Returns `k` as an `int`.

    Raises:
        TypeError: `k` is not an integer
        ValueError: `k` is below 1
    """
    if type(k) is not int:
        try:
            k = k.__index__()
        except (AttributeError, TypeError):
            raise TypeError(f"{name} must be an int, got {type(k).__name__}") from None
    if k < 1:
        raise ValueError(f"{name} must be at least 1, got {k}")
    return k


def check_label_smoothing(label_smoothing):
    """Raises `ValueError` if this is not a probability."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")


def check_reduction(reduction):
    """Raises `ValueError` if this is not the name of a reduction."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction: expected none, mean or sum")
