"""Label smoothing, compared with `cross_entropy` and with its definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as reference

import topk.functional as F
import topk.nn
from losses import LOSSES, loss
from topk import _composite, _losses

CLASSES = 7


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def batch():
    input = torch.randn(6, CLASSES, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, -100, 6, 3, 1])
    return input, target, torch.rand(CLASSES, dtype=torch.float64) + 0.1


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_equals_cross_entropy(smoothing, weighted, reduction):
    input, target, weight = batch()
    options = {"weight": weight if weighted else None, "reduction": reduction, "label_smoothing": smoothing}
    ours = F.smooth_topk_svm(input, target, 1, tau=1.0, alpha=0.0, **options)
    theirs = reference.cross_entropy(input, target, **options)
    torch.testing.assert_close(ours, theirs)
    grads = [torch.autograd.grad(each.sum(), input)[0] for each in (ours, theirs)]
    torch.testing.assert_close(*grads)


def defined(name, input, target, weight, smoothing):
    """The smoothed loss of each sample: that of its label, and those of all classes, each with its weight."""
    function = loss(name)
    counted = target != -100
    labels = target.clamp(min=0)
    of_label = function(input, labels, reduction="none") * weight[labels]
    each = [function(input, torch.full_like(labels, c), reduction="none") * weight[c] for c in range(CLASSES)]
    smoothed = (1 - smoothing) * of_label + smoothing / CLASSES * sum(each)
    return torch.where(counted, smoothed, 0.0), weight[labels][counted].sum()


@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_definition(name):
    input, target, weight = batch()
    values, total = defined(name, input, target, weight, 0.2)
    options = {"weight": weight, "label_smoothing": 0.2}
    found = loss(name)(input, target, reduction="none", **options)
    torch.testing.assert_close(found, values)
    mean = loss(name)(input, target, **options)
    torch.testing.assert_close(mean, values.sum() / total)
    grads = [torch.autograd.grad(each, input)[0] for each in (mean, values.sum() / total)]
    torch.testing.assert_close(*grads)

    arrays = (input.detach().numpy(), target.numpy())
    value, grad = F.value_and_grad(loss(name), *arrays, weight=weight.numpy(), label_smoothing=0.2)
    assert np.array_equal(value, mean.detach().numpy())
    assert np.array_equal(grad, grads[0].numpy())


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_compositions_agree_with_the_kernels(name, reduction):
    input, target, weight = batch()
    parameters = {
        "balanced_noised_topk": (3, 1.0, 5, 1.0, None, 7),
        "differentiable_topk_cross_entropy": ((0.5, 0.5), 1.0),
        "ldr_kl": (0.5, 1.0),
    }
    of_name = {"tau": 0.5, "alpha": 1.0, "k": 3}
    default = tuple(of_name[each.split()[1]] for each in _losses.PARAMETERS[name].split(", ") if name not in parameters)
    parameters = parameters.get(name, default)
    scores = input.detach()
    values, gradient = _composite.loss(name, parameters, scores, target, weight, -100, reduction, True, 0.3)
    value, none = _composite.loss(name, parameters, scores, target, weight, -100, reduction, False, 0.3)
    assert none is None
    torch.testing.assert_close(value, values)
    arguments = (*parameters[:-1], torch.tensor(7)) if name == "balanced_noised_topk" else parameters
    operator = getattr(torch.ops.topk, f"{name}_grad")
    expected = operator(scores, target, weight, *arguments, reduction, -100, 0.3)
    torch.testing.assert_close((values, gradient), expected, rtol=1e-9, atol=1e-11)


def test_transforms():
    input, target, weight = batch()

    def criterion(scores):
        return F.smooth_topk_svm(scores, target, 3, weight=weight, label_smoothing=0.1)

    expected = torch.autograd.grad(criterion(input), input)[0]
    torch.testing.assert_close(torch.func.grad(criterion)(input.detach()), expected)
    exported = torch.export.export(Smoothed(), (input.detach(), target))
    torch.testing.assert_close(exported.module()(input.detach(), target), Smoothed()(input.detach(), target))


class Smoothed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.criterion = topk.nn.SmoothTopkSVM(k=3, label_smoothing=0.1)

    def forward(self, input, target):
        return self.criterion(input, target)


def test_vmap():
    input, target = torch.randn(4, 6, CLASSES), torch.randint(CLASSES, (4, 6))
    smoothed = Smoothed().criterion
    found = torch.func.vmap(smoothed)(input, target)
    torch.testing.assert_close(found, torch.stack([smoothed(*each) for each in zip(input, target)]))


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_probabilities_out_of_range_are_errors(smoothing):
    input, target, _ = batch()
    for arguments in [(input, target), (input.detach().numpy(), target.numpy())]:
        with pytest.raises(ValueError, match="label_smoothing must be between 0.0 and 1.0. Got: "):
            F.psi5(*arguments, 3, label_smoothing=smoothing)


def test_modules_show_it():
    assert repr(topk.nn.LML(3, label_smoothing=0.1)) == "LML(k=3, label_smoothing=0.1)"
