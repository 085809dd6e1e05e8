"""The losses composed of PyTorch's operations, for what no kernel computes: MPS, XPU and others, and some on CUDA.

The semantics are those of the native kernels, with one difference: the host never waits for the device, so
nothing can be raised for a value. A row with a score that is NaN or infinite, or with a label that is not a
class, has a loss and a gradient of NaN instead.

A batch takes some 50 operations for most losses, 45 to 220 for the smooth top-k SVM (150 for k = 5 and 1,000
classes, 220 for k = 200), 140 for the noised loss, 260 for LapSum and 270 for LML; small batches take the time of
the launches.

Sums of exponentials are computed in float64 where the device has it. The formulas are those of the project's
other composition, for `tch`, except where a docstring here says otherwise. No result depends on the order in
which a device returns equal scores: of equal scores the lower class comes first.
"""

import torch

from .. import _losses
from .balanced_noised_topk import balanced_noised_topk
from .dftopk import dftopk
from .differentiable_topk_cross_entropy import differentiable_topk_cross_entropy
from .lapsum import lapsum
from .ldr_kl import ldr_kl
from .lml import lml
from .max_topk_svm import max_topk_svm
from .psi5 import psi5
from .smooth_topk_svm import smooth_topk_svm
from .topk_hinge import topk_hinge_alpha, topk_hinge_beta
from .truncated_topk_entropy import truncated_topk_entropy

# Each takes finite scores `[N, C]` of the type of the computation, labels `[N]` that are classes, the
# parameters of the loss, and whether the gradient is wanted. It returns the loss `[N]`, and its gradient
# `[N, C]` or `None`.
_LOSSES = {
    "smooth_topk_svm": smooth_topk_svm,
    "max_topk_svm": max_topk_svm,
    "topk_hinge_alpha": topk_hinge_alpha,
    "topk_hinge_beta": topk_hinge_beta,
    "truncated_topk_entropy": truncated_topk_entropy,
    "psi5": psi5,
    "balanced_noised_topk": balanced_noised_topk,
    "lml": lml,
    "differentiable_topk_cross_entropy": differentiable_topk_cross_entropy,
    "lapsum": lapsum,
    "dftopk": dftopk,
    "ldr_kl": ldr_kl,
}

# Rows are computed together as long as their largest intermediate has at most this many numbers: 256 MB of
# float64.
_CHUNK = 1 << 25


def compute_dtype(device):
    """The type that losses are computed in: float64, or float32 on devices that do not support float64.

    On the project's exact cases, errors of values and gradients relative to max(1, number) are below 1e-14 in
    float64. In float32 they are below 2e-7 (1e-6 for k of 100 and more), except for gradients near the hinge
    at small temperatures: 2e-6 for τ = 0.001.
    """
    if device.type == "mps":
        return torch.float32
    if device.type == "xpu" and not torch.xpu.get_device_properties(device).has_fp64:
        return torch.float32
    return torch.float64


