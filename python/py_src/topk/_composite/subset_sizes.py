"""The distribution of the size of a random subset: elementary symmetric polynomials up to a common factor.

Let each element i belong to a random subset independently of the others, with probability p_i = σ(z_i − t).
For every shift t, the subset has j elements with probability

    P_j = e_j(exp(z − t)) / ∏ (1 + exp(z_i − t)),

so that ln e_k − ln e_{k−1} = t + ln P_k − ln P_{k−1} for the polynomials of exp z. The P are the coefficients
of the product of all q_i + p_i X, with q_i = 1 − p_i, which is computed by a binary tree: each level
multiplies the polynomials of the level below in pairs, truncated at degree k. All terms are positive, and no
probability exceeds 1, so nothing cancels or overflows; with t such that about k elements are expected, P_k
and P_{k−1} are not small either, and only terms that do not matter can underflow.

The derivatives of ln e_j are the marginals π⁽ʲ⁾_i = p_i P_{j−1}(without i) / P_j. A pass down the tree gives
any combination of those of k and k − 1: starting from the coefficients of P_k and P_{k−1} in the result, each
node's derivative is the correlation of its parent's with its sibling's polynomial. Each of both passes takes
about five operations per level, of which there are ⌈log₂ C⌉, for any k.

`tch`'s composition is the same algorithm, in `ops/tch/src/tensor_loss/subset_sizes.rs`.
"""

import math

import torch
from torch.nn.functional import pad


def balanced_shift(offsets, highest, k):
    """A shift t, `[N, 1]`, for which Σ σ(z_i − t) is about k − ½.

    `offsets` are the z, relative to the k-th highest, and `highest` the k highest of them.

    With x the sum of exp z over the other elements, t = ln max(x/k, 1) already gives between k/2 and 2k
    expected elements and P_k ≥ 2⁻ᵏ or so: enough for small k. For larger k, steps of Newton's method follow,
    on the difference of the logarithms of what the k highest lack of k elements, and what the others
    contribute and ½. Its slope is between ½ and 2, and a few steps bring the expected size to within a tenth
    of its standard deviation.
    """
    others = offsets.clamp(max=0).exp_().sum(1, keepdim=True).sub_(k)
    shift = others.div_(k).clamp_(min=1).log_()
    if k <= 32:
        return shift
    low, high = -math.log(2 * k - 1), math.log(2 * (offsets.shape[1] - k) + 1)
    for _ in range(3):
        p = torch.sigmoid(offsets - shift)
        of_highest = torch.sigmoid(highest - shift)
        mean, mean_of_highest = p.sum(1, keepdim=True), of_highest.sum(1, keepdim=True)
        variance = mean - p.square_().sum(1, keepdim=True)
        variance_of_highest = mean_of_highest - of_highest.square_().sum(1, keepdim=True)
        lacking = k - mean_of_highest
        above = mean - mean_of_highest + 0.5
        slope = variance_of_highest / lacking + (variance - variance_of_highest) / above
        shift = (shift - (lacking / above).log_() / slope).clamp_(low, high)
    return shift


class SubsetSizes:
    """The P_0, …, P_k of each row, given log-odds z_i − t, `[N, C]` with C ≥ k. Log-odds may be infinite."""

    def __init__(self, log_odds, k):
        self.k = k
        self.elements = log_odds.shape[1]
        self.p = torch.sigmoid(log_odds)
        # The polynomials of each level, `[degree + 1, N, nodes]`: coefficients are along the first dimension.
        self.levels = []
        level = torch.stack((torch.sigmoid(-log_odds), self.p))
        while level.shape[2] > 1:
            if level.shape[2] % 2:
                # One more factor, 1.
                level = pad(level, (0, 1))
                level[0, :, -1].fill_(1)
            self.levels.append(level)
            level = _multiply(level, k)
        # `[k + 1, N, 1]`.
        self.sizes = level

    def probabilities(self):
        """P_{k−1} and P_k, `[N, 1]` each."""
        return self.sizes[self.k - 1], self.sizes[self.k]

    def marginals(self, of_km1, of_k):
        """of_k · π⁽ᵏ⁾ + of_km1 · π⁽ᵏ⁻¹⁾ for each element, `[N, C]`, with factors `[N, 1]`."""
        p_km1, p_k = self.probabilities()
        derivative = torch.zeros_like(self.sizes)
        derivative[self.k - 1].copy_(of_km1 / p_km1)
        derivative[self.k].copy_(of_k / p_k)
        for depth, level in reversed(tuple(enumerate(self.levels))):
            # Of an element, only the coefficient of its p is needed.
            derivative = _of_factors(derivative, level, 0 if depth else 1)
            nodes = self.levels[depth - 1].shape[2] // 2 if depth else self.elements
            derivative = derivative[:, :, :nodes]
        return derivative[-1] * self.p


def _multiply(level, k):
    """The products of the first half of the polynomials and the second, without degrees above k."""
    left, right = level.chunk(2, 2)
    degree = level.shape[0] - 1
    result = min(2 * degree, k)
    # Entry [j, …, i] is coefficient j + i − degree.
    right = pad(right, (0, 0, 0, 0, degree, result - degree)).unfold(0, degree + 1, 1)
    return (right * left.flip(0).movedim(0, -1)).sum(-1)


def _of_factors(derivative, level, first):
    """The derivatives with respect to the coefficients of the factors, from degree `first` on, given those
    with respect to the coefficients of their products."""
    terms, samples, nodes = level.shape
    other = level.reshape(terms, samples, 2, nodes // 2).flip(2)
    derivative = pad(derivative, (0, 0, 0, 0, 0, 2 * terms - 1 - derivative.shape[0]))
    # Entry [i, …, j] is that of the product's coefficient i + j.
    windows = derivative.unfold(0, terms, 1)[first:].unsqueeze(2)
    return (windows * other.movedim(0, -1)).sum(-1).flatten(2)
