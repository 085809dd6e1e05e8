"""The order of the classes of each row by score, where of equal scores the lower class comes first."""

import torch


def without_label(scores, labels):
    """The scores with −∞ for that of the label."""
    return scores.scatter(1, labels.unsqueeze(1), -torch.inf)


def label_scores(scores, labels):
    """The label's score in each row, `[N, 1]`."""
    return scores.gather(1, labels.unsqueeze(1))


def add_to_label(rows, labels, numbers):
    """Adds a number, `[N, 1]`, to the label's entry in each row, in place."""
    # `scatter_add_` is not deterministic on every device.
    column = labels.unsqueeze(1)
    return rows.scatter_(1, column, rows.gather(1, column) + numbers)


def kth_highest(scores, k):
    """The k-th highest entry along the last dimension, which is kept with size 1."""
    if k == 1:
        return scores.amax(-1, keepdim=True)
    return scores.topk(k, -1).values[..., k - 1 :]


def ranks(scores, kth, k):
    """Where the entries of rank 1 to k − 1 are, and where that of rank k is, as two masks.

    `kth` are the k-th highest entries. Masks and not indices, since devices return equal entries in any
    order.
    """
    above = scores > kth
    equal = scores == kth
    rank = equal.cumsum(-1, dtype=torch.int32) + above.sum(-1, keepdim=True, dtype=torch.int32)
    return above | (equal & (rank < k)), equal & (rank == k)
