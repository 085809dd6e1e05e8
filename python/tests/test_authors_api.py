"""The interface of the authors' package: `topk.svm`, `topk.polynomial`, `topk.logarithm`, `topk.utils`, and
four functions of `topk.functional`."""

import copy
import inspect
import io
import itertools
import math
import pickle
from fractions import Fraction

import pytest
import torch

import topk.functional as F
from topk.logarithm import LogTensor, log1mexp
from topk.polynomial import LogSumExp, log_sum_exp
from topk.polynomial.sp import log_sum_exp_k_autograd
from topk.svm import MaxTop1SVM, MaxTopkSVM, SmoothTop1SVM, SmoothTopkSVM
from topk.utils import delta, detect_large, split

CLASSES = [MaxTop1SVM, MaxTopkSVM, SmoothTop1SVM, SmoothTopkSVM]
each_class = pytest.mark.parametrize("cls", CLASSES)


def batch(samples=16, classes=9, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(samples, classes, generator=generator, dtype=torch.float64).to(dtype)
    return scores, torch.randint(classes, (samples,), generator=generator)


def expected(loss, x, y, reduction="mean"):
    """The same loss by its function."""
    k = getattr(loss, "k", 1)
    if hasattr(loss, "tau"):
        return F.smooth_topk_svm(x, y, k, tau=loss.tau, alpha=loss.alpha, reduction=reduction)
    return F.max_topk_svm(x, y, k, alpha=loss.alpha, reduction=reduction)


def test_the_package_has_the_classes_too():
    import topk

    for cls in CLASSES:
        assert getattr(topk, cls.__name__) is cls


def test_signatures():
    def parameters(cls):
        return [(each.name, each.default) for each in inspect.signature(cls).parameters.values()]

    required = ("n_classes", inspect.Parameter.empty)
    assert parameters(MaxTop1SVM) == [required, ("alpha", None)]
    assert parameters(MaxTopkSVM) == [required, ("alpha", None), ("k", 5)]
    assert parameters(SmoothTop1SVM) == [required, ("alpha", None), ("tau", 1.0)]
    assert parameters(SmoothTopkSVM) == [required, ("alpha", None), ("tau", 1.0), ("k", 5)]
    assert SmoothTopkSVM(10).alpha == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@each_class
def test_value_and_gradient_are_those_of_the_functions(cls, dtype):
    x, y = batch(dtype=dtype)
    for options in ({}, {"alpha": 0.25}, {"alpha": 2}):
        loss = cls(9, **options)
        gradients = []
        for function in (loss, lambda x, y, loss=loss: expected(loss, x, y)):
            scores = x.clone().requires_grad_()
            value = function(scores, y)
            value.backward()
            gradients.append((value, scores.grad))
        assert value.shape == ()
        assert value.dtype == dtype
        for one, other in zip(*gradients, strict=True):
            assert torch.equal(one, other)


@each_class
def test_gradcheck(cls):
    x, y = batch(samples=4)
    # Away from the kinks of the hard losses.
    assert torch.autograd.gradcheck(lambda x: cls(9)(x, y), (x.requires_grad_(),))


def test_definitions():
    x, y = batch(samples=8, classes=7)
    wrong, label = split(x, y, torch.arange(7))
    tau, alpha, k = 0.5, 0.75, 3
    highest = wrong.sort(1, descending=True).values

    def mean_of_products(size):
        sets = itertools.combinations(range(6), size)
        return sum((wrong / (k * tau))[:, each].sum(1).exp() for each in map(list, sets))

    u = alpha / tau + (mean_of_products(3) / mean_of_products(2)).log() - label / (k * tau)
    cases = [
        (MaxTop1SVM(7, alpha), (alpha + highest[:, 0] - label).relu()),
        (MaxTopkSVM(7, alpha, k), (alpha + (highest[:, 2] - label) / k).relu()),
        (SmoothTop1SVM(7, alpha, tau), tau * ((alpha + wrong - label[:, None]) / tau).exp().sum(1).log1p()),
        (SmoothTopkSVM(7, alpha, tau, k), tau * u.exp().log1p()),
    ]
    for loss, values in cases:
        torch.testing.assert_close(loss(x, y), values.mean(), rtol=1e-13, atol=1e-13)


def test_no_switch_to_the_hard_loss():
    # The second score is ln(1000) tau below the first, where the authors' class takes the hard loss, 0.
    loss = SmoothTop1SVM(2, tau=0.1)
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    assert detect_large(x, 1, loss.tau, loss.thresh)[1]
    assert loss(x, y).item() == pytest.approx(0.1 * math.log(2), rel=1e-6)
    assert MaxTop1SVM(2)(x, y) == 0
    loss.thresh = 10.0
    assert loss(x, y).item() == pytest.approx(0.1 * math.log(2), rel=1e-6)


def test_parameters_can_be_set(capsys):
    x, y = batch()
    loss = SmoothTopkSVM(9)
    loss.tau, loss.alpha, loss.k = 0.3, 0.6, 2
    assert (loss.tau, loss.alpha, loss.k) == (0.3, 0.6, 2)
    assert loss(x, y) == F.smooth_topk_svm(x, y, 2, tau=0.3, alpha=0.6)
    loss.tau = 1
    assert type(loss.tau) is float
    loss.get_losses()
    hard = MaxTopkSVM(9)
    hard.k = 1
    assert hard(x, y) == MaxTop1SVM(9)(x, y)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (TypeError, "n_classes must be an int, got float", lambda: SmoothTop1SVM(2.0)),
        (ValueError, "n_classes must be at least 1, got 0", lambda: SmoothTop1SVM(0)),
        (ValueError, "-1", lambda: SmoothTop1SVM(2, alpha=-1)),
        (ValueError, "NaN", lambda: MaxTop1SVM(2, alpha=math.nan)),
        (ValueError, "0", lambda: SmoothTop1SVM(2, tau=0)),
        (ValueError, "inf", lambda: SmoothTopkSVM(9, tau=math.inf)),
        (ValueError, "k must be at least 1, got 0", lambda: SmoothTopkSVM(9, k=0)),
        (TypeError, "k must be an int, got float", lambda: MaxTopkSVM(9, k=2.5)),
        (ValueError, "-2", lambda: F.Top1_Hard_SVM(torch.arange(3), -2.0)),
        (ValueError, "0", lambda: F.Top1_Smooth_SVM(torch.arange(3), 0.0)),
        (ValueError, "k must be at least 1, got 0", lambda: F.Topk_Smooth_SVM(torch.arange(3), 0, 1.0)),
        (ValueError, "k must be at least 1, got 0", lambda: LogSumExp(0)),
    ],
)
def test_invalid_parameters(error, match, make):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize("name", ["alpha", "tau", "k"])
def test_invalid_parameters_leave_the_module_as_it_was(name):
    loss = SmoothTopkSVM(9)
    before = getattr(loss, name)
    with pytest.raises(ValueError, match="-1"):
        setattr(loss, name, -1)
    assert getattr(loss, name) == before