@torch.no_grad()
def loss(name, parameters, input, target, weight, ignore_index, reduction, with_gradient, label_smoothing=0.0):
    """The loss of a batch and its gradient.

    Args:
        name: The loss, a key of `_losses.PARAMETERS`.
        parameters: Its parameters, in that order.
        input: Scores of any floating-point type.
        target: Labels, int64.
        weight: One weight per class, of the type of the scores, or `None`.
        ignore_index: Samples with this label have loss 0 and gradient 0, whatever their scores.
        reduction: "none", "mean" or "sum".
        with_gradient: Whether to compute the gradient.
        label_smoothing: The probability of a label drawn from all classes; the loss is then computed with each class as
            the label.

    Shape:
        - input: (N, C)
        - target: (N)
        - weight: (C)

    Returns:
        The loss, (N) without reduction and otherwise a scalar, and the derivatives of its sum with respect to
        the scores, (N, C), or `None`; both of the type of the scores.

    Raises:
        ValueError: A parameter is out of range, or there are too few classes.
    """
    classes = input.shape[1]
    _losses.create(name, _without_seed(name, parameters)).check_classes(classes)
    dtype = compute_dtype(input.device)

    ignored = target == ignore_index
    labels = target.clamp(0, classes - 1)
    scores = input.to(dtype)
    # The sum of finite scores may be infinite, but not that of their products with 0.
    invalid = (labels != target) | ((scores * 0).sum(1) != 0)
    scores = scores.masked_fill((ignored | invalid).unsqueeze(1), 0.0)

    values, gradient = _by_chunks(name, parameters, scores, labels, with_gradient)

    # In the sum of the weights, a label that is not a class has the weight of one.
    weights = torch.ones_like(values) if weight is None else weight.to(dtype)[labels]
    weights = weights.masked_fill(ignored, 0.0)
    factor = weights
    if label_smoothing != 0.0:
        options = (with_gradient, label_smoothing)
        values, gradient = _smoothed(name, parameters, scores, weight, values, gradient, weights, *options)
        factor = torch.ones_like(weights)
    factor = factor.masked_fill(invalid, float("nan")).masked_fill_(ignored, 0.0)
    values = values * factor
    if reduction == "mean":
        total = weights.sum()
        values = values.sum() / total
        factor = (factor / total).masked_fill_(ignored, 0.0)
    elif reduction == "sum":
        values = values.sum()
    if with_gradient:
        gradient = gradient.mul_(factor.unsqueeze(1)).to(input.dtype)
    return values.to(input.dtype), gradient


def _smoothed(name, parameters, scores, weight, values, gradient, weights, with_gradient, label_smoothing):
    """The weighted losses and gradients, with the labels' `weights`, mixed with those of every class as the label."""
    classes = scores.shape[1]
    values = values * weights * (1.0 - label_smoothing)
    if with_gradient:
        gradient = gradient * weights.unsqueeze(1) * (1.0 - label_smoothing)
    shares = scores.new_ones(classes) if weight is None else weight.to(scores.dtype)
    shares = shares * (label_smoothing / classes)
    for label in range(classes):
        labels = torch.full(scores.shape[:1], label, device=scores.device)
        of_class, its_gradient = _by_chunks(name, parameters, scores, labels, with_gradient)
        values = values + of_class * shares[label]
        if with_gradient:
            gradient = gradient + its_gradient * shares[label]
    return values, gradient


def _without_seed(name, parameters):
    # A seed on a device cannot be read without waiting for it.
    return (*parameters[:-1], 0) if name == "balanced_noised_topk" else parameters


def _by_chunks(name, parameters, scores, labels, with_gradient):
    samples, classes = scores.shape
    rows = max(1, _CHUNK // (classes * _numbers_per_score(name, parameters)))
    compute = _LOSSES[name]
    if samples == 0:
        # Not all operations take empty tensors.
        return scores.new_empty(0), torch.empty_like(scores) if with_gradient else None
    if samples <= rows:
        return compute(scores, labels, *parameters, with_gradient=with_gradient)
    values = scores.new_empty(samples)
    gradient = torch.empty_like(scores) if with_gradient else None
    for first in range(0, samples, rows):
        chunk = slice(first, first + rows)
        # Its noise depends on the index of the sample.
        offset = {"first": first} if name == "balanced_noised_topk" else {}
        values[chunk], of_chunk = compute(
            scores[chunk], labels[chunk], *parameters, with_gradient=with_gradient, **offset
        )
        if with_gradient:
            gradient[chunk] = of_chunk
    return values, gradient


def _numbers_per_score(name, parameters):
    """How many numbers the largest intermediate of a loss holds per score."""
    if name == "smooth_topk_svm":
        return parameters[0]
    if name == "balanced_noised_topk":
        return parameters[2]
    if name == "differentiable_topk_cross_entropy":
        return len(parameters[0])
    return 1
