"""The losses composed of PyTorch's operations, which other devices than the CPU use, here on the CPU."""

import functools
import json
import math
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from topk import _composite, _losses, _torch

DATA = Path(__file__).parents[2] / "ops/tests/data"
# More cases of the same form, where there are any.
MORE = Path(__file__).parents[3] / "shared/golden/loss.jsonl"

FAMILY = {
    "TopkHingeAlpha": ("topk_hinge_alpha", "k alpha"),
    "TopkHingeBeta": ("topk_hinge_beta", "k alpha"),
    "TruncatedTopkEntropy": ("truncated_topk_entropy", "k"),
    "Psi5": ("psi5", "k alpha"),
    "BalancedNoisedTopk": ("balanced_noised_topk", "k epsilon draws alpha margins seed"),
    "Lml": ("lml", "k"),
    "DifferentiableTopkCrossEntropy": ("differentiable_topk_cross_entropy", "weights tau"),
    "LapSum": ("lapsum", "k tau"),
    "DfTopk": ("dftopk", "k tau"),
    "LdrKl": ("ldr_kl", "tau alpha"),
}

# Each loss with the least number of classes that its parameters need.
LOSSES = [
    ("smooth_topk_svm", (1, 1.0, 1.0), 2),
    ("smooth_topk_svm", (2, 1e-3, 0.5), 3),
    ("smooth_topk_svm", (5, 0.1, 1.0), 6),
    ("smooth_topk_svm", (40, 1.0, 1.0), 41),
    ("smooth_topk_svm", (90, 0.01, 1.0), 91),
    ("max_topk_svm", (1, 1.0), 2),
    ("max_topk_svm", (5, 1.0), 6),
    ("topk_hinge_alpha", (1, 1.0), 2),
    ("topk_hinge_alpha", (5, 0.5), 6),
    ("topk_hinge_beta", (1, 1.0), 2),
    ("topk_hinge_beta", (5, 0.5), 6),
    ("truncated_topk_entropy", (1,), 2),
    ("truncated_topk_entropy", (5,), 6),
    ("psi5", (1, 1.0), 2),
    ("psi5", (5, 1.0), 6),
    ("balanced_noised_topk", (1, 1.0, 1, 1.0, None, -(2**63)), 2),
    ("balanced_noised_topk", (5, 0.2, 10, 1.0, None, 42), 6),
    ("lml", (1,), 2),
    ("lml", (5,), 6),
    ("differentiable_topk_cross_entropy", ((1.0,), 1.0), 1),
    ("differentiable_topk_cross_entropy", ((0.5, 0.0, 0.0, 0.0, 0.5), 0.5), 5),
    ("differentiable_topk_cross_entropy", ((0.0, 0.0, 1.0, 0.0), 4.0), 4),
    ("lapsum", (1, 1.0), 2),
    ("lapsum", (5, 0.3), 6),
    ("lapsum", (40, 10.0), 41),
    ("dftopk", (1, 1.0), 2),
    ("dftopk", (5, 0.3), 6),
    ("ldr_kl", (1.0, 1.0), 1),
    ("ldr_kl", (0.1, 0.0), 1),
]
each_loss = pytest.mark.parametrize(("name", "parameters", "classes"), LOSSES)


def composed(name, parameters, scores, labels, weight=None, ignore_index=-100, reduction="mean"):
    with_gradient = _composite.loss(name, parameters, scores, labels, weight, ignore_index, reduction, True)
    value, none = _composite.loss(name, parameters, scores, labels, weight, ignore_index, reduction, False)
    assert none is None
    torch.testing.assert_close(value, with_gradient[0], rtol=0, atol=0, equal_nan=True)
    return with_gradient


def native(name, parameters, scores, labels, weight=None, ignore_index=-100, reduction="mean"):
    return _torch._compute_on_cpu(name, parameters, scores, labels, weight, ignore_index, reduction, True)


def batch(samples, classes, dtype, seed=0, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * spread
    labels = torch.randint(classes, (samples,), generator=generator)
    return scores.to(dtype), labels


def assert_equal_to_native(found, expected, dtype):
    """Compares pairs of a loss and a gradient."""
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, dtype)


def assert_close(found, expected, dtype):
    assert found.dtype == expected.dtype == dtype
    assert found.shape == expected.shape
    assert found.is_contiguous()
    assert torch.equal(found.isnan(), expected.isnan())
    difference = (found.double() - expected.double()).nan_to_num().abs()
    size = expected.double().nan_to_num().abs()
    if dtype in (torch.float16, torch.bfloat16):
        # One rounding to the type, relative down to the numbers below the normal ones.
        assert (difference <= torch.finfo(dtype).eps * size + 2.0**-24).all()
    else:
        bar = 1e-12 if dtype is torch.float64 else 2e-7
        assert (difference <= bar * size.clamp(min=1)).all()


