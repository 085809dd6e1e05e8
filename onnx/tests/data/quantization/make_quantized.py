#!/usr/bin/env python3
"""Makes small models with ONNX Runtime's quantisation tools, and expected.json with what they contain.

    pip install onnx==1.23.2 onnxruntime==1.32.0 onnxconverter-common==1.16.0 onnx-ir
    python make_quantized.py
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

FOLDER = Path(__file__).parent
COMPUTE = {"Conv", "ConvTranspose", "MatMul", "Gemm"}
INTEGER = {"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulNBits"}


def classifier():
    """Conv, Relu, GlobalAveragePool, Flatten, MatMul with 32 inputs (a block of 4-bit weights), Gemm."""
    random = np.random.default_rng(1)

    def weights(name, *shape):
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["input", "w0", "b0"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w1"], ["m"], name="matmul"),
        helper.make_node("Gemm", ["m", "w2", "b2"], ["logits"], name="gemm", transB=1),
    ]
    initializers = [weights("w0", 32, 3, 3, 3), weights("b0", 32), weights("w1", 32, 8), weights("w2", 6, 8), weights("b2", 6)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 6])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


class Images(CalibrationDataReader):
    def __init__(self):
        random = np.random.default_rng(2)
        self.images = iter([{"input": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(8)])

    def get_next(self):
        return next(self.images, None)


def main():
    source = FOLDER / "float32.onnx"
    onnx.save(classifier(), source)

    def static(name, **options):
        quantize_static(source, FOLDER / name, Images(), **options)

    static("qdq.onnx", quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    static(
        "qdq_part.onnx",
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["Conv"],
    )
    static(
        "qdq_float_weights.onnx",
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"AddQDQPairToWeight": True},
    )
    static("qdq_int16.onnx", quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt16, weight_type=QuantType.QInt8)
    static("qoperator.onnx", quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    static(
        "qdq_float8.onnx",
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QFLOAT8E4M3FN,
        weight_type=QuantType.QFLOAT8E4M3FN,
        calibrate_method=CalibrationMethod.Distribution,
    )
    quantize_dynamic(source, FOLDER / "dynamic.onnx", weight_type=QuantType.QUInt8)
    for format, name in [(QuantFormat.QOperator, "int4_nbits.onnx"), (QuantFormat.QDQ, "int4_qdq.onnx")]:
        quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True, quant_format=format)
        quantizer.process()
        onnx.save(quantizer.model.model, FOLDER / name)
    from onnxconverter_common import float16

    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), FOLDER / "float16.onnx")

    expected = {}
    for path in sorted(FOLDER.glob("*.onnx")):
        graph = onnx.load(path).graph
        operators = Counter(node.op_type for node in graph.node)
        kinds = Counter(TensorProto.DataType.Name(tensor.data_type).lower() for tensor in graph.initializer)
        expected[path.stem] = {
            "nodes": sum(operators[name] for name in COMPUTE | INTEGER),
            "integer_nodes": sum(operators[name] for name in INTEGER),
            "operators": dict(sorted(operators.items())),
            "initializers": dict(sorted(kinds.items())),
        }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
