"""Exports a network of torchvision to ONNX, and compares its outputs in ONNX Runtime with PyTorch's, as topk-export
does. For `cargo xtask bench export`.

    python models/export/benches/torch_onnx_export.py NETWORK WEIGHTS.safetensors OUT.onnx

Requires torch, torchvision, safetensors, onnxscript and onnxruntime.
"""

import sys

import onnxruntime
import torch
import torchvision
from safetensors.torch import load_file

# Relative to the largest logit, as topk-export's.
TOLERANCE = 1e-4


def main():
    name, weights, out = sys.argv[1:]
    network = torchvision.models.get_model(name)
    # The file has no counters of batches.
    missing, unexpected = network.load_state_dict(load_file(weights), strict=False)
    if unexpected or any(not key.endswith("num_batches_tracked") for key in missing):
        sys.exit(f"the weights do not fit {name}: {missing}, {unexpected}")
    network.eval()
    images = torch.randn(2, 3, 224, 224)
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(network, (images,), out, dynamic_shapes=(batch,), external_data=False, verbose=False)

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = network(images)
    error = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
    if error > TOLERANCE:
        sys.exit(f"outputs differ by {error:.1e}")


if __name__ == "__main__":
    main()
