"""The losses of tensors on an NVIDIA GPU, by kernels.

The kernels are in the native part of this package. They work on memory of PyTorch's allocator and on its current
stream, so that they can be captured in CUDA graphs, and nothing waits for them.
"""

from functools import lru_cache

import torch

from . import _losses, _topk

# The losses that there are kernels for, with limits on k.
_NAMES = frozenset(
    ("smooth_topk_svm", "max_topk_svm", "topk_hinge_alpha", "topk_hinge_beta", "truncated_topk_entropy", "psi5")
)

_TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}

# A stream as a number. The public way, `torch.cuda.current_stream`, takes longer than the launch of a kernel.
_current_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def kernel(name, parameters, input, reduction, ignore_index):
    """The kernel for a loss of these scores, or `None` if PyTorch's operations are to be used instead."""
    if name not in _NAMES or not input.is_cuda:
        return None
    return find(name, parameters, _TYPES.get(input.dtype), input.shape[1], reduction, ignore_index)


@lru_cache(maxsize=256)
def find(name, parameters, dtype, classes, reduction, ignore_index):
    """The same for scores of this type, wherever they are."""
    if dtype is None or not _topk.cuda_is_available():
        return None
    return _topk.CudaLoss.of(_losses.create(name, parameters), dtype, classes, reduction, ignore_index)


def as_read(input, target, weight):
    """The tensors that the kernels read: scores with contiguous rows, contiguous labels, weights of float32."""
    if input.shape[1] > 1 and input.stride(1) != 1:
        input = input.contiguous()
    if weight is not None:
        weight = weight.float().contiguous()
    return input, target.contiguous(), weight


def loss(kernel, scores, labels, weight, reduction, with_gradient):
    """The loss, in the type of the scores, and the gradient or `None`.

    Shape:
        - scores: (N, C), as of `as_read`, like the others
        - labels: (N)
        - weight: (C) or `None`
    """
    samples, classes = scores.shape
    device = scores.device
    values = torch.empty((samples,) if reduction == "none" else (), dtype=torch.float32, device=device)
    gradient = scores.new_empty((samples, classes)) if with_gradient else None
    workspace = _workspace(kernel.workspace_bytes(samples, classes)[0], device)
    kernel.loss(
        *_inputs(scores, labels, weight),
        values.data_ptr(),
        gradient.data_ptr() if with_gradient else 0,
        workspace.data_ptr(),
        _stream(device),
    )
    return values.to(scores.dtype), gradient


def gradient(kernel, scores, labels, weight, of_values, there=None):
    """The gradient, multiplied by that of the loss before it is rounded.

    `there` is the gradient of the loss itself, if it is there and may be changed: where that of the loss is 1, it is
    not computed again.
    """
    samples, classes = scores.shape
    device = scores.device
    of_values = of_values.float()
    # An expanded number, such as the gradient of a sum, is read as it is.
    per_sample = of_values.dim() > 0 and of_values.stride(0) != 0
    if per_sample:
        of_values = of_values.contiguous()
    result = scores.new_empty((samples, classes)) if there is None else there
    workspace = _workspace(kernel.workspace_bytes(samples, classes)[1], device)
    kernel.gradient(
        *_inputs(scores, labels, weight),
        of_values.data_ptr(),
        per_sample,
        there is not None,
        result.data_ptr(),
        workspace.data_ptr(),
        _stream(device),
    )
    return result


def _inputs(scores, labels, weight):
    samples, classes = scores.shape
    stride = max(scores.stride(0), 0)
    return samples, classes, scores.data_ptr(), stride, labels.data_ptr(), 0 if weight is None else weight.data_ptr()


def _workspace(size, device):
    return torch.empty(size, dtype=torch.uint8, device=device)


def _stream(device):
    return _current_stream(device.index) if device.type == "cuda" else 0
