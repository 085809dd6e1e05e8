"""The smooth hinge τ ln(1 + exp(x/τ))."""

import torch
from torch.nn.functional import softplus


def soft_hinge(x, tau=1.0):
    """The smooth hinge of each number, and its derivative 1/(1 + exp(−x/τ))."""
    inverse = min(1 / tau, torch.finfo(x.dtype).max)
    # Beyond 50 the difference from the hinge is below the rounding of float64.
    return softplus(x, inverse, 50.0), torch.sigmoid(x * inverse)
