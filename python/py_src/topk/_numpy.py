"""The losses of NumPy arrays."""

import os

import numpy

from . import _losses

_TYPES = ("float32", "float64", "float16", "bfloat16")


def loss(name, parameters, input, target, weight, ignore_index, reduction, with_gradient=False, label_smoothing=0.0):
    """The loss, and its gradient with respect to `input` if `with_gradient`."""
    _losses.check_reduction(reduction)
    _losses.check_label_smoothing(label_smoothing)
    input = numpy.asarray(input)
    target = numpy.asarray(target)
    if input.dtype.name not in _TYPES:
        raise TypeError(f"{name} takes scores of float16, bfloat16, float32 or float64, got {input.dtype.name}")
    if not numpy.issubdtype(target.dtype, numpy.integer):
        raise TypeError(f"{name} takes labels of an integer type, got {target.dtype.name}")
    if input.ndim == 0:
        raise ValueError(f"{name} takes scores of shape (C), (N, C) or (N, C, d1, ...), got a scalar")
    classes = input.shape[0 if input.ndim == 1 else 1]
    expected = input.shape[:1] * (input.ndim > 1) + input.shape[2:]
    if target.shape != expected:
        raise ValueError(
            f"Expected target size {list(expected)}, got {list(target.shape)} (scores have size {list(input.shape)})"
        )
    if weight is not None:
        weight = numpy.asarray(weight)
        if weight.shape != (classes,):
            raise ValueError(
                f"weight tensor should be defined either for all {classes} classes or no classes but got weight "
                f"tensor of shape: {list(weight.shape)}"
            )
        weight = _dense(weight, input.dtype)

    rows = input.reshape(1, -1) if input.ndim == 1 else numpy.moveaxis(input, 1, -1).reshape(target.size, classes)
    rows = _dense(rows, input.dtype)
    labels = _dense(target, numpy.int64)
    values = numpy.empty(expected if reduction == "none" else (), input.dtype)
    gradient = numpy.empty(rows.shape, input.dtype) if with_gradient else None
    _losses.create(name, parameters).compute(
        input.dtype.name,
        target.size,
        classes,
        rows.ctypes.data,
        labels.ctypes.data,
        0 if weight is None else weight.ctypes.data,
        reduction,
        ignore_index,
        float(label_smoothing),
        values.ctypes.data,
        gradient.ctypes.data if with_gradient else 0,
        _threads(),
    )
    if not with_gradient:
        return values[()]
    moved = (expected[0], *expected[1:], classes) if input.ndim > 1 else (classes,)
    gradient = gradient.reshape(moved)
    return values[()], gradient if input.ndim == 1 else numpy.moveaxis(gradient, -1, 1)


def _dense(array, dtype):
    return numpy.require(array, dtype, ("C_CONTIGUOUS", "ALIGNED"))


def _threads():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def random_seed():
    """A 64-bit seed from NumPy's global generator."""
    return int(numpy.random.randint(-(2**63), 2**63 - 1, dtype=numpy.int64))
