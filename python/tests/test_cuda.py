"""The losses by CUDA kernels.

Where PyTorch finds no GPU, the kernels run on tensors of the CPU, through the driver in TOPK_CUDA_DRIVER, whose device
is the CPU. Tests of what only a GPU does have the mark `needs_gpu`.
"""

import ctypes
import os

import pytest
import torch

import topk.functional as F
from topk import _cuda, _topk, _torch

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if GPU else torch.device("cpu")
if not GPU:
    driver = os.environ.get("TOPK_CUDA_DRIVER")
    if driver is None:
        pytest.skip("there is neither a GPU nor a driver that emulates one", allow_module_level=True)
    # PyTorch has counted its devices by now. The package finds the driver by its name while it is loaded.
    ctypes.CDLL(driver)

needs_gpu = pytest.mark.skipif(not GPU, reason="PyTorch finds no GPU")

IGNORE = -100
# Arithmetic in float32, and half the distance of two numbers of the type near 1.
BOUNDS = {torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}
LOSSES = [
    ("smooth_topk_svm", (1, 1.0, 1.0)),
    ("smooth_topk_svm", (5, 0.1, 1.0)),
    ("smooth_topk_svm", (20, 1.0, 1.0)),
    ("max_topk_svm", (5, 1.0)),
    ("topk_hinge_alpha", (5, 1.0)),
    ("topk_hinge_beta", (5, 1.0)),
    ("truncated_topk_entropy", (5,)),
    ("psi5", (5, 1.0)),
]


