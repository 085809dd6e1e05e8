"""The losses as functions, with the arguments of `torch.nn.functional.cross_entropy` where the meaning is the same.

All of them take PyTorch tensors, or NumPy arrays if the first argument is not a tensor, and return the same kind.

Arguments that they share:

* **input**: scores (logits) of shape `(C)`, `(N, C)` or `(N, C, d1, ..., dK)`, for N samples and C classes, of type
  float32, float64, float16 or bfloat16. Under autocast they are converted to float32. Halves are computed in float32.
* **target**: labels of type int64, of shape `()`, `(N)` or `(N, d1, ..., dK)`: classes in [0, C), or `ignore_index`.
* **k** (int): the label should be among the k highest scores. All losses need at least k + 1 classes, the
  differentiable top-k cross-entropy k; LDR-KL has no k.
* **weight**: factors of the classes, of shape `(C)` and the type of `input`. A sample's loss is multiplied by that of
  its label; none may be negative.
* **ignore_index** (int): samples with this label have loss and gradient 0 and do not count in the mean.
* **reduction** (str): `"none"`, `"sum"`, or `"mean"`, which divides by the sum of the weights of the labels. The mean
  of no samples is NaN.

The result has the type of `input`, and no dimensions, or those of `target` if `reduction` is `"none"`. Gradients are
exact and can be taken once, not twice.

On the CPU, invalid values raise an error: `IndexError` for a label that is not a class, `ValueError` for a score that
is NaN or infinite (mask a class with a large negative score, such as -1e4). On other devices, where looking at values
would mean waiting for the device, such a sample has the loss NaN. Invalid arguments raise `ValueError`, `TypeError` or
`RuntimeError`, as in PyTorch.
"""

from contextvars import ContextVar

from . import _losses, _numpy

try:
    import torch
except ModuleNotFoundError:
    torch = None
else:
    from . import _torch
    from ._authors import Top1_Hard_SVM, Top1_Smooth_SVM, Topk_Hard_SVM, Topk_Smooth_SVM

__all__ = [
    "balanced_noised_topk",
    "dftopk",
    "differentiable_topk_cross_entropy",
    "lapsum",
    "ldr_kl",
    "lml",
    "max_topk_svm",
    "psi5",
    "smooth_topk_svm",
    "topk_hinge_alpha",
    "topk_hinge_beta",
    "truncated_topk_entropy",
    "value_and_grad",
]
if torch is not None:
    __all__ += ["Top1_Hard_SVM", "Top1_Smooth_SVM", "Topk_Hard_SVM", "Topk_Smooth_SVM"]

# Whether the loss of arrays is to be returned with its gradient.
_WITH_GRADIENT = ContextVar("with_gradient", default=False)


def _evaluate(name, parameters, input, target, weight, ignore_index, reduction, label_smoothing):
    if torch is not None and isinstance(input, torch.Tensor):
        return _torch.loss(name, parameters, input, target, weight, ignore_index, reduction, label_smoothing)
    with_gradient = _WITH_GRADIENT.get()
    return _numpy.loss(name, parameters, input, target, weight, ignore_index, reduction, with_gradient, label_smoothing)


