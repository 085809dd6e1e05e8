"""The losses of PyTorch tensors: operators of `torch.library`, autograd, and the call without the dispatcher.

Each loss has two operators, `topk::NAME`, which returns the loss, and `topk::NAME_grad`, which returns the loss and
its gradient with respect to the scores. They are what compilers and exporters see. In eager mode plain tensors take a
shorter way to the same functions, which saves about half of the cost of a call.
"""

import torch
from torch import Tensor

from . import _composite, _cuda, _losses

_TYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


# The devices with autocast: `meta`, for one, has none.
_AUTOCAST = frozenset(
    device
    for device in ("cpu", "cuda", "hpu", "ipu", "mps", "mtia", "xla", "xpu")
    if torch.amp.is_autocast_available(device)
)

# Whether the graph is kept after the current backward pass. Before PyTorch 2.5 that is not known.
_graph_is_retained = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def loss(name, parameters, input, target, weight, ignore_index, reduction, label_smoothing=0.0):
    """Checks the arguments as `torch.nn.functional.cross_entropy` does, and computes the loss."""
    if not isinstance(target, Tensor):
        raise TypeError(f"target must be a Tensor, got {type(target).__name__}")
    if reduction not in _losses.REDUCTIONS:
        _losses.check_reduction(reduction)
    if label_smoothing != 0.0:
        _losses.check_label_smoothing(label_smoothing)
    device = input.device.type
    if device in _AUTOCAST and torch.is_autocast_enabled(device):
        # As PyTorch's losses do: halves are too coarse for sums of exponentials.
        input = input.float()
        weight = weight if weight is None else weight.float()
    if weight is not None and not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a Tensor, got {type(weight).__name__}")
    if input.dtype not in _TYPES:
        raise RuntimeError(f'"{name}" not implemented for {_scalar_type(input)!r}')
    if target.dtype is not torch.int64:
        target = _labels(target, input)
    shape = input.shape
    dimensions = len(shape)
    if dimensions == 2:
        if target.dim() != 1 or target.shape[0] != shape[0]:
            raise _shape_error(input, target)
    else:
        input, target = _as_rows(input, target)
    if weight is not None:
        _check_weight(weight, input)
    if input.device != target.device:
        raise _device_error(input, target)

    if torch.compiler.is_compiling() or not _is_plain(input):
        values = _by_operator(name, parameters, input, target, weight, ignore_index, reduction, label_smoothing)
    elif torch._C._are_functorch_transforms_active():
        values = _TransformableLoss.apply(
            input, target, weight, name, parameters, ignore_index, label_smoothing, reduction
        )[0]
    elif input.requires_grad and torch.is_grad_enabled():
        kernel = _kernel(name, parameters, input, reduction, ignore_index, label_smoothing)
        if kernel is None:
            values = _Loss.apply(input, target, weight, name, parameters, ignore_index, label_smoothing, reduction)
        else:
            values = _LossByKernel.apply(input, target, weight, kernel, reduction)
    else:
        values, _ = _compute(name, parameters, input, target, weight, ignore_index, reduction, False, label_smoothing)
    if dimensions == 2 or reduction != "none":
        return values
    return values.reshape(shape[:1] + shape[2:] if dimensions > 2 else ())


def random_seed():
    """A 64-bit seed from PyTorch's default generator: an `int`, or a tensor while compiling."""
    seed = torch.randint(2**63 - 1, ())
    return seed if torch.compiler.is_compiling() else int(seed)


def _is_plain(input):
    """Whether nothing watches the operators on this tensor: neither a mode (tracing, counting of operations) nor a
    subclass (fake and distributed tensors)."""
    return type(input) in (Tensor, torch.nn.Parameter) and torch._C._len_torch_dispatch_stack() == 0


def _by_operator(name, parameters, input, target, weight, ignore_index, reduction, label_smoothing):
    if name == "balanced_noised_topk" and not isinstance(parameters[-1], Tensor):
        parameters = (*parameters[:-1], torch.tensor(parameters[-1]))
    if input.requires_grad and torch.is_grad_enabled():
        return _WITH_GRADIENT[name](input, target, weight, *parameters, reduction, ignore_index, label_smoothing)[0]
    return _VALUE[name](input, target, weight, *parameters, reduction, ignore_index, label_smoothing)


