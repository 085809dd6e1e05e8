"""Computes the smooth top-2 SVM and its gradient with ONNX Runtime, and descends along the gradient.

    python loss-onnxruntime.py loss.onnx                       # the function in the file
    python loss-onnxruntime.py loss.onnx libtopk_ops_ort.so    # the native kernel

`loss.onnx` is made by

    topk-export loss --topk 2 --tau 1 --alpha 1 --num-classes 4 --reduction none --out loss.onnx

Needs `pip install onnxruntime==1.31.1 numpy`.
"""

import sys

import numpy as np
import onnxruntime

model, *library = sys.argv[1:]
options = onnxruntime.SessionOptions()
for path in library:
    options.register_custom_ops_library(path)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

# Two samples of four classes. The label of the second has the second-lowest score.
scores = np.array([[2.0, 0.5, -1.0, 0.3], [0.1, 0.2, 0.0, 1.5]], dtype=np.float32)
labels = np.array([0, 2], dtype=np.int64)

for step in range(5):
    loss, grad = session.run(["loss", "grad"], {"scores": scores, "labels": labels})
    print(f"step {step}: loss", *(f"{value:.4f}" for value in loss))
    scores -= 4 * grad

# The gradient of each sample sums to zero.
assert np.abs(grad.sum(axis=1)).max() < 1e-6
