"""Logarithms of elementary symmetric polynomials, as in the authors' `topk.polynomial`."""

from .sp import LogSumExp, log_sum_exp

__all__ = ["LogSumExp", "log_sum_exp"]
