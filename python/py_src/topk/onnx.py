"""The losses in ONNX files.

A model that contains a loss of this package is exported with the loss as an operator of the domain `topk`, whose
definition in ONNX's standard operators is a function in the file: it runs in ONNX Runtime and other runtimes with
functions. In ONNX Runtime, the library of native kernels takes the place of the function where it is registered.

The losses of eight functions are operators: `smooth_topk_svm`, `max_topk_svm`, `topk_hinge_alpha`, `topk_hinge_beta`,
`truncated_topk_entropy`, `psi5`, `ldr_kl` and `dftopk`. Exporting needs PyTorch 2.6 or newer, `onnx` and `onnxscript`.

>>> import torch
>>> import topk.nn
>>> class Network(torch.nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.layer = torch.nn.Linear(8, 10)
...         self.criterion = topk.nn.SmoothTopkSVM(k=3)
...
...     def forward(self, features, target):
...         scores = self.layer(features)
...         return scores, self.criterion(scores, target)
>>> inputs = torch.randn(4, 8), torch.randint(10, (4,))
>>> program = topk.onnx.export(Network(), inputs, verbose=False)
>>> [node.op_type for node in program.model.graph if node.domain == "topk"]
['SmoothTopkSVMLoss']
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _losses, _topk

if TYPE_CHECKING:
    import os

    import onnx_ir
    import torch

__all__ = ["add_functions", "custom_ops_library", "export", "translation_table"]

_DOMAIN = "topk"

# The operator of each function, and the number of its outputs. The outputs after the loss are its gradient and, of the
# smooth SVM, the probability of its definition. The attributes are the parameters of the loss.
_OPERATORS = {
    "smooth_topk_svm": ("SmoothTopkSVMLoss", 3),
    "max_topk_svm": ("MaxTopkSVMLoss", 2),
    "topk_hinge_alpha": ("TopkHingeAlphaLoss", 2),
    "topk_hinge_beta": ("TopkHingeBetaLoss", 2),
    "truncated_topk_entropy": ("TruncatedTopkEntropyLoss", 2),
    "psi5": ("Psi5Loss", 2),
    "ldr_kl": ("LDRKLLoss", 2),
    "dftopk": ("DFTopkLoss", 2),
}


def custom_ops_library() -> str:
    """The path of the library of native kernels, for `onnxruntime.SessionOptions.register_custom_ops_library`.

    Returns:
        str: the path

    Raises:
        FileNotFoundError: the package was built without the library

    Example:

        >>> import onnxruntime
        >>> options = onnxruntime.SessionOptions()
        >>> options.register_custom_ops_library(topk.onnx.custom_ops_library())  # doctest: +SKIP
    """
    name = {"win32": "topk_ops_ort.dll", "darwin": "libtopk_ops_ort.dylib"}.get(sys.platform, "libtopk_ops_ort.so")
    path = Path(__file__).with_name(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: the package was not installed from a wheel. Build the library with `cargo build "
            f"--release --package topk-ops-ort` in a clone of the repository, and use target/release/{name}"
        )
    return str(path)


def export(
    model: torch.nn.Module | torch.export.ExportedProgram,
    args: tuple[Any, ...] = (),
    f: str | os.PathLike[str] | None = None,
    *,
    external_data: bool = True,
    custom_translation_table: dict[Callable[..., Any], Callable[..., Any]] | None = None,
    **options: Any,
) -> torch.onnx.ONNXProgram:
    """Exports a model that contains losses of this package: `torch.onnx.export` with `dynamo=True`,
    :func:`translation_table` and :func:`add_functions`.

    Args:
        model: a module, or an exported program
        args: example inputs
        f: the path of the file to write; `None` writes no file
        external_data: whether to write the weights into a second file
        custom_translation_table: translations of other operators
        **options: further arguments of `torch.onnx.export`

    Returns:
        torch.onnx.ONNXProgram: the exported model

    Raises:
        ValueError: a loss has settings that the portable function does not support
    """
    import torch

    table = {**translation_table(), **(custom_translation_table or {})}
    program = torch.onnx.export(model, args, dynamo=True, custom_translation_table=table, **options)
    add_functions(program)
    if f is not None:
        program.save(f, external_data=external_data)
    return program


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For the argument `custom_translation_table` of `torch.onnx.export`: writes the losses as operators of the domain
    `topk`. Call :func:`add_functions` on the result, unless it is for ONNX Runtime with the native library alone.

    Returns:
        dict: a function for each of PyTorch's operators `topk::NAME` and `topk::NAME_grad`
    """
    import onnxscript
    import torch

    from . import functional  # noqa: F401  (registers the operators)

    opset = onnxscript.values.Opset(_DOMAIN, 1)
    table = {}
    for name, (operator, outputs) in _OPERATORS.items():
        attributes = [parameter.split()[1] for parameter in _losses.PARAMETERS[name].split(", ")]
        call = onnxscript.values.Op(opset, operator, _schema(operator, attributes, outputs))
        for suffix in ("", "_grad"):
            overload = getattr(torch.ops.topk, name + suffix).default
            table[overload] = _translation(call, attributes, outputs, bool(suffix))
    return table


