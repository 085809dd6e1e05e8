"""Times forward and backward beside PyTorch's cross-entropy, on two threads, and the import of the package.

    python python/benches/loss.py [AUTHORS] [--json FILE]

AUTHORS is a clone of the authors' repository, to time their code too. The runs alternate in blocks; printed are the
medians in microseconds, and the median of the ratios of neighbouring blocks. `cargo xtask bench python` runs it with
--json and keeps the results.
"""

import argparse
import contextlib
import importlib
import io
import json
import statistics
import subprocess
import sys
import time

import torch
from torch.nn.functional import cross_entropy

from topk.svm import SmoothTop1SVM, SmoothTopkSVM

# Samples, classes, k, calls per block, and blocks.
CASES = [(64, 2, 1, 50, 301), (256, 1000, 5, 5, 301)]

IMPORT = """
import time
import torch
start = time.perf_counter()
import topk.functional, topk.nn, topk.svm
print(time.perf_counter() - start)
"""


def authors(path):
    """The module `topk.svm` of the authors' package, whose name is that of ours."""
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "topk"}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, path)
    try:
        return importlib.import_module("topk.svm")
    finally:
        sys.path.remove(path)
        sys.modules.update(ours)


def step(loss, scores, labels):
    scores.grad = None
    loss(scores, labels).backward()


def block(loss, scores, labels, calls):
    """Microseconds per call."""
    start = time.perf_counter()
    for _ in range(calls):
        step(loss, scores, labels)
    return (time.perf_counter() - start) / calls * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("authors", nargs="?", help="clone of the authors' repository")
    parser.add_argument("--json", help="file for the medians")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    theirs = authors(args.authors) if args.authors else None
    cases = []
    for samples, classes, k, calls, blocks in CASES:
        scores = torch.randn(samples, classes, requires_grad=True)
        labels = torch.randint(classes, (samples,))
        loss = SmoothTop1SVM(classes) if k == 1 else SmoothTopkSVM(classes, k=k)
        for each in (cross_entropy, loss):
            block(each, scores, labels, 200)
        pairs = [[block(each, scores, labels, calls) for each in (cross_entropy, loss)] for _ in range(blocks)]
        reference, ours = (statistics.median(times) for times in zip(*pairs))
        ratio = statistics.median(ours / reference for reference, ours in pairs)
        microseconds = {"ours": round(ours, 2), "peer": round(reference, 2), "ratio": round(ratio, 3)}
        case = {"samples": samples, "classes": classes, "k": k, "microseconds": microseconds}
        line = f"{samples} x {classes}, k = {k}: cross_entropy {reference:.1f}, topk {ours:.1f}, ratio {ratio:.2f}"
        if theirs:
            with contextlib.redirect_stdout(io.StringIO()):
                original = theirs.SmoothTop1SVM(classes) if k == 1 else theirs.SmoothTopkSVM(classes, k=k)
            times = [block(original, scores, labels, 5) for _ in range(5)]
            case["authors_us"] = round(statistics.median(times), 1)
            line += f"; the authors' {case['authors_us']}"
        cases.append(case)
        print(line)
    times = [float(subprocess.check_output([sys.executable, "-c", IMPORT])) for _ in range(7)]
    import_ms = round(1000 * statistics.median(times), 1)
    print(f"import after torch: {import_ms} ms")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"cases": cases, "import_ms": import_ms}, file)


if __name__ == "__main__":
    main()
