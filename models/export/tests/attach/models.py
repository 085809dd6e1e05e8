"""Writes models as different exporters do. Argument: the folder.

Each has ten classes, and other versions of ONNX, names, shapes or places of weights.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(0)
weight = rng.normal(size=(3, 10)).astype(np.float32)


def value(name, shape, element_type=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element_type, shape)


def save(name, nodes, inputs, outputs, initializers=(), opset=17, ir_version=8, **more):
    functions = more.pop("functions", [])
    imports = [helper.make_opsetid("", opset), *more.pop("imports", [])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers, **more)
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=functions)
    onnx.checker.check_model(model)
    onnx.save(model, folder / name)
    return model


w = numpy_helper.from_array(weight, "w")
x, logits = value("x", ["N", 3]), value("logits", ["N", 10])
matmul = helper.make_node("MatMul", ["x", "w"], ["logits"], "matmul")

# The weights are inputs too, as before version 4 of the format; elements are not in `raw_data`.
floats = helper.make_tensor("w", TensorProto.FLOAT, [3, 10], weight.ravel())
doubled = helper.make_node("Cast", ["w64"], ["w"], to=TensorProto.FLOAT)
w64 = helper.make_tensor("w64", TensorProto.DOUBLE, [3, 10], weight.astype(np.float64).ravel())
save("old.onnx", [matmul], [x, value("w", [3, 10])], [logits], [floats], opset=9, ir_version=3)
save("doubles.onnx", [doubled, matmul], [x], [logits], [w64], opset=11, ir_version=6)

# As a convolution ends, and as channels last do.
kernel = numpy_helper.from_array(weight.T.reshape(10, 3, 1, 1).copy(), "kernel")
conv = helper.make_node("Conv", ["image", "kernel"], ["map"])
image = value("image", ["N", 3, 1, 1])
save("conv.onnx", [conv], [image], [value("map", ["N", 10, 1, 1])], [kernel], opset=13, ir_version=7)
last = helper.make_node("Transpose", ["map"], ["last"], perm=[0, 2, 3, 1])
save("last.onnx", [conv, last], [image], [value("last", [None, 1, 1, 10])], [kernel])

# Probabilities, whose logits are not an output, and not in value_info either.
softmax = helper.make_node("Softmax", ["logits"], ["probs"], axis=1)
save("softmax.onnx", [matmul, softmax], [x], [value("probs", ["N", 10])], [w])
log = helper.make_node("LogSoftmax", ["logits"], ["logs"], axis=1)
save("logs.onnx", [matmul, log], [x], [value("logs", ["N", 10])], [w])
exp = helper.make_node("Exp", ["logits"], ["e"])
total = helper.make_node("ReduceSum", ["e", "one"], ["sum"])
ratio = helper.make_node("Mul", ["e", "inverse"], ["probs"])
inverse = helper.make_node("Reciprocal", ["sum"], ["inverse"])
one = numpy_helper.from_array(np.array([1], dtype=np.int64), "one")
save("hidden.onnx", [matmul, exp, total, inverse, ratio], [x], [value("probs", ["N", 10])], [w, one])

# Several outputs, of which two could be scores; and of which one could.
features = helper.make_node("Relu", ["x"], ["features"])
classes = helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0)
best = value("best", ["N"], TensorProto.INT64)
save("two.onnx", [matmul, features], [x], [value("features", ["N", 3]), logits], [w])
save("best.onnx", [matmul, classes], [x], [best, logits], [w])

# Names that a loss has too, operators of its domain, and a branch.
names = ["SmoothTopkSVMLoss", "loss", "grad"]
renamed = [
    helper.make_node("MatMul", ["labels", "w"], ["loss"], "SmoothTopkSVMLoss"),
    helper.make_node("SmoothTopkSVMLoss", ["loss"], ["SmoothTopkSVMLoss/scores_f32"], "grad", domain="topk"),
    helper.make_node("Add", ["SmoothTopkSVMLoss/scores_f32", "loss"], ["logits"]),
]
function = helper.make_function(
    "topk", "SmoothTopkSVMLoss", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)]
)
imports = [helper.make_opsetid("topk", 1)]
save("names.onnx", renamed, [value("labels", ["N", 3])], [logits], [w], functions=[function], imports=imports)
function.domain = "other"
renamed[1].domain = "other"
imports = [helper.make_opsetid("topk", 5), helper.make_opsetid("other", 1)]
save("domain.onnx", renamed, [value("labels", ["N", 3])], [logits], [w], functions=[function], imports=imports)
then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["inner"])], "then", [], [value("inner", None)])
other = helper.make_graph([helper.make_node("Identity", ["z"], ["outer"])], "else", [], [value("outer", None)])
branch = helper.make_node("If", ["c"], ["logits"], then_branch=then, else_branch=other)
z = numpy_helper.from_array(np.zeros((1, 10), dtype=np.float32), "z")
save("branch.onnx", [branch], [x, value("c", [], TensorProto.BOOL)], [logits], [w, z])

# Tokens; text, which cannot be made up; and a fixed batch of 16-bit scores.
table = numpy_helper.from_array(rng.normal(size=(7, 10)).astype(np.float32), "table")
tokens = value("tokens", ["batch", "length"], TensorProto.INT64)
nodes = [
    helper.make_node("Gather", ["table", "tokens"], ["embedded"]),
    helper.make_node("ReduceMean", ["embedded"], ["logits"], axes=[1], keepdims=0),
]
save("tokens.onnx", nodes, [tokens], [value("logits", ["batch", 10])], [table])
text = value("text", ["N"], TensorProto.STRING)
nodes = [
    helper.make_node("Shape", ["text"], ["count"]),
    helper.make_node("Concat", ["count", "ten"], ["shape"], axis=0),
    helper.make_node("ConstantOfShape", ["shape"], ["logits"]),
]
ten = numpy_helper.from_array(np.array([10], dtype=np.int64), "ten")
save("text.onnx", nodes, [text], [logits], [ten])
w16 = numpy_helper.from_array(weight.astype(np.float16), "w")
half = [value("x", [4, 3], TensorProto.FLOAT16), value("logits", [4, 10], TensorProto.FLOAT16)]
save("half.onnx", [matmul], half[:1], half[1:], [w16], opset=21, ir_version=10)

# Without the number of classes, which ONNX Runtime infers; and where nobody can.
save("open.onnx", [matmul], [x], [value("logits", ["N", "classes"])], [w], opset=18, ir_version=9)
save("free.onnx", [helper.make_node("Identity", ["x"], ["logits"])], [value("x", ["N", "C"])], [value("logits", ["N", "C"])])

# Weights in another file.
model = save("outside.onnx", [matmul], [x], [logits], [w])
onnx.save(model, folder / "outside.onnx", save_as_external_data=True, location="outside.data", size_threshold=0)

# What ONNX Runtime cannot load.
unknown = helper.make_node("Unknown", ["x"], ["logits"], domain="com.example")
save("unknown.onnx", [unknown], [x], [logits], imports=[helper.make_opsetid("com.example", 1)])

# What a loss cannot be attached to.
save("ancient.onnx", [matmul], [x, value("w", [3, 10])], [logits], [w], opset=8, ir_version=3)
save("map.onnx", [conv], [value("image", ["N", 3, 5, 5])], [value("map", ["N", 10, 5, 5])], [kernel])
save("integers.onnx", [matmul, classes], [x], [best], [w])