class _Loss(torch.autograd.Function):
    """The loss of `[N, C]` scores."""

    @staticmethod
    def forward(ctx, input, target, weight, name, parameters, ignore_index, label_smoothing, reduction):
        values, gradient = _compute(
            name, parameters, input, target, weight, ignore_index, reduction, True, label_smoothing
        )
        ctx.reduction = reduction
        ctx.save_for_backward(gradient, input)
        return values

    @staticmethod
    def backward(ctx, of_values):
        gradient, input = ctx.saved_tensors
        if (
            not torch.is_grad_enabled()
            and ctx.reduction != "none"
            and of_values.is_cpu
            and of_values.item() == 1.0
            and not _graph_is_retained()
        ):
            # As `loss.backward()` calls it, where a pass over the gradient can be saved: nothing needs it when the
            # graph is freed. PyTorch would copy a tensor with other references, but not an alias.
            return gradient.detach(), *(None,) * 7
        return _scaled(gradient, input, of_values, ctx.reduction), *(None,) * 7


class _LossByKernel(torch.autograd.Function):
    """The same on an NVIDIA GPU.

    The kernel computes the gradient with the loss, and is launched again in the backward pass with the gradient of
    the loss, which is known on the device only; where that is 1, the second launch does nothing. Losses of float16
    are usually scaled, so that their gradient is computed in the backward pass alone.
    """

    @staticmethod
    def forward(ctx, input, target, weight, kernel, reduction):
        scores, labels, weight = _cuda.as_read(input, target, weight)
        values, gradient = _cuda.loss(kernel, scores, labels, weight, reduction, input.dtype is not torch.float16)
        ctx.kernel = kernel
        ctx.reduction = reduction
        ctx.save_for_backward(scores, labels, weight, gradient)
        return values

    @staticmethod
    def backward(ctx, of_values):
        scores, labels, weight, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():
            # The product must be differentiable with respect to the gradient of the loss.
            if gradient is None:
                gradient = _cuda.gradient(ctx.kernel, scores, labels, weight, torch.ones_like(of_values))
            return _scaled(gradient, scores, of_values, ctx.reduction), None, None, None, None
        if gradient is not None and _graph_is_retained():
            # It is needed again, or somebody has it.
            gradient = None
        gradient = _cuda.gradient(ctx.kernel, scores, labels, weight, of_values, gradient)
        return gradient.detach(), None, None, None, None