def smooth_cases():
    cases = []
    for path in (DATA / "loss.jsonl", MORE):
        if path.exists():
            cases += map(json.loads, path.read_text().splitlines())
    assert len(cases) >= 72
    return [("smooth_topk_svm", (case["k"], case["tau"], case["alpha"]), case) for case in cases]


def family_cases():
    cases = [json.loads(line) for line in (DATA / "family.jsonl").read_text().splitlines()]
    assert len(cases) == 88
    found = []
    for case in cases:
        if case["name"] == "BinaryCrossEntropy":
            # PyTorch has it.
            continue
        name, keys = FAMILY[case["name"]]
        parameters = (case.get(key) for key in keys.split())
        found.append((name, tuple(tuple(p) if isinstance(p, list) else p for p in parameters), case))
    return found


@pytest.mark.parametrize(
    ("dtype", "computed_in", "value_bar", "gradient_bar"),
    [
        (torch.float64, torch.float64, 1e-14, 1e-14),
        (torch.float32, torch.float64, 6e-8, 6e-8),
        # A device without float64. Near the hinge at a small temperature, the gradient amplifies rounding.
        (torch.float32, torch.float32, 2e-7, 2e-6),
    ],
)
@pytest.mark.parametrize("cases", [smooth_cases, family_cases])
def test_exact_cases(monkeypatch, cases, dtype, computed_in, value_bar, gradient_bar):
    monkeypatch.setattr(_composite, "compute_dtype", lambda device: computed_in)
    for name, parameters, case in cases():
        scores = torch.tensor([case["scores"]], dtype=dtype)
        value, gradient = composed(name, parameters, scores, torch.tensor([case["y"]]))
        expected = torch.tensor(case["grad"], dtype=torch.float64)
        context = f"{name} {case['name']} with {len(expected)} classes"
        assert abs(value.item() - case["loss"]) <= value_bar * max(1, abs(case["loss"])), context
        error = (gradient[0].double() - expected).abs() / expected.abs().clamp(min=1)
        assert error.max() <= gradient_bar, context


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@each_loss
def test_equals_native(name, parameters, classes, dtype):
    for samples, more in [(1, 0), (5, 1), (7, 30), (3, 500)]:
        scores, labels = batch(samples, classes + more, dtype, seed=more)
        for reduction in _losses.REDUCTIONS:
            found = composed(name, parameters, scores, labels, reduction=reduction)
            expected = native(name, parameters, scores, labels, reduction=reduction)
            assert_equal_to_native(found, expected, dtype)


