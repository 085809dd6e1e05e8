"""The smooth top-k SVM against values computed with 60 digits."""

import numpy as np
import pytest
import torch

import topk.functional as F
from losses import golden

# Bounds of the errors: of the loss relative to max(1, loss), and of the entries of the gradient. Scores in the files
# are exact in float32; for halves they are rounded first, and then the result is rounded once more.
BOUNDS = {torch.float64: (1e-12, 1e-12), torch.float32: (2e-7, 1e-7)}


@pytest.mark.parametrize("case", golden(), ids=lambda case: case["name"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_tensors(case, dtype):
    scores = torch.tensor([case["scores"]], dtype=dtype, requires_grad=True)
    loss = F.smooth_topk_svm(scores, torch.tensor([case["y"]]), case["k"], tau=case["tau"], alpha=case["alpha"])
    loss.backward()
    of_loss, of_grad = BOUNDS[dtype]
    assert abs(loss.item() - case["loss"]) <= of_loss * max(1.0, case["loss"])
    assert np.abs(scores.grad.double().numpy()[0] - case["grad"]).max() <= of_grad


@pytest.mark.parametrize("case", golden(), ids=lambda case: case["name"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_halves_are_computed_in_float32(case, dtype):
    half = torch.tensor([case["scores"]]).to(dtype)
    if not half.isfinite().all():
        pytest.skip("the scores overflow this type")
    target = torch.tensor([case["y"]])
    options = {"k": case["k"], "tau": case["tau"], "alpha": case["alpha"]}
    half.requires_grad_()
    single = half.detach().float().requires_grad_()
    loss = F.smooth_topk_svm(half, target, **options)
    expected = F.smooth_topk_svm(single, target, **options)
    assert loss.dtype is dtype
    assert torch.equal(loss, expected.to(dtype))
    (grad,) = torch.autograd.grad(loss, half)
    (expected,) = torch.autograd.grad(expected, single)
    assert grad.dtype is dtype
    assert torch.equal(grad, expected.to(dtype))


@pytest.mark.parametrize("case", golden(), ids=lambda case: case["name"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_equal_tensors(case, dtype):
    scores = np.array([case["scores"]], dtype)
    target = np.array([case["y"]])
    options = {"k": case["k"], "tau": case["tau"], "alpha": case["alpha"]}
    value, grad = F.value_and_grad(F.smooth_topk_svm, scores, target, **options)
    tensor = torch.from_numpy(scores).requires_grad_()
    loss = F.smooth_topk_svm(tensor, torch.from_numpy(target), **options)
    loss.backward()
    assert value.dtype == grad.dtype == dtype
    assert value == loss.item()
    assert np.array_equal(grad, tensor.grad.numpy())