class _Once(torch.autograd.Function):
    """A gradient, which PyTorch must not take for a constant where the graph of a gradient is recorded."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, input):
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError("the losses of topk can be differentiated once: second derivatives are not implemented")


class _TransformableLoss(torch.autograd.Function):
    """The same for the transforms of `torch.func`, which need the gradient as a second output.

    Calling it takes longer.
    """

    @staticmethod
    def forward(input, target, weight, name, parameters, ignore_index, label_smoothing, reduction):
        return _compute(name, parameters, input, target, weight, ignore_index, reduction, True, label_smoothing)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, gradient = output
        ctx.reduction = inputs[-1]
        ctx.mark_non_differentiable(gradient)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(gradient, inputs[0])

    @staticmethod
    def backward(ctx, of_values, _):
        return _scaled(*ctx.saved_tensors, of_values, ctx.reduction), *(None,) * 7

    @staticmethod
    def vmap(info, in_dims, input, target, weight, name, parameters, ignore_index, label_smoothing, reduction):
        batch = info.batch_size
        if in_dims[2] is not None:
            raise NotImplementedError("vmap over class weights is not implemented: use a loop, or reduction='none'")
        input, target = (
            tensor.expand(batch, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((input, target), in_dims)
        )
        size, classes = input.shape[1:]
        rows = target.reshape(-1)
        values, gradient = _TransformableLoss.apply(
            input.reshape(-1, classes), rows, weight, name, parameters, ignore_index, label_smoothing, "none"
        )
        values = values.reshape(batch, size)
        gradient = gradient.reshape(batch, size, classes)
        if reduction == "none":
            return (values, gradient), (0, 0)
        values = values.sum(1)
        if reduction == "mean":
            counted = (rows != ignore_index).to(input.dtype)
            if weight is not None:
                counted = counted * weight[rows.clamp(0, classes - 1)]
            total = counted.reshape(batch, size).sum(1)
            values = values / total
            gradient = gradient / total[:, None, None]
        return (values, gradient), (0, 0)


def _scaled(gradient, input, of_values, reduction):
    """The gradient times that of the loss, which is one number per row without reduction."""
    if of_values is None:
        return None
    if torch.is_grad_enabled():
        gradient = _Once.apply(gradient, input)
    if reduction == "none":
        of_values = of_values.unsqueeze(1)
    return gradient * of_values


def _kernel(name, parameters, input, reduction, ignore_index, label_smoothing):
    """The kernel for a loss on an NVIDIA GPU, if there is one: not with label smoothing."""
    if label_smoothing != 0.0:
        return None
    return _cuda.kernel(name, parameters, input, reduction, ignore_index)


def _compute(name, parameters, input, target, weight, ignore_index, reduction, with_gradient, label_smoothing):
    """The loss, and the gradient or `None`."""
    options = (weight, ignore_index, reduction, with_gradient, label_smoothing)
    if input.is_cpu:
        return _compute_on_cpu(name, parameters, input, target, *options)
    kernel = _kernel(name, parameters, input, reduction, ignore_index, label_smoothing)
    if kernel is not None:
        return _cuda.loss(kernel, *_cuda.as_read(input, target, weight), reduction, with_gradient)
    return _composite.loss(
        name, parameters, input, target, weight, ignore_index, reduction, with_gradient, label_smoothing
    )


def _compute_on_cpu(
    name, parameters, input, target, weight, ignore_index, reduction, with_gradient, label_smoothing=0.0
):
    samples, classes = input.shape
    dtype = input.dtype
    scores = input.contiguous()
    labels = target.contiguous()
    values = input.new_empty((samples,) if reduction == "none" else ())
    gradient = torch.empty_like(scores) if with_gradient else None
    if weight is not None:
        weight = weight.contiguous()
    _losses.create(name, parameters).compute(
        _TYPES[dtype],
        samples,
        classes,
        scores.data_ptr(),
        labels.data_ptr(),
        0 if weight is None else weight.data_ptr(),
        reduction,
        ignore_index,
        float(label_smoothing),
        values.data_ptr(),
        gradient.data_ptr() if with_gradient else 0,
        torch.get_num_threads(),
    )
    return values, gradient


def _as_rows(input, target):
    """Scores `(C)` or `(N, C, d1, ...)` as `[M, C]`, and their labels as `[M]`."""
    shape = input.shape
    if not shape:
        raise RuntimeError("expected scores of shape (C), (N, C) or (N, C, d1, ...), got a scalar")
    if len(shape) == 1:
        if target.shape != ():
            raise _shape_error(input, target)
        return input.unsqueeze(0), target.unsqueeze(0)
    if target.shape != shape[:1] + shape[2:]:
        raise _shape_error(input, target)
    return input.movedim(1, -1).reshape(-1, shape[1]), target.reshape(-1)


def _shape_error(input, target):
    shape = list(input.shape)
    if len(shape) == 2 and target.dim() == 1:
        return ValueError(f"Expected input batch_size ({shape[0]}) to match target batch_size ({target.shape[0]}).")
    expected = shape[:1] * (len(shape) > 1) + shape[2:]
    return RuntimeError(f"Expected target size {expected}, got {list(target.shape)} (scores have size {shape})")


def _labels(target, input):
    if target.dtype is torch.uint8:
        return target.long()
    message = f"expected scalar type Long but found {_scalar_type(target)}"
    if target.is_floating_point() and target.shape == input.shape:
        message += ": the labels are indices of classes, not probabilities"
    raise RuntimeError(message)


def _check_weight(weight, input):
    classes = input.shape[1]
    if weight.dim() != 1 or weight.shape[0] != classes:
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor "
            f"of shape: {list(weight.shape)}"
        )
    if weight.dtype is not input.dtype:
        raise RuntimeError(f"expected scalar type {_scalar_type(input)} but found {_scalar_type(weight)}")
    if weight.device != input.device:
        raise _device_error(input, weight)


def _device_error(input, other):
    return RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {input.device} and "
        f"{other.device}!"
    )


def _scalar_type(tensor):
    """The name of a type in PyTorch's messages."""
    names = {
        torch.float16: "Half",
        torch.float32: "Float",
        torch.float64: "Double",
        torch.int8: "Char",
        torch.int16: "Short",
        torch.int32: "Int",
        torch.int64: "Long",
        torch.uint8: "Byte",
        torch.complex64: "ComplexFloat",
        torch.complex128: "ComplexDouble",
    }
    name = str(tensor.dtype).removeprefix("torch.")
    return names.get(tensor.dtype, name[:1].upper() + name[1:])


