"""Training of the paper's network on CIFAR-100, batches of 64, beside PyTorch eager.

PyTorch's batch is on the device already and neither augmented nor new; topk-train does all that training does.
"""

import tempfile

import networks
import programs
import torch
from report import at_least, microseconds, row

BATCH = 64

# Settings to compare. The last ones count: they have PyTorch's precision.
FLAGS = [(), ("--amp", "--channels-last"), ("--augment-on-device", "--cuda-graphs")]


def run(options):
    device = options.device
    network = networks.densenet_40_40(100).to(device)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    row("parameters", parameters, bar="1941620", passed=parameters == 1941620)
    torch.backends.cudnn.benchmark = True
    images = torch.randn(4 if options.rehearse else BATCH, 3, 32, 32, device=device)
    labels = torch.randint(100, images.shape[:1], device=device)
    step = networks.training_step(network, autocast=False)
    calls, repeats = (1, 1) if options.rehearse else (20, 5)
    eager = len(images) / microseconds(lambda: step(images, labels), device, calls, repeats) * 1e6
    row("PyTorch eager", eager, "images/s")
    common = ["--data", options.cifar, "--batch-size", BATCH, "--epochs", 3, "--device", device]
    if options.rehearse:
        common += ["--model", "basic-4"]
    else:
        common += ["--model", "densenet-40-40", "--train-size", 6400, "--val-size", 1000]
    with tempfile.TemporaryDirectory() as folder:
        for number, flags in enumerate(FLAGS[:1] if options.rehearse else FLAGS):
            out = f"{folder}/{number}"
            programs.run(options, "topk-train", *common, "--out", out, *flags)
            ours = programs.images_per_second(out)[-1]
            row(" ".join(("topk-train", *flags)), ours, "images/s")
    if not options.rehearse:
        at_least("the last / PyTorch eager", ours / eager, 1.5)
        row("300 epochs of 45,000 images", 300 * 45000 / ours / 60, "min")
