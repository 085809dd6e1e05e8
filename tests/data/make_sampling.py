"""Writes sampling.json: which images PyTorch's WeightedRandomSampler and timm's RepeatAugSampler choose.

Run with torch 2.11 and timm 1.0.31: python make_sampling.py
"""

import json
from pathlib import Path

import torch
from timm.data.distributed_sampler import RepeatAugSampler
from torch.utils.data import WeightedRandomSampler

EPOCHS = 40


def weighted(name, counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    numbers = torch.tensor(counts, dtype=torch.float64)
    power = {"class-balanced": 1.0, "square-root": 0.5}[name]
    weights = numbers.pow(-power)[labels]
    sampler = WeightedRandomSampler(weights, len(labels), generator=torch.Generator().manual_seed(2))
    drawn = torch.zeros(len(counts), dtype=torch.int64)
    for _ in range(EPOCHS):
        drawn += torch.bincount(labels[list(sampler)], minlength=len(counts))
    chosen = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, labels, weights / weights.sum())
    return {
        "sampler": name,
        "counts": counts,
        "epochs": EPOCHS,
        "probabilities": chosen.tolist(),
        "drawn": drawn.tolist(),
    }


def repeated(images, repeats, world_size):
    # A generator of the same seed gives the order that the sampler repeats.
    shuffled = torch.randperm(images, generator=torch.Generator().manual_seed(5)).tolist()
    ranks = []
    for rank in range(world_size):
        sampler = RepeatAugSampler(range(images), num_replicas=world_size, rank=rank, num_repeats=repeats)
        sampler.set_epoch(5)
        ranks.append(list(sampler))
    return {"repeats": repeats, "world_size": world_size, "shuffled": shuffled, "ranks": ranks}


numbers = {
    "weighted": [
        weighted(name, counts)
        for name in ("class-balanced", "square-root")
        for counts in ([500, 50, 5], [90, 10, 30, 1, 240], [40, 40])
    ],
    "repeated": [
        repeated(images, repeats, world_size)
        for images, repeats, world_size in [
            (30, 3, 1), (30, 3, 2), (300, 3, 1), (300, 3, 4), (520, 1, 2), (257, 1.5, 2), (300, 1.1, 1), (64, 2.5, 4),
        ]
    ],
}
path = Path(__file__).with_name("sampling.json")
path.write_text(json.dumps(numbers, separators=(",", ":")) + "\n")
