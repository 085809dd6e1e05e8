"""Bandwidth of the kernel for large batches: each score is read once and its gradient written once."""

import torch
from c_interface import Library
from report import at_least, microseconds, row

# Samples and classes.
SHAPES = [(8192, 1000), (65536, 1000), (4096, 21843)]


def flush(device):
    """Overwrites what the device's cache holds."""
    torch.empty(256 << 20, dtype=torch.uint8, device=device).zero_()


def run(options):
    device = options.device
    if options.rehearse:
        row("bandwidth", "needs a GPU")
        return
    library = Library(options.programs)
    torch.manual_seed(0)
    for samples, classes in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            scores = torch.randn(samples, classes, device=device).to(dtype)
            labels = torch.randint(classes, (samples,), device=device)
            size = 2 * scores.numel() * scores.element_size()
            copied = torch.empty_like(scores)
            bandwidths = {}
            launches = {k: library.svm(scores, labels, k, 1.0, 1.0)[0] for k in (1, 5, 10, 20)}
            launches["copy"] = lambda scores=scores, copied=copied: copied.copy_(scores)
            for name, launch in launches.items():
                time = microseconds(launch, device, calls=1, repeats=25, before=lambda: flush(device))
                bandwidths[name] = size / time / 1000
                row(
                    f"{samples} x {classes} {str(dtype)[6:]}, {name if name == 'copy' else f'k = {name}'}",
                    bandwidths[name],
                    "GB/s",
                )
            share = 100 * bandwidths[5] / bandwidths["copy"]
            if dtype is torch.float32:
                at_least("k = 5, share of the copy", share, 80, "%")
            else:
                row("k = 5, share of the copy", share, "%")