def _translation(call, attributes, outputs, with_gradient):
    from onnxscript import opset18

    def translate(input, target, weight, *settings):
        *parameters, reduction, ignore_index, label_smoothing = (*settings, 0.0)[: len(attributes) + 3]
        if label_smoothing != 0.0:
            raise ValueError("label smoothing cannot be exported: set label_smoothing to 0 for the export")
        inputs = (input, target) if weight is None else (input, target, weight)
        values = dict(zip(attributes, parameters))
        loss, gradient, *_ = call(*inputs, **values, reduction=reduction, ignore_index=ignore_index, _outputs=outputs)
        # A reduced loss has one dimension in ONNX, as `SoftmaxCrossEntropyLoss` did when it was defined, and none here.
        loss = loss if reduction == "none" else opset18.Squeeze(loss)
        return (loss, gradient) if with_gradient else loss

    return translate


def _schema(operator, attributes, outputs):
    from onnx.defs import OpSchema

    optional = OpSchema.FormalParameterOption.Optional
    kinds = {"k": OpSchema.AttrType.INT, "tau": OpSchema.AttrType.FLOAT, "alpha": OpSchema.AttrType.FLOAT}
    types = ["tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)"]
    return OpSchema(
        operator,
        _DOMAIN,
        1,
        inputs=[
            OpSchema.FormalParameter("scores", "T"),
            OpSchema.FormalParameter("labels", "tensor(int64)"),
            OpSchema.FormalParameter("weights", "T", param_option=optional),
        ],
        outputs=[
            OpSchema.FormalParameter("loss", "T"),
            *(OpSchema.FormalParameter(name, "T", param_option=optional) for name in ("grad", "prob")[: outputs - 1]),
        ],
        type_constraints=[("T", types, "the type of the scores")],
        attributes=[
            *(OpSchema.Attribute(name, kinds[name], name) for name in attributes),
            OpSchema.Attribute("reduction", OpSchema.AttrType.STRING, "none, sum or mean"),
            OpSchema.Attribute("ignore_index", OpSchema.AttrType.INT, "label of samples that do not count"),
        ],
    )


def add_functions(program: torch.onnx.ONNXProgram | onnx_ir.Model) -> None:
    """Adds the definitions of the losses in a model to it.

    Args:
        program: a `torch.onnx.ONNXProgram` or an `onnx_ir.Model`, which is changed

    Raises:
        ValueError: the number of classes is not known, the settings of a loss are not supported (k above 128), or the
            model has losses of one kind with different settings, for which ONNX has one name
    """
    import onnx
    import onnx_ir

    model = getattr(program, "model", program)
    settings = {}
    for node in model.graph.all_nodes():
        if node.domain != _DOMAIN:
            continue
        shape = node.inputs[0].shape
        classes = shape[1] if shape is not None and len(shape) == 2 else None
        if not isinstance(classes, int):
            raise ValueError(f"{node.op_type}: the number of classes must be fixed, but the scores have shape {shape}")
        values = {name: attribute.value for name, attribute in node.attributes.items()}
        weighted = len(node.inputs) > 2 and node.inputs[2] is not None
        found = (
            # Without k, it is not a parameter of the loss.
            values.get("k", 1),
            values.get("tau", 1.0),
            values.get("alpha", 1.0),
            values["reduction"],
            values["ignore_index"],
            model.opset_imports[""],
            classes,
            weighted,
        )
        # tau and alpha are attributes of the call; the function is the same for all.
        fixed = found[:1] + found[3:]
        if settings.setdefault(node.op_type, fixed) != fixed:
            raise ValueError(
                f"the model has two losses {node.op_type} with different k, reduction, ignored label, weights or "
                "number of classes, and ONNX has one function of that name: export them separately"
            )
        proto = onnx.FunctionProto.FromString(_topk.onnx_function(node.op_type, *found))
        function = onnx_ir.serde.deserialize_function(proto)
        model.functions[function.identifier()] = function
