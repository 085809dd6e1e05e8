"""Arguments of the functions: shapes, weights, ignored labels, types, and errors, as `cross_entropy` has them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as reference

import topk.functional as F
from losses import LOSSES, loss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def as_cross_entropy(input, target, **options):
    """With these parameters the smooth top-k SVM is cross-entropy."""
    return F.smooth_topk_svm(input, target, 1, tau=1.0, alpha=0.0, **options)


SHAPES = {
    "(C)": ((7,), ()),
    "(N, C)": ((5, 7), (5,)),
    "(N, C, d)": ((5, 7, 3), (5, 3)),
    "(N, C, d, e)": ((2, 7, 3, 4), (2, 3, 4)),
    "(0, C)": ((0, 7), (0,)),
}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_cross_entropy(shape, weighted, reduction):
    of_input, of_target = SHAPES[shape]
    input = torch.randn(of_input, dtype=torch.float64, requires_grad=True)
    target = torch.randint(7, of_target)
    if target.numel() > 1:
        target.view(-1)[0] = -100
    options = {"weight": torch.rand(7, dtype=torch.float64) if weighted else None, "reduction": reduction}
    ours = as_cross_entropy(input, target, **options)
    theirs = reference.cross_entropy(input, target, **options)
    torch.testing.assert_close(ours, theirs, equal_nan=True)
    grads = [torch.autograd.grad(each.sum(), input)[0] for each in (ours, theirs)]
    torch.testing.assert_close(*grads)

    arrays = {**options, "weight": options["weight"].numpy() if weighted else None}
    value, grad = F.value_and_grad(
        F.smooth_topk_svm, input.detach().numpy(), target.numpy(), 1, tau=1.0, alpha=0.0, **arrays
    )
    assert np.array_equal(value, ours.detach().numpy(), equal_nan=True)
    if reduction != "none":
        assert np.array_equal(grad, grads[0].numpy())


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_samples_do_not_count(name):
    input = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([1, 3, 3, 8])
    masked = torch.where(torch.tensor([False, False, True, False]), 3, target)
    # Label 3 is ignored where it is the ignored label, even if it is a class.
    mean = loss(name)(input, masked, 2, ignore_index=3, reduction="mean")
    each = loss(name)(input, target, 2, reduction="none")
    torch.testing.assert_close(mean, each[[0, 3]].mean())
    (grad,) = torch.autograd.grad(mean, input)
    assert (grad[1:3] == 0).all() and (grad[[0, 3]] != 0).any()


def test_ignored_samples_may_have_any_scores():
    input = torch.tensor([[0.5, 1.0, 2.0], [float("nan"), float("inf"), 0.0]], requires_grad=True)
    total = F.smooth_topk_svm(input, torch.tensor([0, -100]), 1, reduction="sum")
    total.backward()
    assert total.isfinite() and (input.grad[1] == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_all_ignored(reduction):
    value = F.smooth_topk_svm(torch.randn(2, 4), torch.tensor([-100, -100]), 2, reduction=reduction)
    assert value.isnan() if reduction == "mean" else (value == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_types_are_kept(name, dtype):
    input = torch.randn(3, 8).to(dtype).requires_grad_()
    value = loss(name)(input, torch.tensor([0, 5, 7]), 2)
    value.backward()
    assert value.dtype is dtype and input.grad.dtype is dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_of_arrays(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    scores = torch.randn(4, 9).numpy().astype(dtype)
    target = np.array([0, 3, 6, 8], np.int32)
    value, grad = F.value_and_grad(F.smooth_topk_svm, scores, target, 2)
    single, expected = F.value_and_grad(F.smooth_topk_svm, scores.astype(np.float32), target, 2)
    assert value.dtype == grad.dtype == dtype
    assert value == single.astype(dtype)
    assert np.array_equal(grad.astype(np.float32), expected.astype(dtype).astype(np.float32))


def test_autocast_computes_in_float32():
    layer = torch.nn.Linear(6, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = layer(torch.randn(4, 6))
        assert scores.dtype is torch.bfloat16
        value = F.smooth_topk_svm(scores, torch.tensor([1, 2, 3, 4]), 2, weight=torch.ones(10))
    assert value.dtype is torch.float32
    value.backward()
    assert layer.weight.grad.dtype is torch.float32


def test_meta_tensors():
    input = torch.randn(3, 10, device="meta", dtype=torch.float64, requires_grad=True)
    value = F.smooth_topk_svm(input, torch.zeros(3, dtype=torch.int64, device="meta"), 5, reduction="none")
    value.sum().backward()
    assert value.shape == (3,) and value.dtype is torch.float64
    assert input.grad.shape == (3, 10) and input.grad.is_meta


def test_strides_do_not_matter():
    dense = torch.randn(6, 10, dtype=torch.float64)
    target = torch.randint(10, (6,))
    for view in (dense.t().contiguous().t(), torch.stack([dense, dense], 2)[..., 0], dense.flip(0).flip(0)):
        leaf = view.detach().requires_grad_()
        value = F.smooth_topk_svm(leaf, target.repeat_interleave(2)[::2], 3)
        (grad,) = torch.autograd.grad(value, leaf)
        expected = dense.clone().requires_grad_()
        other = F.smooth_topk_svm(expected, target, 3)
        assert torch.equal(value, other)
        assert torch.equal(grad, torch.autograd.grad(other, expected)[0])
    array = dense.numpy()[::-1, ::-2]
    assert F.smooth_topk_svm(array, np.array([0, 1, 2, 3, 4, 0]), 3) == F.smooth_topk_svm(
        array.copy(), np.array([0, 1, 2, 3, 4, 0]), 3
    )


def test_large_batches_are_shared_between_threads():
    input = torch.randn(300, 1000, requires_grad=True)
    target = torch.randint(1000, (300,))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            value = F.smooth_topk_svm(input, target, 5)
            results.append((value, torch.autograd.grad(value, input)[0]))
    finally:
        torch.set_num_threads(threads)
    for value, grad in results[1:]:
        assert torch.equal(value, results[0][0]) and torch.equal(grad, results[0][1])
    assert F.smooth_topk_svm(input.detach().numpy(), target.numpy(), 5) == results[0][0].item()


def test_noise_follows_the_generator():
    input, target = torch.randn(3, 9, dtype=torch.float64), torch.tensor([0, 4, 8])
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(F.balanced_noised_topk(input, target, 2).item())
    assert values[0] == values[1] != values[2]
    margins = F.balanced_noised_topk(input, target, 2, margins=[0.5] * 9, seed=3)
    assert margins == F.balanced_noised_topk(input, target, 2, alpha=0.5, seed=3)


INPUT, TARGET = torch.randn(3, 10), torch.tensor([1, 2, 9])

ERRORS = {
    "label": (IndexError, "label 10 of sample 1 is not in 0..10", {"target": torch.tensor([1, 10, 2])}),
    "negative label": (IndexError, "label -1 of sample 0 is not in 0..10", {"target": torch.tensor([-1, 2, 3])}),
    "too few classes": (ValueError, "this loss needs at least 11 classes, got 10", {"k": 10}),
    "k of zero": (ValueError, "k must be at least 1, got 0", {"k": 0}),
    "fractional k": (TypeError, "k must be an int, got float", {"k": 2.5}),
    "tau": (ValueError, "tau .* must be a finite number above 0, got 0", {"tau": 0.0}),
    "alpha": (ValueError, "alpha .* must be a finite number of at least 0, got -1", {"alpha": -1.0}),
    "float labels": (RuntimeError, "expected scalar type Long but found Float", {"target": TARGET.float()}),
    "probabilities": (RuntimeError, "the labels are indices of classes, not probabilities", {"target": INPUT}),
    "short labels": (RuntimeError, "expected scalar type Long but found Int", {"target": TARGET.int()}),
    "integer scores": (RuntimeError, "not implemented for 'Long'", {"input": INPUT.long()}),
    "complex scores": (RuntimeError, "not implemented for 'ComplexFloat'", {"input": INPUT.cfloat()}),
    "batch sizes": (
        ValueError,
        r"Expected input batch_size \(3\) to match target batch_size \(2\)\.",
        {"target": TARGET[:2]},
    ),
    "dimensions": (RuntimeError, r"Expected target size \[3, 2\], got \[3\]", {"input": torch.randn(3, 10, 2)}),
    "a scalar": (RuntimeError, "got a scalar", {"input": torch.tensor(1.0)}),
    "a list": (TypeError, "target must be a Tensor, got list", {"target": [1, 2, 3]}),
    "NaN": (
        ValueError,
        "score NaN of sample 2, class 4 is not finite",
        {"input": INPUT.index_put((torch.tensor(2), torch.tensor(4)), torch.tensor(float("nan")))},
    ),
    "number of weights": (RuntimeError, r"weight tensor of shape: \[3\]", {"weight": torch.ones(3)}),
    "type of weights": (
        RuntimeError,
        "expected scalar type Float but found Double",
        {"weight": torch.ones(10).double()},
    ),
    "negative weight": (ValueError, "the weight of class 0 must be", {"weight": -torch.ones(10)}),
    "reduction": (ValueError, "avg is not a valid value for reduction", {"reduction": "avg"}),
    "devices": (RuntimeError, "Expected all tensors to be on the same device", {"target": TARGET.to("meta")}),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    exception, message, changed = ERRORS[case]
    arguments = {"input": INPUT, "target": TARGET, "k": 5, **changed}
    with pytest.raises(exception, match=message):
        F.smooth_topk_svm(**arguments)


ARRAY_ERRORS = {
    "label": (IndexError, "label 10 of sample 1", {"target": np.array([1, 10, 2])}),
    "float labels": (TypeError, "labels of an integer type, got float64", {"target": np.ones(3)}),
    "integer scores": (TypeError, "scores of float16, bfloat16, float32 or float64", {"input": np.ones((3, 10), int)}),
    "shapes": (ValueError, r"Expected target size \[3\], got \[2\]", {"target": np.array([1, 2])}),
    "weights": (ValueError, r"got weight tensor of shape: \[3\]", {"weight": np.ones(3)}),
    "a scalar": (ValueError, "got a scalar", {"input": np.array(1.0)}),
}


@pytest.mark.parametrize("case", ARRAY_ERRORS)
def test_errors_of_arrays(case):
    exception, message, changed = ARRAY_ERRORS[case]
    arguments = {"input": INPUT.numpy(), "target": TARGET.numpy(), "k": 5, **changed}
    with pytest.raises(exception, match=message):
        F.smooth_topk_svm(**arguments)


def test_value_and_grad_refuses_tensors():
    with pytest.raises(TypeError, match=r"use loss\.backward\(\)"):
        F.value_and_grad(F.smooth_topk_svm, INPUT, TARGET)