@each_class
def test_invalid_tensors(cls):
    x, y = batch(classes=9)
    loss = cls(9)
    for wrong in (x[:, :8], x.t(), x[0]):
        with pytest.raises(ValueError, match=r"expected scores of shape \(N, 9\).*\[.*\]"):
            loss(wrong, y)
    with pytest.raises(ValueError, match="batch_size"):
        loss(x, y[:3])
    with pytest.raises(RuntimeError, match="expected scalar type Long but found Float"):
        loss(x, y.float())
    with pytest.raises(IndexError, match="9"):
        loss(x, y.index_fill(0, torch.tensor([2]), 9))
    with pytest.raises(ValueError, match="(?i)nan"):
        loss(x.index_fill(0, torch.tensor([1]), math.nan), y)
    if hasattr(loss, "k"):
        with pytest.raises(ValueError, match="5"):
            cls(5)(x[:, :5], y.clamp(max=4))


@each_class
def test_ignored_labels(cls):
    x, y = batch()
    loss = cls(9)
    y[3:] = -100
    assert loss(x, y) == loss(x[:3], y[:3])
    assert loss(x[:0], y[:0]).isnan()


@each_class
def test_copies(cls):
    x, y = batch()
    loss = cls(9, alpha=0.5)
    if hasattr(loss, "tau"):
        loss.tau = 0.2
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    for copied in (
        copy.deepcopy(loss),
        pickle.loads(pickle.dumps(loss)),
        torch.load(file, weights_only=False),
        loss.cpu(),
        loss.to("cpu", torch.float16),
    ):
        assert repr(copied) == repr(loss)
        assert copied(x, y) == loss(x, y)
    assert loss.labels.dtype == torch.int64
    assert loss.to("meta").labels.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@each_class