def _register(library, name, parameters):
    """Defines the two operators of a loss; returns their overloads."""
    arguments = f"Tensor input, Tensor target, Tensor? weight, {parameters}, str reduction, int ignore_index"
    arguments += ", float label_smoothing=0.0"
    # Where the reduction is among the arguments after the three tensors.
    at_reduction = len(parameters.split(", "))
    tags = (torch.Tag.pt2_compliant_tag,)
    library.define(f"{name}({arguments}) -> Tensor", tags=tags)
    library.define(f"{name}_grad({arguments}) -> (Tensor, Tensor)", tags=tags)

    def computed(with_gradient):
        def operator(input, target, weight, *rest):
            # The dispatcher leaves out an argument that is the default.
            *rest, reduction, ignore_index, label_smoothing = (*rest, 0.0)[: at_reduction + 3]
            if rest and isinstance(rest[-1], Tensor) and input.is_cpu:
                rest[-1] = int(rest[-1])
            rest = (tuple(each) if isinstance(each, list) else each for each in rest)
            options = (weight, ignore_index, reduction, with_gradient, label_smoothing)
            both = _compute(name, tuple(rest), input, target, *options)
            return both if with_gradient else both[0]

        return operator

    def fake(input, target, weight, *rest):
        return input.new_empty((input.shape[0],) if rest[at_reduction] == "none" else ())

    def fake_grad(input, target, weight, *rest):
        gradient = torch.empty_like(input, memory_format=torch.contiguous_format)
        return fake(input, target, weight, *rest), gradient

    for suffix, with_gradient, faked in (("", False, fake), ("_grad", True, fake_grad)):
        # For all devices.
        library.impl(f"{name}{suffix}", computed(with_gradient), "CompositeExplicitAutograd")
        # In place of `torch.library.register_fake`, which takes 2 ms to find out where it is called.
        library.impl(f"{name}{suffix}", faked, "Meta")

    value = getattr(torch.ops.topk, name).default
    with_grad = getattr(torch.ops.topk, f"{name}_grad").default

    def setup_context(ctx, inputs, output):
        ctx.inputs = inputs[3:]
        ctx.save_for_backward(*inputs[:3])

    def backward(ctx, of_values):
        _, gradient = with_grad(*ctx.saved_tensors, *ctx.inputs)
        none = (None,) * (2 + len(ctx.inputs))
        return _scaled(gradient, ctx.saved_tensors[0], of_values, ctx.inputs[at_reduction]), *none

    def setup_context_grad(ctx, inputs, output):
        ctx.reduction = inputs[3 + at_reduction]
        ctx.arguments = len(inputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], inputs[0])

    def backward_grad(ctx, of_values, _):
        return _scaled(*ctx.saved_tensors, of_values, ctx.reduction), *(None,) * (ctx.arguments - 1)

    torch.library.register_autograd(f"topk::{name}", backward, setup_context=setup_context, lib=library)
    torch.library.register_autograd(f"topk::{name}_grad", backward_grad, setup_context=setup_context_grad, lib=library)
    return value, with_grad


# Kept, as the operators vanish with it.
_LIBRARY = torch.library.Library("topk", "DEF")
_VALUE = {}
_WITH_GRADIENT = {}
for _name, _parameters in _losses.PARAMETERS.items():
    _VALUE[_name], _WITH_GRADIENT[_name] = _register(_LIBRARY, _name, _parameters)
