#!/usr/bin/env python3
"""Creates `cifar100-sample` from the binary version of CIFAR-100.

    make_cifar100_sample.py cifar-100-binary.tar.gz cifar100-sample

Takes 172 training and 100 test records of each of the first 20 fine classes (all official test images of
these classes) and writes them in the official layout. Selection and order depend only on the SHA-256 of the
pixels, not on the order in the archive, so every copy of the data gives the same sample.
"""

import collections
import hashlib
import pathlib
import sys
import tarfile

CLASSES = 20
PER_CLASS = {"train.bin": 172, "test.bin": 100}
RECORD = 2 + 3 * 32 * 32  # coarse label, fine label, pixels


def sample(records: bytes, per_class: int) -> bytes:
    by_class = collections.defaultdict(list)
    for start in range(0, len(records), RECORD):
        record = records[start : start + RECORD]
        fine = record[1]
        if fine < CLASSES:
            by_class[fine].append((hashlib.sha256(record[2:]).digest(), record))
    chosen = [pair for fine in range(CLASSES) for pair in sorted(by_class[fine])[:per_class]]
    assert len(chosen) == CLASSES * per_class
    return b"".join(record for _, record in sorted(chosen))


def main() -> None:
    archive, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        files = {pathlib.Path(member.name).name: member for member in tar if member.isfile()}
        read = lambda name: tar.extractfile(files[name]).read()
        for name, per_class in PER_CLASS.items():
            (out / name).write_bytes(sample(read(name), per_class))
        names = read("fine_label_names.txt").decode().split()
        (out / "fine_label_names.txt").write_text("\n".join(names[:CLASSES]) + "\n")
        (out / "coarse_label_names.txt").write_bytes(read("coarse_label_names.txt"))


if __name__ == "__main__":
    main()