@each_loss
def test_equals_native_on_ties_and_large_spreads(name, parameters, classes):
    classes += 13
    scores, labels = batch(40, classes, torch.float64)
    ties = scores.round()
    for changed in (ties, ties * 0, scores * 1e4, scores * 1e-6, scores + 1e6):
        found = composed(name, parameters, changed, labels, reduction="none")
        expected = native(name, parameters, changed, labels, reduction="none")
        # Steep functions of large numbers.
        scale = expected[1].abs().amax(1, keepdim=True).clamp(min=1)
        found, expected = (found[0], found[1] / scale), (expected[0], expected[1] / scale)
        assert_equal_to_native(found, expected, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@each_loss
def test_weights_and_ignored_labels_equal_native(name, parameters, classes, dtype):
    classes += 3
    scores, labels = batch(9, classes, dtype)
    weight = torch.rand(classes, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    weight[labels[0]] = 0
    for ignore_index in (-100, 2**40, int(labels[3])):
        ignored = labels.clone()
        ignored[[1, 4]] = ignore_index
        for reduction in _losses.REDUCTIONS:
            arguments = (scores, ignored, weight, ignore_index, reduction)
            found = composed(name, parameters, *arguments)
            assert_equal_to_native(found, native(name, parameters, *arguments), dtype)
            assert (found[1][ignored == ignore_index] == 0).all()


@each_loss
def test_ignored_scores_are_not_read(name, parameters, classes):
    scores, labels = batch(4, classes + 2, torch.float32)
    labels[2] = -100
    expected = composed(name, parameters, scores, labels)
    for bad in (math.nan, math.inf, -math.inf):
        scores[2, 0] = bad
        found = composed(name, parameters, scores, labels)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("reduction", _losses.REDUCTIONS)
@each_loss
def test_invalid_rows_are_nan(name, parameters, classes, reduction):
    classes += 2
    scores, labels = batch(6, classes, torch.float32)
    valid = native(name, parameters, scores, labels, reduction=reduction)
    labels[0], labels[1] = -1, classes
    scores[2, -1], scores[3, 0], scores[4, classes // 2] = math.nan, math.inf, -math.inf
    values, gradient = composed(name, parameters, scores, labels, reduction=reduction)
    assert gradient[:5].isnan().all()
    assert_close(gradient[5], valid[1][5], torch.float32)
    if reduction == "none":
        assert values[:5].isnan().all()
        assert_close(values[5], valid[0][5], torch.float32)
    else:
        assert values.isnan()


@each_loss
def test_mean_over_no_samples_is_nan(name, parameters, classes):
    scores, labels = batch(3, classes, torch.float32)
    value, gradient = composed(name, parameters, scores, labels.fill_(-100))
    assert value.isnan()
    assert torch.equal(gradient, torch.zeros_like(scores))
    for reduction in _losses.REDUCTIONS:
        values, gradient = composed(name, parameters, scores[:0], labels[:0], reduction=reduction)
        assert gradient.shape == (0, classes)
        if reduction == "none":
            assert values.shape == (0,)
        else:
            assert values.isnan() if reduction == "mean" else values == 0


@each_loss
def test_transposed_and_sliced_scores(name, parameters, classes):
    scores, labels = batch(5, 2 * classes, torch.float32)
    for view in (scores.t().contiguous().t(), scores[:, ::2], scores[:, :1].expand(-1, classes)):
        labels = labels % view.shape[1]
        found = composed(name, parameters, view, labels)
        assert_equal_to_native(found, native(name, parameters, view, labels), torch.float32)


@each_loss
def test_too_few_classes(name, parameters, classes):
    if classes == 1:
        pytest.skip("every row has a class")
    scores, labels = batch(2, classes - 1, torch.float32)
    arguments = (name, parameters, scores, labels * 0)
    with pytest.raises(ValueError) as expected:
        native(*arguments)
    with pytest.raises(ValueError) as found:
        composed(*arguments)
    assert str(found.value) == str(expected.value)
    assert str(classes) in str(found.value)


@each_loss
def test_chunks_of_rows(monkeypatch, name, parameters, classes):
    scores, labels = batch(11, classes + 4, torch.float64)
    expected = composed(name, parameters, scores, labels, reduction="none")
    monkeypatch.setattr(_composite, "_CHUNK", 4 * (classes + 4) * _composite._numbers_per_score(name, parameters))
    found = composed(name, parameters, scores, labels, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_seed_in_a_tensor():
    scores, labels = batch(4, 9, torch.float64)
    for seed in (0, 42, -(2**63), 2**63 - 1):
        expected = composed("balanced_noised_topk", (2, 1.0, 3, 1.0, None, seed), scores, labels)
        for tensor in (torch.tensor(seed), torch.tensor([seed])):
            found = composed("balanced_noised_topk", (2, 1.0, 3, 1.0, None, tensor), scores, labels)
            assert torch.equal(found[0], expected[0])
            assert torch.equal(found[1], expected[1])


def test_margins_of_classes():
    scores, labels = batch(6, 5, torch.float64)
    for margins in ((0.0, 1.0, 2.0, 3.0, 4.0), (5.0,) * 5):
        parameters = (2, 0.5, 4, 1.0, margins, 7)
        found = composed("balanced_noised_topk", parameters, scores, labels)
        assert_equal_to_native(found, native("balanced_noised_topk", parameters, scores, labels), torch.float64)
    with pytest.raises(ValueError, match="margins"):
        composed("balanced_noised_topk", (2, 0.5, 4, 1.0, (1.0,) * 4, 7), scores, labels)


def test_extreme_temperatures():
    scores, labels = batch(5, 60, torch.float64)
    for tau in (1e-300, 1e-30, 1e30, 1e300):
        for k in (1, 5, 40):
            found = composed("smooth_topk_svm", (k, tau, 1.0), scores, labels, reduction="none")
            expected = native("smooth_topk_svm", (k, tau, 1.0), scores, labels, reduction="none")
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k", "classes"), [(100, 101), (1000, 1001), (1000, 2500)])
def test_large_k(monkeypatch, k, classes):
    scores, labels = batch(2, classes, torch.float64, spread=1.0)
    for factor in (1, 0, 1000):
        found = composed("smooth_topk_svm", (k, 1e-3, 1.0), scores * factor, labels)
        expected = native("smooth_topk_svm", (k, 1e-3, 1.0), scores * factor, labels)
        assert_equal_to_native(found, expected, torch.float64)
        with monkeypatch.context() as patched:
            patched.setattr(_composite, "compute_dtype", lambda device: torch.float32)
            single = composed("smooth_topk_svm", (k, 1.0, 1.0), (scores * factor).float(), labels)
        exact = native("smooth_topk_svm", (k, 1.0, 1.0), (scores * factor).float().double(), labels)
        for one, other in zip(single, exact, strict=True):
            assert ((one.double() - other).abs() <= 1e-6 * other.abs().clamp(min=1)).all()


@functools.cache
def has_fake_cuda():
    """Old versions of PyTorch need a GPU for fake tensors on one."""
    with FakeTensorMode():
        try:
            torch.empty(1, device="cuda")[1:]
        except RuntimeError:
            return False
    return True


@pytest.mark.parametrize("device", ["meta", "cuda"])
@pytest.mark.parametrize("reduction", _losses.REDUCTIONS)
@each_loss
def test_does_not_wait_for_the_device(name, parameters, classes, reduction, device):
    """Fake tensors have no data, so that reading any fails, as do operations on two devices; they work
    without a GPU."""
    if device == "cuda" and not has_fake_cuda():
        pytest.skip("this version of PyTorch needs a GPU")
    classes += 2
    if name == "balanced_noised_topk":
        parameters = (*parameters[:4], (1.0,) * classes, torch.tensor(3))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, Copies():
        scores = torch.empty(4, classes, device=device, dtype=torch.float16)
        labels = torch.empty(4, device=device, dtype=torch.int64)
        weight = torch.empty(classes, device=device, dtype=torch.float16)
        values, gradient = composed_without_values(name, parameters, scores, labels, weight, reduction)
        assert values.shape == ((4,) if reduction == "none" else ())
        assert gradient.shape == scores.shape
        assert gradient.is_contiguous()
        assert values.dtype == gradient.dtype == torch.float16
        assert values.device == gradient.device == scores.device
        with pytest.raises(DataDependentOutputException):
            scores.sum().item()
    assert mode.shape_env is None


def composed_without_values(name, parameters, scores, labels, weight, reduction):
    _composite.loss(name, parameters, scores, labels, weight, -100, reduction, False)
    return _composite.loss(name, parameters, scores, labels, weight, -100, reduction, True)


class Copies(TorchDispatchMode):
    """Fails on copies between devices that the host would wait for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default:
            device = kwargs.get("device") or args[0].device
            if args[0].device.type != device.type:
                assert args[0].device.type == "cpu", "a copy to the host"
                assert kwargs.get("non_blocking"), "a copy that the host waits for"
        return function(*args, **kwargs)


class Operations(TorchDispatchMode):
    """Counts operations that compute something."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        views = (
            "alias expand select slice squeeze unsqueeze view permute movedim split unfold detach "
            "unsafe_view empty empty_like new_empty as_strided"
        )
        if function._schema.name.removeprefix("aten::") not in views.split():
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "parameters", "limit"),
    [
        ("smooth_topk_svm", (1, 1.0, 1.0), 45),
        ("smooth_topk_svm", (5, 1.0, 1.0), 160),
        ("smooth_topk_svm", (200, 1.0, 1.0), 230),
        ("max_topk_svm", (5, 1.0), 50),
        ("topk_hinge_alpha", (5, 1.0), 62),
        ("topk_hinge_beta", (5, 1.0), 55),
        ("truncated_topk_entropy", (5,), 55),
        ("psi5", (5, 1.0), 50),
        ("balanced_noised_topk", (5, 1.0, 5, 1.0, None, 0), 150),
        ("lml", (5,), 280),
        ("lapsum", (5, 1.0), 280),
        ("dftopk", (5, 1.0), 70),
        ("ldr_kl", (1.0, 1.0), 50),
        ("differentiable_topk_cross_entropy", ((0.5, 0, 0, 0, 0.5), 1.0), 95),
    ],
)
def test_number_of_operations(name, parameters, limit):
    """Each operation is a launch or more on a device; small batches take the time of the launches."""
    scores, labels = batch(2, 1000, torch.float32)
    with Operations() as operations:
        _composite.loss(name, parameters, scores, labels, None, -100, "mean", True)
    assert 10 < operations.count <= limit
