"""Autograd, compilers, exporters and the transforms of `torch.func`."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.library import opcheck

import topk.functional as F
import topk.nn
from losses import LOSSES, loss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    torch._dynamo.reset()


def batch():
    return torch.randn(6, 10, dtype=torch.float64, requires_grad=True), torch.randint(10, (6,))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name, reduction):
    input, target = batch()
    weight = torch.rand(10, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda input: loss(name)(input, target, 3, weight=weight, reduction=reduction), (input,)
    )


def test_backward_twice():
    input, target = batch()
    value = F.smooth_topk_svm(input, target, 3)
    (first,) = torch.autograd.grad(value, input, retain_graph=True)
    first.zero_()
    value.backward(retain_graph=True)
    expected = input.grad.clone()
    input.grad.zero_()
    value.backward(retain_graph=True)
    value.backward()
    torch.testing.assert_close(input.grad, 2 * expected)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        value.backward()


def test_gradients_are_accumulated():
    input, target = batch()
    for _ in range(3):
        F.smooth_topk_svm(input, target, 3).backward()
    (expected,) = torch.autograd.grad(F.smooth_topk_svm(input, target, 3), input)
    torch.testing.assert_close(input.grad, 3 * expected)


def test_second_derivatives_are_refused():
    input, target = batch()
    operator = torch.ops.topk.smooth_topk_svm.default

    def by_operator(input):
        return operator(input, target, None, 3, 1.0, 1.0, "mean", -100)

    for function in (lambda input: F.smooth_topk_svm(input, target, 3), by_operator):
        (grad,) = torch.autograd.grad(function(input), input, create_graph=True)
        with pytest.raises(RuntimeError, match="second derivatives are not implemented"):
            (grad.sum() + input.sum()).backward()
    with pytest.raises(RuntimeError, match="second derivatives are not implemented"):
        torch.func.jacrev(torch.func.grad(lambda input: F.smooth_topk_svm(input, target, 3)))(input.detach())


def test_gradients_of_the_upstream_gradient():
    input, target = batch()
    factor = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(factor * F.smooth_topk_svm(input, target, 3), input, create_graph=True)
    (of_factor,) = torch.autograd.grad(grad[0, 0], factor)
    torch.testing.assert_close(of_factor, grad[0, 0].detach() / 2)


LAYOUTS = {
    "dense": lambda: torch.randn(6, 10),
    "transposed": lambda: torch.randn(10, 6).t(),
    "sliced": lambda: torch.randn(12, 20)[::2, ::2],
    "empty": lambda: torch.randn(0, 10),
    "half": lambda: torch.randn(6, 10).bfloat16(),
}


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["smooth_topk_svm", "smooth_topk_svm_grad"])
def test_opcheck(name, layout, requires_grad):
    input = LAYOUTS[layout]().requires_grad_(requires_grad)
    target = torch.randint(10, (len(input),))
    # The mean of an empty batch is NaN, which the check takes for a difference.
    reduction = "mean" if len(input) else "sum"
    operator = getattr(torch.ops.topk, name).default
    opcheck(operator, (input, target, torch.rand(10, dtype=input.dtype), 3, 0.5, 1.0, reduction, -100))


ARGUMENTS = {
    "balanced_noised_topk": (3, 1.0, 2, 1.0, None, torch.tensor(5)),
    "differentiable_topk_cross_entropy": ([0.5, 0.0, 0.5], 1.0),
    "lapsum": (3, 1.0),
    "ldr_kl": (0.5, 1.0),
    "lml": (3,),
    "smooth_topk_svm": (3, 1.0, 1.0),
    "truncated_topk_entropy": (3,),
}


@pytest.mark.parametrize("suffix", ["", "_grad"])
@pytest.mark.parametrize("name", LOSSES)
def test_opcheck_of_every_loss(name, suffix):
    input, target = batch()
    arguments = ARGUMENTS.get(name, (3, 1.0))
    operator = getattr(torch.ops.topk, name + suffix).default
    opcheck(operator, (input, target, None, *arguments, "none", -100))


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_equals_eager(name):
    function = loss(name)

    @torch.compile(fullgraph=True, dynamic=True, backend="aot_eager")
    def compiled(input, target):
        return function(2 * input, target, 3)

    for samples in (6, 4):
        input = torch.randn(samples, 10, requires_grad=True)
        target = torch.randint(10, (samples,))
        values = [compiled(input, target), function(2 * input, target, 3)]
        grads = [torch.autograd.grad(value, input)[0] for value in values]
        assert torch.equal(*values) and torch.equal(*grads)
    with torch.no_grad():
        assert torch.equal(compiled(input, target), values[1])


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 10)
        self.criterion = topk.nn.SmoothTopkSVM(3, tau=0.5)

    def forward(self, features, target):
        return self.criterion(self.layer(features), target)


def test_model_and_loss_compile_to_one_graph():
    model = Classifier()
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph

    features, target = torch.randn(4, 8), torch.randint(10, (4,))
    value = torch.compile(model, fullgraph=True, backend=count)(features, target)
    assert len(graphs) == 1
    assert torch.equal(value, model(features, target))


def test_export():
    model = Classifier()
    samples = torch.export.Dim("samples", min=2)
    features, target = torch.randn(4, 8), torch.randint(10, (4,))
    shapes = {"features": {0: samples}, "target": {0: samples}}
    program = torch.export.export(model, (features, target), dynamic_shapes=shapes)
    features, target = torch.randn(7, 8), torch.randint(10, (7,))
    assert torch.equal(program.module()(features, target), model(features, target))


def test_tracers_see_the_operator():
    input, target = batch()
    function = lambda input, target: F.smooth_topk_svm(input, target, 3)  # noqa: E731
    graph = make_fx(function, tracing_mode="fake")(input.detach(), target)
    assert any("topk.smooth_topk_svm" in str(node.target) for node in graph.graph.nodes)


@pytest.mark.parametrize("name", LOSSES)
def test_func_grad(name):
    input, target = batch()
    (expected,) = torch.autograd.grad(loss(name)(input, target, 3), input)
    grad, value = torch.func.grad_and_value(lambda input: loss(name)(input, target, 3))(input.detach())
    assert torch.equal(grad, expected) and torch.equal(value, loss(name)(input, target, 3))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_vmap(reduction, weighted):
    input = torch.randn(4, 6, 10, dtype=torch.float64)
    target = torch.randint(10, (4, 6))
    target[0, 1] = -100
    weight = torch.rand(10, dtype=torch.float64) if weighted else None

    def function(input, target):
        return F.smooth_topk_svm(input, target, 3, weight=weight, reduction=reduction)

    def total(input, target):
        return function(input, target).sum()

    expected = torch.stack([function(*each) for each in zip(input, target)])
    torch.testing.assert_close(torch.vmap(function)(input, target), expected)
    torch.testing.assert_close(torch.vmap(function, (1, 1))(input.transpose(0, 1), target.t()), expected)
    grads = torch.stack([torch.func.grad(total)(*each) for each in zip(input, target)])
    torch.testing.assert_close(torch.vmap(torch.func.grad(total))(input, target), grads)
    shared = torch.stack([function(each, target[1]) for each in input])
    torch.testing.assert_close(torch.vmap(function, (0, None))(input, target[1]), shared)


def test_distributed_data_parallel():
    import tempfile

    import torch.distributed as distributed

    with tempfile.NamedTemporaryFile() as store:
        distributed.init_process_group("gloo", init_method=f"file://{store.name}", rank=0, world_size=1)
        try:
            model = Classifier()
            parallel = torch.nn.parallel.DistributedDataParallel(model)
            features, target = torch.randn(4, 8), torch.randint(10, (4,))
            parallel(features, target).backward()
            grad = model.layer.weight.grad.clone()
            model.zero_grad()
            model(features, target).backward()
            assert torch.equal(grad, model.layer.weight.grad)
        finally:
            distributed.destroy_process_group()
