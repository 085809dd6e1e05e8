#!/usr/bin/env python3
"""Makes splits.json: what the authors' splits and label noise draw, by numpy and torchvision.

    pip install numpy==2.4.6 torchvision==0.26.0
    python make_splits.py

Long lists are kept as their length, first and last values, and SHA-256 of all as little-endian u32.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
from torchvision.datasets import ImageFolder

SPLIT_SEED = 1234


def kept(values):
    values = np.asarray(values)
    digest = hashlib.sha256(values.astype("<u4").tobytes()).hexdigest()
    return [len(values), values[:4].tolist(), values[-4:].tolist(), digest]


def subsets(sizes, total, seed):
    random = np.random.RandomState(seed)
    drawn = random.permutation(random.choice(total, size=sum(sizes), replace=False))
    return np.split(drawn, np.cumsum(sizes)[:-1])


def raw(seed):
    random = np.random.RandomState(seed)
    words = random.randint(0, 2**32, size=2000, dtype=np.uint32)
    uniform = np.random.RandomState(seed).random_sample(1000)
    return {
        "seed": seed,
        "words": kept(words),
        "uniform": hashlib.sha256(uniform.astype("<f8").tobytes()).hexdigest(),
    }


def holdout(images, train, validation, seed):
    a, b = subsets((train, validation), images, seed)
    sizes = {"images": images, "train_size": train, "validation_size": validation, "seed": seed}
    return {**sizes, "train": kept(a), "validation": kept(b)}


def noise(images, classes, group, probability, seed):
    labels = np.arange(images) * 7 % classes
    random = np.random.RandomState(seed)
    within = random.choice(group, size=images)
    is_noisy = random.binomial(1, probability, size=images)
    noisy = np.where(is_noisy, labels - labels % group + within, labels)
    case = {"images": images, "classes": classes, "group": group, "seed": seed}
    return {**case, "probability": probability, "noisy": kept(noisy)}


def by_class(images, validation, train, run_seed):
    """`images` are (path, class) in the order of ImageFolder; results are indices into them."""
    index = {path: i for i, (path, _) in enumerate(images)}
    classes = sorted({k for _, k in images})
    held_out = set()
    for k in classes:
        paths = sorted(path for path, c in images if c == k)
        (drawn,) = subsets((validation,), len(paths), SPLIT_SEED + k)
        held_out.update(paths[i] for i in drawn)
    remaining = {k: [] for k in classes}
    for path, k in images:
        if path not in held_out:
            remaining[k].append(path)
    total = sum(map(len, remaining.values()))
    per_class = total if train is None or train >= total else train // len(classes)
    order = []
    for k, paths in remaining.items():
        (drawn,) = subsets((min(per_class, len(paths)),), len(paths), SPLIT_SEED + k)
        order += [paths[i] for i in drawn]
    np.random.RandomState(run_seed).shuffle(order)
    return {
        "validation_per_class": validation,
        "train_size": train,
        "run_seed": run_seed,
        "train": kept([index[path] for path in order]),
        "validation": kept([i for i, (path, _) in enumerate(images) if path in held_out]),
    }


def made(classes, smallest, step, modulus):
    """Images of made classes, the numbers in their names without zeros before them."""
    for k in range(classes):
        names = sorted(f"{k:04}/{i}.JPEG" for i in range(smallest + k * step % modulus))
        yield from ((name, k) for name in names)


def made_case(classes, smallest, step, modulus, splits):
    images = list(made(classes, smallest, step, modulus))
    case = {"classes": classes, "smallest": smallest, "step": step, "modulus": modulus}
    return {**case, "splits": [by_class(images, *split) for split in splits]}


def folders():
    """Images in folders within folders of a class, which torchvision lists."""
    folders = ["", "x/", "x-y/", "x/z/"]
    names = [f"{k}/{folders[i % 4]}{i}.jpg" for k in "abc" for i in range(40)]
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        images = [(str(Path(path).relative_to(root)), k) for path, k in ImageFolder(root).imgs]
    first = [path for path, _ in images][:8]
    return {"first": first, "splits": [by_class(images, 10, 60, 3), by_class(images, 5, None, 0)]}


def main():
    cases = {
        "raw": [raw(seed) for seed in (0, 1234, 2**32 - 1)],
        "holdout": [
            holdout(50_000, 45_000, 5_000, SPLIT_SEED),
            holdout(50_000, 45_000, 5_000, 0),
            holdout(50_000, 10_000, 100, 7),
            holdout(3_440, 3_096, 344, SPLIT_SEED),
            holdout(10, 5, 5, 2**32 - 1),
        ],
        "noise": [
            *(noise(50_000, 100, 5, p, s) for p in (0.2, 0.4, 0.6, 0.8, 1.0) for s in (0, 1)),
            noise(50_000, 10, 2, 0.5, 3),
            noise(1_000, 12, 1, 0.3, 4),
            noise(1_000, 1_000, 1_000, 1e-3, 5),
        ],
        "made": [
            # The sizes of ImageNet's classes; its subsets of 64,000 to 640,000 images, by a tenth.
            made_case(
                100, 732, 131, 569, [(50, n, s) for n, s in [(6400, 0), (12_800, 0), (32_000, 1), (64_000, 0), (None, 0)]]
            ),
            made_case(1000, 55, 7, 23, [(50, 5_000, 0), (50, 12_000, 2)]),
        ],
        "folders": folders(),
    }
    path = Path(__file__).with_name("splits.json")
    path.write_text(json.dumps(cases, indent=1) + "\n")


main()