def test_cuda(cls):
    x, y = batch()
    loss = cls(9)
    on_host = loss(x, y)
    assert loss.cuda() is loss
    assert loss.labels.is_cuda
    on_device = loss(x.cuda(), y.cuda())
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), on_host, rtol=1e-12, atol=1e-12)


@each_class
def test_checkpoints_of_models_with_the_loss(cls):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = torch.nn.Linear(4, 9)
            self.instance_loss_fn = cls(9)

    state = Model().state_dict()
    assert list(state) == ["classifier.weight", "classifier.bias", "instance_loss_fn.labels"]
    # As the authors' classes save it.
    state["instance_loss_fn.labels"] = torch.arange(9)
    Model().load_state_dict(state, strict=True)


def test_repr():
    assert repr(MaxTop1SVM(2)) == "MaxTop1SVM(n_classes=2, alpha=1.0)"
    assert repr(SmoothTopkSVM(10, k=3, tau=0.1)) == "SmoothTopkSVM(n_classes=10, alpha=1.0, tau=0.1, k=3)"
    assert repr(LogSumExp(4)) == "LogSumExp(k=4)"


@each_class
def test_autocast(cls):
    x, y = batch(dtype=torch.bfloat16)
    loss = cls(9)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(x, y) == loss(x.float(), y)
        assert loss(x, y).dtype == torch.float32


@pytest.mark.parametrize("cls", [SmoothTop1SVM, SmoothTopkSVM])
def test_compiles_to_one_graph(cls):
    x, y = batch()
    loss = cls(9)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    x.requires_grad_()
    value = compiled(x, y)
    value.backward()
    assert value == loss(x, y)
    (gradient,) = torch.autograd.grad(loss(x, y), x)
    assert torch.equal(x.grad, gradient)


def functions():
    labels = torch.arange(9)
    return [
        (F.Top1_Hard_SVM(labels), MaxTop1SVM(9)),
        (F.Top1_Hard_SVM(labels, 0.5), MaxTop1SVM(9, 0.5)),
        (F.Topk_Hard_SVM(labels, 3), MaxTopkSVM(9, k=3)),
        (F.Topk_Hard_SVM(labels, 3, 0.5), MaxTopkSVM(9, 0.5, 3)),
        (F.Top1_Smooth_SVM(labels, 0.1), SmoothTop1SVM(9, tau=0.1)),
        (F.Top1_Smooth_SVM(labels, 0.1, 0.5), SmoothTop1SVM(9, 0.5, 0.1)),
        (F.Topk_Smooth_SVM(labels, 3, 0.1), SmoothTopkSVM(9, tau=0.1, k=3)),
        (F.Topk_Smooth_SVM(labels, 3, 0.1, 0.5), SmoothTopkSVM(9, 0.5, 0.1, 3)),
    ]


def test_functions():
    for samples in (1, 16):
        x, y = batch(samples)
        for function, loss in functions():
            values = function(x, y)
            assert values.shape == (samples,)
            assert torch.equal(values, expected(loss, x, y, "none"))
            assert torch.equal(pickle.loads(pickle.dumps(function))(x, y), values)
            with pytest.raises(ValueError, match=r"expected scores of shape \(N, 9\)"):
                function(x[:, :4], y)


