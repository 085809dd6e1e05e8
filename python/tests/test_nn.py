"""The modules."""

import copy
import pickle

import pytest
import torch

import topk.nn
from losses import loss

MODULES = {
    "BalancedNoisedTopk": "balanced_noised_topk",
    "DFTopk": "dftopk",
    "DifferentiableTopkCrossEntropy": "differentiable_topk_cross_entropy",
    "LDRKL": "ldr_kl",
    "LML": "lml",
    "LapSum": "lapsum",
    "MaxTopkSVM": "max_topk_svm",
    "Psi5": "psi5",
    "SmoothTopkSVM": "smooth_topk_svm",
    "TopkHingeAlpha": "topk_hinge_alpha",
    "TopkHingeBeta": "topk_hinge_beta",
    "TruncatedTopkEntropy": "truncated_topk_entropy",
}


def test_every_module_is_tested():
    assert sorted(MODULES) == topk.nn.__all__


@pytest.mark.parametrize("name", MODULES)
def test_modules_equal_functions(name):
    torch.manual_seed(0)
    weight = torch.rand(10)
    module = getattr(topk.nn, name)(3, weight=weight, ignore_index=2, reduction="sum")
    input, target = torch.randn(5, 10), torch.tensor([0, 2, 4, 6, 9])
    options = {"weight": weight, "ignore_index": 2, "reduction": "sum"}
    torch.manual_seed(1)
    value = module(input, target)
    if name == "BalancedNoisedTopk":
        torch.manual_seed(1)
        assert torch.equal(value, topk.functional.balanced_noised_topk(input, target, 3, **options))
    else:
        assert torch.equal(value, loss(MODULES[name])(input, target, 3, **options))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_copied(name, copied):
    module = getattr(topk.nn, name)(3, weight=torch.rand(10))
    other = copied(module)
    input, target = torch.randn(5, 10), torch.randint(10, (5,))
    results = []
    for each in (module, other):
        torch.manual_seed(0)
        results.append(each(input, target))
    assert torch.equal(*results)
    assert repr(other) == repr(module)


def test_state_dict_has_the_weights():
    module = topk.nn.SmoothTopkSVM(weight=torch.tensor([1.0, 2.0]))
    assert list(module.state_dict()) == ["weight"]
    assert module.double().weight.dtype is torch.float64
    assert not topk.nn.SmoothTopkSVM().state_dict()


def test_parameters_can_be_set():
    torch.manual_seed(0)
    module = topk.nn.SmoothTopkSVM(k=1)
    input, target = torch.randn(5, 10), torch.randint(10, (5,))
    module.k, module.tau, module.alpha = 3, 0.25, 2.0
    expected = topk.functional.smooth_topk_svm(input, target, 3, tau=0.25, alpha=2.0)
    assert torch.equal(module(input, target), expected)


def test_repr():
    shown = {
        topk.nn.SmoothTopkSVM(): "SmoothTopkSVM(k=5, tau=1.0, alpha=1.0)",
        topk.nn.LML(2, ignore_index=0, reduction="sum"): "LML(k=2, ignore_index=0, reduction='sum')",
        topk.nn.Psi5(weight=torch.ones(4)): "Psi5(k=5, alpha=1.0, weight=(4 classes))",
    }
    for module, text in shown.items():
        assert repr(module) == text


def test_wrong_reduction():
    with pytest.raises(ValueError, match="average is not a valid value for reduction"):
        topk.nn.LML(reduction="average")
