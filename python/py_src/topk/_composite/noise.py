"""Normal noise that is a function of its indices; `topk_ops::noise` defines it.

The integer arithmetic is modulo 2⁶⁴, as that of int64 tensors is; logical shifts are arithmetic ones with a
mask.
"""

import math

import torch


def standard_normal(seed, first, draws, scores):
    """The noise for each sample, draw and class, `[N, draws, C]`, where the first row is sample `first`.

    `seed` is an int64 number, or a tensor with one int64, on the scores' device or the host.
    """
    samples, classes = scores.shape
    options = {"dtype": torch.int64, "device": scores.device}
    if isinstance(seed, torch.Tensor):
        seed = seed.to(scores.device, non_blocking=True).reshape(1, 1, 1)
    else:
        seed = torch.full((1, 1, 1), seed, **options)
    sample = torch.arange(first, first + samples, **options).view(-1, 1, 1)
    draw = torch.arange(draws, **options).view(1, -1, 1)
    pair = torch.arange(0, classes, 2, **options)

    key = _word(_word(_mix(seed), sample), draw)
    unit = 2.0**-53
    u = (_shifted(_word(key, pair), 11) + 1).to(scores.dtype) * unit
    v = _shifted(_word(key, pair + 1), 11).to(scores.dtype) * unit
    radius = u.log_().mul_(-2).sqrt_()
    angle = v.mul_(2 * math.pi)
    both = torch.stack((radius * angle.cos(), radius * angle.sin()), -1)
    return both.flatten(2)[:, :, :classes]


def _wrapped(number):
    """The int64 that is congruent modulo 2⁶⁴."""
    return (number + 2**63) % 2**64 - 2**63


_GAMMA = _wrapped(0x9E3779B97F4A7C15)


def _word(key, i):
    return _mix(key + (i + 1) * _GAMMA)


def _mix(x):
    x = (x ^ _shifted(x, 30)) * _wrapped(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _wrapped(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x, bits):
    return (x >> bits) & ((1 << (64 - bits)) - 1)