def smooth_topk_svm(
    input, target, k=5, *, tau=1.0, alpha=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    r"""The smooth top-k SVM of Berrada, Zisserman and Kumar, "Smooth Loss Functions for Deep Top-k Classification",
    ICLR 2018 (https://arxiv.org/abs/1802.07595).

    For scores s and label y, with z_i = s_i / (k tau) and e_j the j-th elementary symmetric polynomial of the exp(z_i)
    of the wrong classes,

    .. code-block:: text

        loss = tau ln(1 + exp(alpha / tau + ln e_k - ln e_(k-1) - z_y))

    k = 1 is the smooth multi-class SVM; with tau = 1 and alpha = 0 that is cross-entropy. As tau goes to 0 the loss
    becomes that of :func:`max_topk_svm`. Value and gradient are exact at every temperature. Time is O(C k) per sample.

    Args:
        input: scores of shape `(C)`, `(N, C)` or `(N, C, d1, ...)`
        target: labels of shape `()`, `(N)` or `(N, d1, ...)`
        k: number of highest scores among which the label should be
        tau: temperature, above 0, in units of the scores
        alpha: margin, at least 0, in units of the scores
        weight: factors of the classes, of shape `(C)`
        ignore_index: label of samples that do not count
        reduction: `"none"`, `"mean"` or `"sum"`
        label_smoothing: probability, from 0 to 1, of a label drawn from all classes in place of the own one, as of
            `torch.nn.functional.cross_entropy`. Most losses are then computed with each class as the label, which takes
            up to C times as long

    Example:

        >>> import torch
        >>> import topk.functional as F
        >>> scores = torch.tensor([[2.0, 0.5, -1.0, 0.3], [0.1, 0.2, 0.0, 1.5]], requires_grad=True)
        >>> loss = F.smooth_topk_svm(scores, torch.tensor([0, 2]), k=2)
        >>> loss
        tensor(1.1079, grad_fn=<_LossBackward>)
        >>> loss.backward()
        >>> bool(scores.grad[0, 0] < 0)  # raising the label's score lowers the loss
        True
    """
    parameters = (_losses.check_k(k), float(tau), float(alpha))
    return _evaluate("smooth_topk_svm", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def max_topk_svm(
    input, target, k=5, *, alpha=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """The hard top-k SVM, max(0, alpha + (t - s_y) / k), where t is the k-th highest score of the wrong classes.

    It is the limit of :func:`smooth_topk_svm` at temperature 0, and for k = 1 the multi-class hinge loss of Crammer and
    Singer (JMLR 2001). Only two scores of a sample have a gradient, so it trains deep networks poorly.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        alpha: margin, at least 0, in units of the scores
    """
    parameters = (_losses.check_k(k), float(alpha))
    return _evaluate("max_topk_svm", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def topk_hinge_alpha(
    input, target, k=5, *, alpha=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """The top-k hinge loss alpha of Lapin, Hein and Schiele, NIPS 2015 (https://arxiv.org/abs/1511.06683).

    With h_j = alpha + s_j - s_y for the wrong classes and 0 for the label, it is max(0, (h_[1] + ... + h_[k]) / k),
    where h_[j] is the j-th largest of all.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        alpha: margin, at least 0, in units of the scores
    """
    parameters = (_losses.check_k(k), float(alpha))
    return _evaluate("topk_hinge_alpha", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def topk_hinge_beta(
    input, target, k=5, *, alpha=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """The top-k hinge loss beta of Usunier, Buffoni and Gallinari (ICML 2009), in the form of Lapin, Hein and Schiele,
    NIPS 2015 (https://arxiv.org/abs/1511.06683).

    With the h of :func:`topk_hinge_alpha`, it is (max(0, h_[1]) + ... + max(0, h_[k])) / k.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        alpha: margin, at least 0, in units of the scores
    """
    parameters = (_losses.check_k(k), float(alpha))
    return _evaluate("topk_hinge_beta", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def truncated_topk_entropy(
    input, target, k=5, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """The truncated top-k entropy of Lapin, Hein and Schiele, CVPR 2016 (https://arxiv.org/abs/1512.00486):
    cross-entropy without the k - 1 highest wrong classes.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
    """
    parameters = (_losses.check_k(k),)
    return _evaluate(
        "truncated_topk_entropy", parameters, input, target, weight, ignore_index, reduction, label_smoothing
    )


def psi5(input, target, k=5, *, alpha=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The top-k calibrated hinge psi_5 of Yang and Koyejo, ICML 2020 (https://arxiv.org/abs/1901.11141):
    max(0, alpha + s_[k+1] - s_y), where s_[k+1] is the (k + 1)-th highest of all scores.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        alpha: margin, at least 0, in units of the scores
    """
    parameters = (_losses.check_k(k), float(alpha))
    return _evaluate("psi5", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def balanced_noised_topk(
    input,
    target,
    k=5,
    *,
    epsilon=1.0,
    draws=5,
    alpha=1.0,
    margins=None,
    seed=None,
    weight=None,
    ignore_index=-100,
    reduction="mean",
    label_smoothing=0.0,
):
    """The noised top-k loss of Garcin, Servajean, Joly and Salmon, ICML 2022 (https://arxiv.org/abs/2202.02193):
    :func:`psi5` with the (k + 1)-th highest score replaced by its mean over draws of normal noise on the scores.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        epsilon: standard deviation of the noise, at least 0, in units of the scores. The paper uses 1 with 5 draws for
            Pl@ntNet-300K, and 0.2 with 10 draws for CIFAR-100
        draws: number of noise vectors per sample
        alpha: margin, at least 0, in units of the scores
        margins: one margin per class instead of `alpha`, a sequence of C numbers
        seed: 64-bit seed of the noise; the same seed gives the same noise. By default it is drawn from PyTorch's
            default generator, or for arrays from NumPy's
    """
    margins = None if margins is None else tuple(float(margin) for margin in margins)
    if seed is None:
        seed = _random_seed(input)
    parameters = (_losses.check_k(k), float(epsilon), _losses.check_k(draws, "draws"), float(alpha), margins, seed)
    return _evaluate(
        "balanced_noised_topk", parameters, input, target, weight, ignore_index, reduction, label_smoothing
    )


def lml(input, target, k=5, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The log-likelihood of the label under the limited multi-label projection of Amos, Koltun and Kolter, 2019
    (https://arxiv.org/abs/1906.08707).

    The projection maps scores to probabilities p_i = sigmoid(s_i + nu) that sum to k; the loss is -ln p_y.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
    """
    return _evaluate("lml", (_losses.check_k(k),), input, target, weight, ignore_index, reduction, label_smoothing)


def differentiable_topk_cross_entropy(
    input, target, k=5, *, tau=1.0, p_k=None, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """The differentiable top-k cross-entropy of Petersen, Kuehne, Borgelt and Deussen, ICML 2022
    (https://arxiv.org/abs/2206.07290), with the relaxation NeuralSort (https://arxiv.org/abs/1903.08850).

    Args:
        input, target, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        k: the largest k to train for; ignored if `p_k` is given
        tau: temperature of the relaxation, above 0, in units of the scores
        p_k: probabilities of k = 1, 2, ..., a sequence that sums to 1. By default top-1 and top-k in equal parts
    """
    if p_k is None:
        k = _losses.check_k(k)
        p_k = (1.0,) if k == 1 else (0.5, *(0.0,) * (k - 2), 0.5)
    parameters = (tuple(float(p) for p in p_k), float(tau))
    return _evaluate(
        "differentiable_topk_cross_entropy", parameters, input, target, weight, ignore_index, reduction, label_smoothing
    )


def lapsum(input, target, k=5, *, tau=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The log-likelihood of the label under LapSum's soft top-k selection, Struski, Bednarczyk, Podolak and Tabor,
    ICML 2025 (https://arxiv.org/abs/2503.06242).

    The selection maps scores to probabilities p_i = F((s_i - b) / tau) that sum to k, where F is the distribution
    function of the Laplace distribution; the loss is -ln p_y.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        tau: temperature, above 0, in units of the scores
    """
    parameters = (_losses.check_k(k), float(tau))
    return _evaluate("lapsum", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def dftopk(input, target, k=5, *, tau=1.0, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The log-likelihood of the label under the differentiable top-k operator DFTopK, 2025
    (https://arxiv.org/abs/2510.11472).

    It is -ln sigmoid((s_y - t) / tau), where t is the middle between the k-th and the (k + 1)-th highest score.

    Args:
        input, target, k, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        tau: temperature, above 0, in units of the scores
    """
    parameters = (_losses.check_k(k), float(tau))
    return _evaluate("dftopk", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def ldr_kl(input, target, tau=1.0, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The LDR-KL loss of Zhu, Ying and Yang, ICML 2023 (https://arxiv.org/abs/2112.14869): tau times the logarithm of
    the mean over all classes of exp((s_j - s_y + alpha) / tau), where the label's own term is 1.

    It is :func:`smooth_topk_svm` with k = 1, less tau ln C: it can be negative. It does not depend on a k.

    Args:
        input, target, weight, ignore_index, reduction, label_smoothing: see :func:`smooth_topk_svm`
        tau: temperature, above 0, in units of the scores
        alpha: margin, at least 0, in units of the scores
    """
    parameters = (float(tau), float(alpha))
    return _evaluate("ldr_kl", parameters, input, target, weight, ignore_index, reduction, label_smoothing)


def value_and_grad(loss, input, target, *args, **options):
    """The loss of NumPy arrays, and its gradient with respect to the scores.

    Args:
        loss: a function of this module
        input: scores, a NumPy array
        target: labels, a NumPy array
        *args, **options: further arguments of `loss`

    Returns:
        tuple: the loss, and an array of the shape and type of `input` with the gradient (of the sum of the losses if
        `reduction` is `"none"`)

    Example:

        >>> import numpy
        >>> import topk.functional as F
        >>> scores = numpy.array([[2.0, 0.5, -1.0], [0.1, 0.2, 0.0]])
        >>> value, grad = F.value_and_grad(F.smooth_topk_svm, scores, numpy.array([0, 2]), k=1)
        >>> grad.shape
        (2, 3)
        >>> bool(abs(grad.sum()) < 1e-12)
        True
    """
    if torch is not None and isinstance(input, torch.Tensor):
        raise TypeError(
            "value_and_grad takes NumPy arrays: use loss.backward() or torch.func.grad_and_value for tensors"
        )
    token = _WITH_GRADIENT.set(True)
    try:
        return loss(input, target, *args, **options)
    finally:
        _WITH_GRADIENT.reset(token)


def _random_seed(input):
    if torch is None or not isinstance(input, torch.Tensor):
        return _numpy.random_seed()
    return _torch.random_seed()
