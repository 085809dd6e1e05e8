"""Times other top-k losses, forward and backward, beside the code of their authors, on two threads.

    python python/benches/peers.py [--lml CLONE] [--noised CLONE] [--difftopk CLONE] [--json FILE]

The clones are of https://github.com/locuslab/lml, https://github.com/garcinc/noised-topk and
https://github.com/Felix-Petersen/difftopk. Runs alternate; printed are medians in microseconds and the median of the
ratios of neighbouring runs. `cargo xtask bench python` runs it with --json and keeps the results.
"""

import argparse
import importlib
import json
import statistics
import sys
import time

import torch

from topk import functional

# Samples and classes. The relaxation of the last loss compares all classes with each other.
SIZES = [(256, 100), (256, 1000)]
SIZES_OF_PAIRS = [(256, 100), (16, 1000)]
K = 5
ROUNDS = 21


def of_authors(module, folder):
    sys.path.insert(0, folder)
    return importlib.import_module(module)


def lml(folder):
    module = of_authors("lml", folder)
    # To the accuracy of float32; the default of 1e-4 is less accurate, and faster.
    projection = module.LML(N=K, eps=1e-7, verbose=-1)
    default = module.LML(N=K, verbose=-1)

    def loss_of(projection):
        return lambda scores, labels: -projection(scores).gather(1, labels[:, None]).log().mean()

    yield "LML, eps 1e-4", lambda *batch: functional.lml(*batch, k=K), lambda classes: loss_of(default)
    yield "LML, eps 1e-7", lambda *batch: functional.lml(*batch, k=K), lambda classes: loss_of(projection)


def noised(folder):
    module = of_authors("pytopk", folder)
    for draws in (5, 10):
        theirs = module.BalNoisedTopK(k=K, epsilon=1.0, n_sample=draws)
        yield (
            f"noised top-k, {draws} draws",
            lambda *batch, draws=draws: functional.balanced_noised_topk(*batch, k=K, draws=draws),
            lambda classes, theirs=theirs: lambda scores, labels: theirs(scores, labels).mean(),
        )


def difftopk(folder):
    module = of_authors("difftopk", folder)
    p_k = [0.5, 0.0, 0.0, 0.0, 0.5]
    yield (
        "differentiable top-k, NeuralSort",
        lambda *batch: functional.differentiable_topk_cross_entropy(*batch, p_k=p_k),
        lambda classes: module.TopKCrossEntropyLoss("neuralsort", 1.0, p_k, n=classes),
    )


def microseconds(loss, scores, labels):
    scores.grad = None
    start = time.perf_counter()
    loss(scores, labels).backward()
    return (time.perf_counter() - start) * 1e6


def main():
    parser = argparse.ArgumentParser()
    peers = [(lml, SIZES), (noised, SIZES), (difftopk, SIZES_OF_PAIRS)]
    for peer, _ in peers:
        parser.add_argument(f"--{peer.__name__}", metavar="CLONE")
    parser.add_argument("--json", help="file for the medians")
    args = parser.parse_args()
    folders = vars(args)
    cases = []
    torch.manual_seed(0)
    torch.set_num_threads(2)
    print("| loss | samples × classes | `topk`, µs | authors, µs | ratio |\n| --- | --- | --- | --- | --- |")
    for peer, sizes in peers:
        folder = folders[peer.__name__]
        for name, ours, theirs in peer(folder) if folder else ():
            for samples, classes in sizes:
                scores = torch.randn(samples, classes, requires_grad=True)
                labels = torch.randint(classes, (samples,))
                losses = (ours, theirs(classes))
                for loss in losses:
                    microseconds(loss, scores, labels)
                pairs = [[microseconds(loss, scores, labels) for loss in losses] for _ in range(ROUNDS)]
                mine, peer = (statistics.median(times) for times in zip(*pairs, strict=True))
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                print(f"| {name} | {samples} × {classes} | {mine:,.0f} | {peer:,.0f} | {ratio:.3f} |", flush=True)
                figures = {"ours": round(mine, 1), "peer": round(peer, 1), "ratio": round(ratio, 4)}
                cases.append({"loss": name, "samples": samples, "classes": classes, "microseconds": figures})
    if args.json:
        with open(args.json, "w") as file:
            json.dump(cases, file)


if __name__ == "__main__":
    main()
