"""The losses as modules, with the arguments of `torch.nn.CrossEntropyLoss` where the meaning is the same.

`k`, `tau`, `alpha` and the other parameters are attributes that can be set at any time, for example to lower the
temperature during training. The class weights are a buffer, as in PyTorch's losses.
"""

import torch

from . import _losses, functional

__all__ = [
    "BalancedNoisedTopk",
    "DFTopk",
    "DifferentiableTopkCrossEntropy",
    "LDRKL",
    "LML",
    "LapSum",
    "MaxTopkSVM",
    "Psi5",
    "SmoothTopkSVM",
    "TopkHingeAlpha",
    "TopkHingeBeta",
    "TruncatedTopkEntropy",
]


class _Loss(torch.nn.Module):
    """A loss with class weights, an ignored label and a reduction."""

    def __init__(self, weight, ignore_index, reduction, label_smoothing):
        super().__init__()
        _losses.check_reduction(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def _options(self):
        return {
            "weight": self.weight,
            "ignore_index": self.ignore_index,
            "reduction": self.reduction,
            "label_smoothing": self.label_smoothing,
        }

    def extra_repr(self):
        own = (name for name in self.__dict__ if not name.startswith("_") and name != "training")
        shown = {name: getattr(self, name) for name in own}
        # What every loss has is shown last, and only if it was set.
        common = {name: shown.pop(name) for name in ("ignore_index", "reduction", "label_smoothing")}
        parts = [f"{name}={value}" for name, value in shown.items() if value is not None]
        if self.weight is not None:
            parts.append(f"weight=({len(self.weight)} classes)")
        if common["ignore_index"] != -100:
            parts.append(f"ignore_index={common['ignore_index']}")
        if common["reduction"] != "mean":
            parts.append(f"reduction={common['reduction']!r}")
        if common["label_smoothing"] != 0.0:
            parts.append(f"label_smoothing={common['label_smoothing']}")
        return ", ".join(parts)


class SmoothTopkSVM(_Loss):
    """The smooth top-k SVM: see :func:`topk.functional.smooth_topk_svm`.

    Args:
        k: number of highest scores among which the label should be
        tau: temperature, above 0, in units of the scores
        alpha: margin, at least 0, in units of the scores
        weight: factors of the classes, a tensor of shape `(C)`
        ignore_index: label of samples that do not count
        reduction: `"none"`, `"mean"` or `"sum"`
        label_smoothing: probability, from 0 to 1, of a label drawn from all classes in place of the own one

    Shape:
        - input: `(C)`, `(N, C)` or `(N, C, d1, ...)`
        - target: `()`, `(N)` or `(N, d1, ...)`, of type int64
        - output: a scalar, or the shape of `target` if `reduction` is `"none"`

    Example:

        >>> import torch
        >>> from topk.nn import SmoothTopkSVM
        >>> criterion = SmoothTopkSVM(k=5, tau=0.1)
        >>> criterion
        SmoothTopkSVM(k=5, tau=0.1, alpha=1.0)
        >>> scores = torch.randn(8, 100, requires_grad=True)
        >>> criterion(scores, torch.randint(100, (8,))).backward()
        >>> criterion.tau = 0.05
    """

    def __init__(
        self, k=5, tau=1.0, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
    ):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.tau = tau
        self.alpha = alpha

    def forward(self, input, target):
        return functional.smooth_topk_svm(input, target, self.k, tau=self.tau, alpha=self.alpha, **self._options())


class MaxTopkSVM(_Loss):
    """The hard top-k SVM: see :func:`topk.functional.max_topk_svm`.

    Args:
        k: number of highest scores among which the label should be
        alpha: margin, at least 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.alpha = alpha

    def forward(self, input, target):
        return functional.max_topk_svm(input, target, self.k, alpha=self.alpha, **self._options())


class TopkHingeAlpha(_Loss):
    """The top-k hinge loss alpha: see :func:`topk.functional.topk_hinge_alpha`.

    Args:
        k: number of highest scores among which the label should be
        alpha: margin, at least 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.alpha = alpha

    def forward(self, input, target):
        return functional.topk_hinge_alpha(input, target, self.k, alpha=self.alpha, **self._options())


class TopkHingeBeta(_Loss):
    """The top-k hinge loss beta: see :func:`topk.functional.topk_hinge_beta`.

    Args:
        k: number of highest scores among which the label should be
        alpha: margin, at least 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.alpha = alpha

    def forward(self, input, target):
        return functional.topk_hinge_beta(input, target, self.k, alpha=self.alpha, **self._options())


class TruncatedTopkEntropy(_Loss):
    """The truncated top-k entropy: see :func:`topk.functional.truncated_topk_entropy`.

    Args:
        k: number of highest scores among which the label should be
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k

    def forward(self, input, target):
        return functional.truncated_topk_entropy(input, target, self.k, **self._options())


class Psi5(_Loss):
    """The top-k calibrated hinge psi_5: see :func:`topk.functional.psi5`.

    Args:
        k: number of highest scores among which the label should be
        alpha: margin, at least 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.alpha = alpha

    def forward(self, input, target):
        return functional.psi5(input, target, self.k, alpha=self.alpha, **self._options())


class BalancedNoisedTopk(_Loss):
    """The noised top-k loss: see :func:`topk.functional.balanced_noised_topk`.

    Each call draws new noise, from PyTorch's default generator.

    Args:
        k: number of highest scores among which the label should be
        epsilon: standard deviation of the noise, at least 0, in units of the scores
        draws: number of noise vectors per sample
        alpha: margin, at least 0, in units of the scores
        margins: one margin per class instead of `alpha`, a sequence of C numbers
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(
        self,
        k=5,
        epsilon=1.0,
        draws=5,
        alpha=1.0,
        *,
        margins=None,
        weight=None,
        ignore_index=-100,
        reduction="mean",
        label_smoothing=0.0,
    ):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.epsilon = epsilon
        self.draws = draws
        self.alpha = alpha
        self.margins = margins

    def forward(self, input, target):
        return functional.balanced_noised_topk(
            input,
            target,
            self.k,
            epsilon=self.epsilon,
            draws=self.draws,
            alpha=self.alpha,
            margins=self.margins,
            **self._options(),
        )


class LML(_Loss):
    """The log-likelihood under the limited multi-label projection: see :func:`topk.functional.lml`.

    Args:
        k: number of highest scores among which the label should be
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k

    def forward(self, input, target):
        return functional.lml(input, target, self.k, **self._options())


class DifferentiableTopkCrossEntropy(_Loss):
    """The differentiable top-k cross-entropy: see :func:`topk.functional.differentiable_topk_cross_entropy`.

    Args:
        k: the largest k to train for; ignored if `p_k` is given
        tau: temperature of the relaxation, above 0, in units of the scores
        p_k: probabilities of k = 1, 2, ..., a sequence that sums to 1. By default top-1 and top-k in equal parts
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(
        self, k=5, tau=1.0, *, p_k=None, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
    ):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.tau = tau
        self.p_k = p_k

    def forward(self, input, target):
        return functional.differentiable_topk_cross_entropy(
            input, target, self.k, tau=self.tau, p_k=self.p_k, **self._options()
        )


class LapSum(_Loss):
    """The log-likelihood under LapSum's soft top-k selection: see :func:`topk.functional.lapsum`.

    Args:
        k: number of highest scores among which the label should be
        tau: temperature, above 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, tau=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.tau = tau

    def forward(self, input, target):
        return functional.lapsum(input, target, self.k, tau=self.tau, **self._options())


class DFTopk(_Loss):
    """The log-likelihood under the operator DFTopK: see :func:`topk.functional.dftopk`.

    Args:
        k: number of highest scores among which the label should be
        tau: temperature, above 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, k=5, tau=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.k = k
        self.tau = tau

    def forward(self, input, target):
        return functional.dftopk(input, target, self.k, tau=self.tau, **self._options())


class LDRKL(_Loss):
    """The LDR-KL loss: see :func:`topk.functional.ldr_kl`.

    Args:
        tau: temperature, above 0, in units of the scores
        alpha: margin, at least 0, in units of the scores
        weight, ignore_index, reduction, label_smoothing: see :class:`SmoothTopkSVM`
    """

    def __init__(self, tau=1.0, alpha=1.0, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, ignore_index, reduction, label_smoothing)
        self.tau = tau
        self.alpha = alpha

    def forward(self, input, target):
        return functional.ldr_kl(input, target, self.tau, self.alpha, **self._options())