class BagOfInstances(torch.nn.Module):
    """A model of bags of features that calls the loss as CLAM and torchmil do."""

    def __init__(self, instance_loss_fn, k_sample=8):
        super().__init__()
        self.attention = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.instance_classifier = torch.nn.Linear(16, 2)
        self.classifier = torch.nn.Linear(16, 2)
        self.instance_loss_fn = instance_loss_fn
        self.k_sample = k_sample

    def forward(self, bag):
        attention = self.attention(bag).transpose(1, 0)
        chosen = [torch.topk(each, self.k_sample, dim=1)[1][-1] for each in (attention, -attention)]
        instances = torch.index_select(bag, 0, torch.cat(chosen))
        targets = [torch.full((self.k_sample,), value, device=bag.device).long() for value in (1, 0)]
        instance_logits = self.instance_classifier(instances)
        instance_loss = self.instance_loss_fn(instance_logits, torch.cat(targets, dim=0))
        logits = self.classifier(torch.mm(attention.softmax(1), bag))
        return logits, instance_loss


def test_bags_of_instances():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    loss_fn = SmoothTop1SVM(n_classes=2)
    instance_loss_fn = SmoothTop1SVM(n_classes=2)
    if device.type == "cuda":
        loss_fn = loss_fn.cuda()
        instance_loss_fn = instance_loss_fn.cuda()
    model = BagOfInstances(instance_loss_fn).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    bags = [(torch.randn(40, 16) + label, torch.tensor([label])) for label in (0, 1, 0, 1)]
    history = []
    for _ in range(20):
        total = 0.0
        for bag, label in bags:
            data, label = bag.to(device), label.to(device)
            logits, instance_loss = model(data)
            assert logits.shape == (1, 2)
            loss = loss_fn(logits, label)
            total_loss = 0.7 * loss + (1 - 0.7) * instance_loss
            total_loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() + instance_loss.item()
        history.append(total)
    assert history[-1] < 0.5 * history[0]


def polynomials(weights, k):
    """e_0, …, e_k of integers, exactly."""
    e = [1] + [0] * k
    for weight in weights:
        for j in range(k, 0, -1):
            e[j] += weight * e[j - 1]
    return e


@pytest.mark.parametrize(
    ("classes", "k", "bits"),
    [(1, 1, 1), (2, 2, 3), (3, 2, 60), (20, 7, 1), (50, 5, 200), (60, 60, 9), (90, 40, 900)],
)
def test_log_sum_exp_of_integers(classes, k, bits):
    generator = torch.Generator().manual_seed(classes)
    exponents = torch.randint(bits, (classes,), generator=generator).tolist()
    weights = [1 << exponent for exponent in exponents]
    x = torch.tensor([exponents], dtype=torch.float64) * math.log(2)
    x = torch.cat((x, x.flip(1))).requires_grad_()
    log_km1, log_k = LogSumExp(k)(x)
    e = polynomials(weights, k)
    for found, exact in ((log_km1, e[k - 1]), (log_k, e[k])):
        torch.testing.assert_close(
            found, torch.full((2,), math.log(exact), dtype=torch.float64), rtol=2e-15, atol=1e-13
        )
    marginals = [[], []]
    for i, weight in enumerate(weights):
        others = polynomials(weights[:i] + weights[i + 1 :], k)
        for degree, of_degree in ((k - 1, marginals[0]), (k, marginals[1])):
            of_degree.append(float(Fraction(weight * (others[degree - 1] if degree else 0), e[degree])))
    for logs, exact in zip((log_km1, log_k), marginals, strict=True):
        (gradient,) = torch.autograd.grad(logs[0], x, retain_graph=True)
        torch.testing.assert_close(gradient[0], torch.tensor(exact, dtype=torch.float64), rtol=1e-11, atol=1e-13)
        assert (gradient[1] == 0).all()


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_log_sum_exp_gradcheck(k):
    x, _ = batch(samples=3)
    assert torch.autograd.gradcheck(LogSumExp(k), (x.requires_grad_(),))


