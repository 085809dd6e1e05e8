"""The package where PyTorch is not installed."""

import subprocess
import sys

SCRIPT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import numpy
import topk

scores = numpy.array([[2.0, 0.5, -1.0, 0.3], [0.1, 0.2, 0.0, 1.5]], numpy.float32)
value, grad = topk.functional.value_and_grad(topk.functional.smooth_topk_svm, scores, numpy.array([0, 2]), 2)
print(value.dtype, round(float(value), 4), grad.shape, "torch" in sys.modules)
try:
    topk.nn
except ModuleNotFoundError as error:
    print(error)
"""


def test_arrays_need_no_torch():
    output = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout
    assert output.splitlines() == ["float32 1.1079 (2, 4) False", "No module named 'torch'"]


def test_importing_the_package_does_not_import_torch():
    script = "import sys, topk; print('torch' in sys.modules, 'numpy' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert output.split() == ["False", "False"]
