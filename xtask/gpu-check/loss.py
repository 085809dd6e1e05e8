"""Time of the loss for a usual batch, beside PyTorch's cross-entropy and the authors' code."""

import contextlib
import importlib
import io
import sys

import topk.functional as F
import torch
from report import at_least, at_most, graph_of, microseconds, row

SAMPLES, CLASSES, K = 256, 1000, 5


def authors(path):
    """The loss of the authors' package, whose name is that of ours."""
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "topk"}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(path))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module("topk.svm").SmoothTopkSVM(CLASSES, k=K)
    finally:
        sys.path.remove(str(path))
        sys.modules.update(ours)


def step(loss, scores, labels):
    """A function that computes loss and gradient."""

    def compute():
        scores.grad = None
        loss(scores, labels).backward()

    return compute


def run(options):
    torch.manual_seed(0)
    scores = torch.randn(SAMPLES, CLASSES, device=options.device, requires_grad=True)
    labels = torch.randint(CLASSES, (SAMPLES,), device=options.device)
    losses = {
        "cross_entropy": torch.nn.functional.cross_entropy,
        "smooth_topk_svm": lambda scores, labels: F.smooth_topk_svm(scores, labels, K),
    }
    calls = 2 if options.rehearse else 100
    times = {name: microseconds(step(loss, scores, labels), options.device, calls) for name, loss in losses.items()}
    for name, time in times.items():
        row(f"{SAMPLES} x {CLASSES}, {name}", time, "µs")
    if options.rehearse:
        return
    at_most("SVM / PyTorch's cross-entropy", times["smooth_topk_svm"] / times["cross_entropy"], 1.5)
    if options.authors:
        theirs = authors(options.authors).to(options.device)
        original = microseconds(step(theirs, scores, labels), options.device, calls=2, repeats=5)
        row(f"{SAMPLES} x {CLASSES}, the authors' code", original, "µs")
        at_least("authors' / SVM", original / times["smooth_topk_svm"], 100)
    graphs = {name: microseconds(graph_of(step(loss, scores, labels)), options.device) for name, loss in losses.items()}
    for name, time in graphs.items():
        row(f"as a CUDA graph, {name}", time, "µs")
    at_most("SVM / cross-entropy, as CUDA graphs", graphs["smooth_topk_svm"] / graphs["cross_entropy"], 1.5)
