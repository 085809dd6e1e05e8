"""Checks models with attached losses. Arguments: pairs of a model, and its copy with a loss.

Prints a line for each: the version of the format and of the operators, the functions, and what was added to inputs and
outputs.
"""

import sys

import numpy as np
import onnx
import onnxruntime

for before, after in zip(sys.argv[1::2], sys.argv[2::2]):
    onnx.checker.check_model(after, full_check=True)
    old = onnx.load(before, load_external_data=False)
    new = onnx.load(after, load_external_data=False)
    # Everything that was there is there.
    added = len(new.graph.node) - len(old.graph.node)
    assert list(new.graph.node)[: len(old.graph.node)] == list(old.graph.node) and added > 0
    assert list(new.graph.initializer) == list(old.graph.initializer)
    assert list(new.graph.value_info) == list(old.graph.value_info)
    assert list(new.functions)[: len(old.functions)] == list(old.functions)
    names = [node.name for node in new.graph.node if node.name]
    assert len(names) == len(set(names)), names
    session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
    assert len(session.get_outputs()) == len(new.graph.output)

    def described(values, count):
        shape = lambda value: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        return [f"{value.name}{shape(value)}" for value in list(values)[count:]]

    print(
        after,
        new.ir_version,
        new.opset_import[0].version,
        [f"{f.domain}.{f.name}" for f in new.functions],
        *described(new.graph.input, len(old.graph.input)),
        *described(new.graph.output, len(old.graph.output)),
    )