def test_log_sum_exp_types_and_shapes():
    x, _ = batch(dtype=torch.float32)
    module = LogSumExp(4, p=1, thresh=1e-3)
    assert (module.k, module.p, module.thresh) == (4, 1, 1e-3)
    exact = module(x.double())
    assert module(x).dtype == torch.float32
    torch.testing.assert_close(module(x), exact.float(), rtol=1e-7, atol=0)
    empty = x[:0].clone().requires_grad_()
    assert module(empty).shape == (2, 0)
    module(empty).sum().backward()
    assert empty.grad.shape == empty.shape
    assert module(x[:1]).shape == (2, 1)
    assert torch.equal(module(x), log_sum_exp_k_autograd(x, 4))
    torch.testing.assert_close(log_sum_exp(x), LogSumExp(1)(x)[1], rtol=1e-6, atol=1e-6)
    # Scores apart by more than exp can hold.
    far = torch.tensor([[3e4, -3e4, 0.0, 1e4]], dtype=torch.float64)
    assert LogSumExp(2)(far).tolist() == [[3e4], [4e4]]
    for wrong in (x[:, :3], x[0]):
        with pytest.raises(ValueError, match="at least 4 classes"):
            module(wrong)
    with pytest.raises(TypeError, match="int64"):
        module(x.long())


def test_log_tensor():
    a, b = torch.tensor([0.5, 3.0, 8.0]), torch.tensor([0.25, 2.0, 1.0])
    x, y = LogTensor(a.log()), LogTensor(b.log())
    cases = [
        (x + y, a + b),
        (x + 2, a + 2),
        (2.5 + x, a + 2.5),
        (x + 0, a),
        (x - y, a - b),
        (x - 0.25, a - 0.25),
        (x * y, a * b),
        (x * 0.5, a * 0.5),
        (3 * x, a * 3),
        (x * 0, a * 0),
        (x / y, a / b),
        (x / 4, a / 4),
        (x**3, a**3),
        (sum([x, y]), a + b),
    ]
    for found, exact in cases:
        assert isinstance(found, LogTensor)
        torch.testing.assert_close(found.torch().exp(), exact)
    x += y
    x *= y
    torch.testing.assert_close(x.torch().exp(), (a + b) * b)
    assert "tensor" in repr(x)
    assert (LogTensor(torch.tensor(1e4)) + LogTensor(torch.tensor(-1e4))).torch() == 1e4
    with pytest.raises(ValueError, match="-1"):
        x + -1
    with pytest.raises(TypeError):
        x + "1"


def test_log1mexp():
    u = -torch.logspace(-300, 3, 1000, dtype=torch.float64)
    exact = [math.log(-math.expm1(each)) if each > -1 else math.log1p(-math.exp(each)) for each in u.tolist()]
    torch.testing.assert_close(log1mexp(u), torch.tensor(exact, dtype=torch.float64), rtol=1e-15, atol=0)
    assert log1mexp(torch.tensor([0.0])) == -math.inf
    assert log1mexp(torch.tensor([0.5])).isnan()
    single = -torch.logspace(-30, 1.9, 100)
    torch.testing.assert_close(log1mexp(single), log1mexp(single.double()).float(), rtol=1e-6, atol=0)
    points = torch.tensor([-1e-3, -0.5, -0.7, -5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log1mexp, (points,))
    extreme = torch.tensor([-1e-30, -1e3], requires_grad=True)
    log1mexp(extreme).sum().backward()
    assert extreme.grad.isfinite().all()


def test_functions_of_labels():
    x, y = batch(samples=5, classes=4)
    labels = torch.arange(4)
    others, of_label = split(x, y, labels)
    for row in range(5):
        assert of_label[row] == x[row, y[row]]
        assert others[row].tolist() == [x[row, j].item() for j in range(4) if j != y[row]]
        assert delta(y, labels)[row].tolist() == [float(j != y[row]) for j in range(4)]
        assert delta(y, labels, 0.5)[row].tolist() == [0.5 * (j != y[row]) for j in range(4)]
    smooth, hard = detect_large(torch.tensor([[0.0, 5.0, 4.0], [9.0, 8.0, 1.0]]), 2, 0.5, math.e**6)
    assert smooth.tolist() == [True, False]
    assert hard.tolist() == [False, True]
