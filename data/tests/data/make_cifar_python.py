#!/usr/bin/env python3
"""Makes cifar-python: a few images as CIFAR's Python versions have them, and what torchvision reads there.

    pip install numpy==2.4.6 torchvision==0.26.0
    python make_cifar_python.py

The images are of the sample of CIFAR-100 in tests/data; the labels of CIFAR-10 are made up. Pickles are
as Python 2's numpy wrote the official files: protocol 2, with every string a string of bytes.
"""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

HERE = Path(__file__).parent
SAMPLE = HERE / "../../../tests/data/cifar100-sample"
OUT = HERE / "cifar-python"
RECORD = 2 + 3072


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 wrote its strings, and globals by the names of that time."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else bytes(value)
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    dispatch[str] = save_string
    dispatch[bytes] = save_string

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{value.__qualname__}\n".encode())
        self.memoize(value)

    def save(self, value, *arguments):
        if isinstance(value, type) or type(value) is type(pickle.dumps):
            return self.save_global(value)
        return super().save(value, *arguments)


def dump(value, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        Python2Pickler(file, protocol=2).dump(value)


def records(path, start=0, count=None):
    """Coarse labels, fine labels and pixels of records of the binary version."""
    raw = np.fromfile(path, np.uint8).reshape(-1, RECORD)[start:][:count]
    return raw[:, 0].tolist(), raw[:, 1].tolist(), np.ascontiguousarray(raw[:, 2:])


def filenames(count):
    return [f"image_s_{i:06}.png" for i in range(count)]


def write_cifar100(binary, out, train=None, test=None):
    for split, count in (("train", train), ("test", test)):
        coarse, fine, pixels = records(binary / f"{split}.bin", 0, count)
        batch = {
            "filenames": filenames(len(fine)),
            "batch_label": f"{split}ing batch 1 of 1",
            "fine_labels": fine,
            "coarse_labels": coarse,
            "data": pixels,
        }
        dump(batch, out / "cifar-100-python" / split)
    names = {
        kind: (binary / f"{kind[:-1]}s.txt").read_text().split()
        for kind in ("fine_label_names", "coarse_label_names")
    }
    dump(names, out / "cifar-100-python/meta")


def write_cifar10(binary, out, per_file=1):
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        _, fine, pixels = records(binary / "train.bin", i * per_file, per_file + (i == 5))
        batch = {
            "batch_label": f"batch {i}",
            "labels": [(3 * i + label) % 10 for label in fine],
            "data": pixels,
            "filenames": filenames(len(fine)),
        }
        dump(batch, out / "cifar-10-batches-py" / name)
    meta = {
        "num_cases_per_batch": per_file,
        "label_names": [f"class {i}" for i in range(10)],
        "num_vis": 3072,
    }
    dump(meta, out / "cifar-10-batches-py/batches.meta")


def read(dataset, out, train):
    """What torchvision reads, as CHW, without its check for the official files."""

    class Unchecked(dataset):
        train_list = [[name, None] for name, _ in dataset.train_list]
        test_list = [[name, None] for name, _ in dataset.test_list]
        meta = {**dataset.meta, "md5": None}

    images = Unchecked(out, train=train)
    pixels = np.ascontiguousarray(images.data.transpose(0, 3, 1, 2))
    return {
        "labels": images.targets,
        "class_names": images.classes,
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


def main():
    write_cifar100(SAMPLE, OUT, train=3, test=2)
    write_cifar10(SAMPLE, OUT)
    expected = {
        f"{name}/{split}": read(dataset, OUT, split == "train")
        for name, dataset in (("cifar10", CIFAR10), ("cifar100", CIFAR100))
        for split in ("train", "test")
    }
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
