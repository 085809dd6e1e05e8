"""Trains a new last layer on the features of a frozen network, with ONNX Runtime and NumPy alone.

    python train-classifier.py net.onnx FEATURES images.npy labels.npy

`net.onnx` is any network; FEATURES is the name of its value before the last layer, f32[batch, features]; `images.npy`
has its input, f32[images, ...], and `labels.npy` the classes, i64[images]. The new layer is written as
`classifier.onnx`, and the layer with the smooth top-k SVM behind it as `classifier-with-loss.onnx`.

`topk-export` computes the loss in the graph, and its gradient with respect to the scores. The gradient with respect to
the weights follows by the chain rule: scores = features @ weight + bias.

Needs `pip install onnx onnxruntime==1.31.1 numpy`, and `topk-export` in the PATH.
"""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

TOPK, EPOCHS, BATCH, LEARNING_RATE, MOMENTUM = 2, 15, 32, 0.5, 0.9

net, name, images, labels = sys.argv[1:]
images, labels = np.load(images), np.load(labels)
classes = int(labels.max()) + 1


def session(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


# The features of all images, once: the network stays as it is.
network = onnx.load(net)
network.graph.output.append(onnx.ValueInfoProto(name=name))
network = session(network.SerializeToString())
source = network.get_inputs()[0].name
batches = range(0, len(images), BATCH)
features = [network.run([name], {source: images[i : i + BATCH]})[0] for i in batches]
features = np.concatenate(features)
features = (features - features.mean(0)) / (features.std(0) + 1e-6)

# The new layer. Its weights are inputs, so that each step can pass others.
shapes = {"features": ["N", features.shape[1]], "weight": [features.shape[1], classes], "bias": [classes]}
inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", classes])
gemm = helper.make_node("Gemm", list(shapes), ["scores"])
graph = helper.make_graph([gemm], "classifier", inputs, [scores])
layer = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(layer, "classifier.onnx")
command = ["topk-export", "loss", "--attach", "classifier.onnx", "--out", "classifier-with-loss.onnx"]
subprocess.run([*command, "--topk", str(TOPK), "--reduction", "mean"], check=True)
layer = session("classifier-with-loss.onnx")

random = np.random.default_rng(0)
weights = {
    "weight": np.zeros((features.shape[1], classes), np.float32),
    "bias": np.zeros(classes, np.float32),
}
velocity = {name: np.zeros_like(value) for name, value in weights.items()}
for epoch in range(EPOCHS):
    total = 0.0
    for batch in np.array_split(random.permutation(len(labels)), len(batches)):
        x = features[batch]
        loss, grad = layer.run(["loss", "grad"], {"features": x, "labels": labels[batch], **weights})
        total += loss[0] * len(batch)
        gradients = {"weight": x.T @ grad, "bias": grad.sum(0)}
        for name, gradient in gradients.items():
            velocity[name] = MOMENTUM * velocity[name] + gradient
            weights[name] -= LEARNING_RATE * velocity[name]
    found = features @ weights["weight"] + weights["bias"]
    best = np.argsort(-found, axis=1)[:, :TOPK]
    accuracy = (best == labels[:, None]).any(axis=1).mean()
    print(f"epoch {epoch + 1}: loss {total / len(labels):.4f}, top-{TOPK} accuracy {accuracy:.1%}")

# The trained weights become constants of the layer.
graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
del graph.input[1:]
layer = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(layer)
onnx.save(layer, "classifier.onnx")