def batch(samples, classes, dtype):
    generator = torch.Generator().manual_seed(classes)
    scores = (torch.randn(samples, classes, generator=generator) * 3).to(dtype)
    labels = torch.randint(classes, (samples,), generator=generator)
    labels[samples // 2] = IGNORE
    return scores, labels


def by_kernel(name, parameters, scores, labels, weight, reduction):
    """What `topk.functional` does for scores on a GPU."""
    dtype = _cuda._TYPES[scores.dtype]
    kernel = _cuda.find(name, parameters, dtype, scores.shape[1], reduction, IGNORE)
    assert kernel is not None
    return _torch._LossByKernel.apply(scores, labels, weight, kernel, reduction)


def on_cpu(name, parameters, scores, labels, weight, reduction):
    return _torch._Loss.apply(scores, labels, weight, name, parameters, IGNORE, 0.0, reduction)


def leaf(tensor, device=DEVICE):
    """A copy that gradients are computed for."""
    return tensor.detach().to(device, copy=True).requires_grad_()


def difference(found, expected):
    expected = expected.detach().double()
    error = (found.detach().cpu().double() - expected).abs().max()
    return float(error / expected.abs().max().clamp(min=1))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name, parameters", LOSSES)
def test_equals_the_cpu(name, parameters, reduction, dtype):
    sizes = [(6, 30), (6, 300), (600, 30), (3, 1100)]
    # In the emulation, the large ones take long.
    for samples, classes in sizes if GPU or dtype is torch.float32 and reduction == "mean" else sizes[:1]:
        for weighted in (False, True):
            scores, labels = batch(samples, classes, dtype)
            weight = torch.arange(classes).remainder(4).to(dtype) if weighted else None
            factor = torch.linspace(-1, 2, samples) if reduction == "none" else torch.tensor(3.0)
            ours, theirs = leaf(scores), leaf(scores.float(), "cpu")
            found = by_kernel(
                name, parameters, ours, labels.to(DEVICE), weight if weight is None else weight.to(DEVICE), reduction
            )
            expected = on_cpu(name, parameters, theirs, labels, weight if weight is None else weight.float(), reduction)
            assert found.dtype is dtype
            assert found.shape == expected.shape
            assert difference(found, expected) < BOUNDS[dtype]
            (found.float() * factor.to(DEVICE)).sum().backward()
            (expected * factor).sum().backward()
            assert ours.grad.dtype is dtype
            # Upstream gradients of half types are rounded too.
            assert difference(ours.grad, theirs.grad) < 2 * BOUNDS[dtype]


def svm(scores, labels, reduction="mean"):
    return by_kernel("smooth_topk_svm", (3, 0.5, 1.0), scores, labels.to(scores.device), None, reduction)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_a_kept_gradient_is_not_overwritten(dtype):
    scores, labels = batch(4, 30, dtype)
    scores = leaf(scores)
    loss = svm(scores, labels)
    (first,) = torch.autograd.grad(loss, scores, retain_graph=True)
    copy = first.clone()
    (second,) = torch.autograd.grad(2 * loss, scores, retain_graph=True)
    (last,) = torch.autograd.grad(0.5 * loss, scores)
    assert torch.equal(first, copy)
    assert difference(second, 2 * copy.cpu()) < 2 * BOUNDS[dtype]
    assert difference(last, copy.cpu() / 2) < BOUNDS[dtype]


def test_scores_are_read_with_their_strides():
    wide, _ = batch(6, 60, torch.float32)
    labels = torch.tensor([3, 19, 0])
    views = [
        lambda wide: wide[::2, 7:27],
        lambda wide: wide[:3, ::3],
        lambda wide: wide.reshape(60, 6)[:20, :3].T,
        lambda wide: wide[:1, :20].expand(3, 20),
    ]
    for view in views:
        ours, theirs = leaf(wide), leaf(wide, "cpu")
        found = svm(view(ours), labels)
        expected = on_cpu("smooth_topk_svm", (3, 0.5, 1.0), view(theirs), labels, None, "mean")
        assert difference(found, expected) < 1e-6
        found.backward()
        expected.backward()
        assert difference(ours.grad, theirs.grad) < 1e-6


def test_small_derivatives_of_scaled_losses_are_kept():
    scores, labels = batch(4, 50, torch.float16)
    scores *= 6
    ours = leaf(scores)
    (svm(ours, labels).float() * 16384).backward()
    theirs = leaf(scores.float(), "cpu")
    on_cpu("smooth_topk_svm", (3, 0.5, 1.0), theirs, labels, None, "mean").backward()
    expected = theirs.grad * 16384
    assert ((theirs.grad.half() == 0) & (expected.abs() > 1e-7)).any()
    error = (ours.grad.cpu().float() - expected).abs()
    assert (error <= 1e-3 * expected.abs() + 6e-8).all()


def test_invalid_rows_are_nan():
    scores, labels = batch(4, 30, torch.float32)
    scores[0, 7] = torch.inf
    labels[:] = torch.tensor([1, 30, -1, 2])
    scores = leaf(scores)
    loss = svm(scores, labels, "none")
    loss.sum().backward()
    assert loss.isnan().tolist() == [True, True, True, False]
    assert scores.grad.isnan().all(1).tolist() == [True, True, True, False]


def test_empty_batches():
    scores = torch.zeros(0, 30, device=DEVICE, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.int64)
    assert svm(scores, labels, "none").shape == (0,)
    assert svm(scores, labels, "sum").item() == 0
    loss = svm(scores, labels)
    assert loss.isnan()
    loss.backward()
    assert scores.grad.shape == (0, 30)


def test_second_derivatives_are_an_error():
    for dtype in BOUNDS:
        scores, labels = batch(4, 30, dtype)
        scores = leaf(scores)
        scale = torch.tensor(2.0, requires_grad=True, device=DEVICE)
        loss = scale * svm(scores, labels)
        (first,) = torch.autograd.grad(loss, scores, create_graph=True)
        # The gradient is linear in the scale.
        (of_scale,) = torch.autograd.grad(first.float().square().sum(), scale, retain_graph=True)
        assert difference(of_scale, first.detach().cpu().float().square().sum()) < 1e-2
        with pytest.raises(RuntimeError, match="second derivatives"):
            first.sum().backward()


def test_what_has_no_kernel_is_left_to_pytorch():
    def find(name, parameters, dtype="float32", classes=1000):
        return _cuda.find(name, parameters, dtype, classes, "mean", IGNORE)

    assert find("smooth_topk_svm", (128, 1.0, 1.0)) is not None
    assert find("smooth_topk_svm", (129, 1.0, 1.0)) is None
    assert find("psi5", (11, 1.0)) is None
    assert find("smooth_topk_svm", (5, 1.0, 1.0), dtype=None) is None
    assert find("smooth_topk_svm", (5, 1.0, 1.0), classes=1 << 23) is None
    with pytest.raises(ValueError, match="at least 6 classes, got 5"):
        find("smooth_topk_svm", (5, 1.0, 1.0), classes=5)
    scores, labels = batch(4, 30, torch.float32)
    # Those of the CPU have their own.
    assert _cuda.kernel("smooth_topk_svm", (5, 1.0, 1.0), scores, "mean", IGNORE) is None


def test_arguments_of_the_native_part_are_checked():
    loss = _topk.Loss.smooth_topk_svm(5, 1.0, 1.0)
    assert _topk.CudaLoss.of(loss, "float64", 10, "mean", IGNORE) is None
    assert _topk.CudaLoss.of(_topk.Loss.lml(5), "float32", 10, "mean", IGNORE) is None
    with pytest.raises(ValueError, match="median is not a valid value for reduction"):
        _topk.CudaLoss.of(loss, "float32", 10, "median", IGNORE)


@needs_gpu
@pytest.mark.parametrize("dtype", BOUNDS)
def test_functions_use_the_kernels(dtype):
    scores, labels = batch(32, 1000, dtype)
    ours = leaf(scores)
    with torch.profiler.profile() as profile:
        found = F.smooth_topk_svm(ours, labels.cuda(), k=5)
        found.backward()
        torch.cuda.synchronize()
    names = " ".join(event.key for event in profile.key_averages())
    assert "topk_svm_5_warp" in names
    theirs = leaf(scores.float(), "cpu")
    expected = F.smooth_topk_svm(theirs, labels, k=5)
    expected.backward()
    assert difference(found, expected) < BOUNDS[dtype]
    assert difference(ours.grad, theirs.grad) < BOUNDS[dtype]


@needs_gpu
def test_side_streams():
    scores, labels = batch(4096, 1000, torch.float32)
    expected = F.smooth_topk_svm(scores, labels, k=5)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # The scores are ready on this stream only, after some work.
        ours = scores.pin_memory().cuda(non_blocking=True)
        for _ in range(20):
            ours = ours.relu() - (-ours).relu()
        found = F.smooth_topk_svm(ours.requires_grad_(), labels.cuda(), k=5)
        found.backward()
    stream.synchronize()
    assert difference(found, expected) < 1e-6


@needs_gpu
def test_graphs():
    scores, labels = batch(64, 1000, torch.float32)
    static, target = scores.cuda().requires_grad_(), labels.cuda()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        F.smooth_topk_svm(static, target, k=5).backward()
    stream.synchronize()
    static.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = F.smooth_topk_svm(static, target, k=5)
        (3 * loss).backward()
    for seed in range(3):
        torch.manual_seed(seed)
        new = torch.randn(64, 1000)
        with torch.no_grad():
            static.copy_(new)
        graph.replay()
        theirs = new.requires_grad_()
        expected = F.smooth_topk_svm(theirs, labels, k=5)
        (3 * expected).backward()
        assert difference(loss, expected) < 1e-6
        assert difference(static.grad, theirs.grad) < 1e-6


@needs_gpu
def test_graphs_capture_the_first_call():
    # A kernel that no other test uses.
    scores, labels = batch(8, 2000, torch.float32)
    static, target = scores.cuda(), labels.cuda()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = F.smooth_topk_svm(static, target, k=7)
    graph.replay()
    assert difference(loss, F.smooth_topk_svm(scores, labels, k=7)) < 1e-6


@needs_gpu
def test_compiled_functions():
    scores, labels = batch(64, 1000, torch.float32)

    @torch.compile(fullgraph=True)
    def step(scores, labels):
        return F.smooth_topk_svm(scores * 2, labels, k=5)

    ours, theirs = scores.cuda().requires_grad_(), scores.clone().requires_grad_()
    found = step(ours, labels.cuda())
    found.backward()
    expected = F.smooth_topk_svm(theirs * 2, labels, k=5)
    expected.backward()
    assert difference(found, expected) < 1e-6
    assert difference(ours.grad, theirs.grad) < 1e-6


@needs_gpu
def test_another_current_device_and_new_threads():
    from concurrent.futures import ThreadPoolExecutor

    scores, labels = batch(16, 100, torch.float32)
    expected = F.smooth_topk_svm(scores, labels, k=5)
    ours, target = scores.cuda(), labels.cuda()
    torch.cuda.synchronize()
    # A thread that has not used CUDA has no current context.
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(F.smooth_topk_svm, ours, target, k=5).result()
    assert difference(found, expected) < 1e-6
    if torch.cuda.device_count() > 1:
        other, target = scores.to("cuda:1"), labels.to("cuda:1")
        with torch.cuda.device(0):
            assert difference(F.smooth_topk_svm(other, target, k=5), expected) < 1e-6
