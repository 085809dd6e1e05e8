"""Compares the speed and memory use of topk-train and PyTorch, in alternating runs on the same machine.

    python benches/against_pytorch.py --data cifar-100-binary --model basic-16
    python benches/against_pytorch.py --data FOLDER_OF_CLASSES --model resnet18 --batch-size 16

Requires torch 2.11, torchvision 0.26 and `cargo build --release`. Both sides use the same network, batch size,
optimizer, augmentation (crop:4,flip for CIFAR, else resized-crop:224,flip) and number of threads, load their images
from disk, and compute loss, top-1 and top-5 accuracy at every step. The PyTorch side is typical user code: eager mode
(with --compile also torch.compile), torchvision's data sets and transforms, `DataLoader` with --workers processes, and
fused SGD.

`cargo xtask bench training` runs it with --json and keeps the results.

The first of --epochs, in which memory is allocated and kernels are selected, is not counted; the result is the median
of the others. Memory is the peak resident set size of the process, without PyTorch's worker processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-100 (binary) or class folders")
    parser.add_argument("--model", required=True, help="basic-N, densenet-DEPTH-GROWTH, or one of torchvision's")
    parser.add_argument(
        "--loss", choices=["ce", "svm"], default="ce", help="loss of topk-train; PyTorch uses cross-entropy"
    )
    parser.add_argument("--flags", default="", help="more flags for topk-train, such as --flags=--channels-last")
    parser.add_argument(
        "--classes", type=int, help="number of classes of PyTorch's network [default: that of the data]"
    )
    parser.add_argument("--compile", action="store_true", help="also with PyTorch's network compiled (torch.compile)")
    parser.add_argument("--alone", action="store_true", help="only topk-train, without PyTorch")
    parser.add_argument("--json", type=Path, help="file for the medians")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--images", type=int, default=1920, help="number of images per epoch of CIFAR (class folders: all)"
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1, 2], help="number of processes that load images for PyTorch"
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--topk-train", type=Path, default=Path("target/release/topk-train"))
    parser.add_argument("--in-pytorch", type=int, metavar="WORKERS", help=argparse.SUPPRESS)
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def basic(planes, classes):
    from torch import nn

    layers, before = [], 3
    for width in (planes, 2 * planes, 4 * planes):
        for _ in range(2):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(before, classes))


def densenet(depth, growth, classes):
    """DenseNet-BC, as in the paper."""
    import torch
    from torch import nn

    def unit(before, width, kernel):
        conv = nn.Conv2d(before, width, kernel, padding=kernel // 2, bias=False)
        return [nn.BatchNorm2d(before), nn.ReLU(inplace=True), conv]

    class Dense(nn.Sequential):
        def forward(self, x):
            return torch.cat([x, super().forward(x)], 1)

    width = 2 * growth
    layers = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
    for block in range(3):
        for _ in range((depth - 4) // 6):
            layers.append(Dense(*unit(width, 4 * growth, 1), *unit(4 * growth, growth, 3)))
            width += growth
        if block < 2:
            layers += [*unit(width, width // 2, 1), nn.AvgPool2d(2)]
            width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AvgPool2d(8), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def network(name, classes):
    import torchvision

    family, *numbers = name.split("-")
    if family == "basic":
        return basic(int(numbers[0]), classes)
    if family == "densenet":
        return densenet(int(numbers[0]), int(numbers[1]), classes)
    return torchvision.models.get_model(name, num_classes=classes)


def is_cifar(folder):
    return (folder / "train.bin").exists()


def data_set(folder):
    import numpy
    from PIL import Image
    from torch.utils.data import Dataset
    from torchvision import datasets, transforms

    if not is_cifar(folder):
        normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize]
        images = datasets.ImageFolder(folder, transforms.Compose(steps))
        return images, len(images.classes)

    normalize = transforms.Normalize([x / 255 for x in (125.3, 123.0, 113.9)], [x / 255 for x in (63.0, 62.1, 66.7)])
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize]
    augment = transforms.Compose(steps)

    class Cifar(Dataset):
        """As torchvision's, from the binary files."""

        def __init__(self):
            records = numpy.fromfile(folder / "train.bin", numpy.uint8).reshape(-1, 2 + 3072)
            self.labels = records[:, 1].astype(int).tolist()
            self.pixels = numpy.ascontiguousarray(records[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return augment(Image.fromarray(self.pixels[index])), self.labels[index]

    return Cifar(), 100


def train_in_pytorch(args):
    """Prints images a second for each epoch."""
    import torch
    from torch.utils.data import DataLoader, Subset

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images, classes = data_set(args.data)
    if is_cifar(args.data):
        images = Subset(images, range(args.images))
    workers = args.in_pytorch
    loader = DataLoader(images, args.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    model = network(args.model, args.classes or classes).train()
    if args.compiled:
        model = torch.compile(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, nesterov=True, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    speeds = []
    for _ in range(args.epochs):
        start, total, top1, topk = time.perf_counter(), 0.0, 0, 0
        for batch, labels in loader:
            scores = model(batch)
            loss = criterion(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            best = scores.detach().topk(5).indices.eq(labels[:, None])
            total += loss.item() * len(labels)
            top1 += best[:, 0].sum().item()
            topk += best.sum().item()
        speeds.append(len(images) / (time.perf_counter() - start))
    print(json.dumps(speeds))


def watched(command, **options):
    """Runs a command; returns its output and its peak memory in MiB."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return output, usage.ru_maxrss / 1024


def pytorch(workers, compiled):
    command = [sys.executable, *sys.argv, "--in-pytorch", str(workers), *["--compiled"] * compiled]
    output, memory = watched(command)
    return statistics.median(json.loads(output)[1:]), memory


def topk_train(args):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [args.topk_train, "--out", out, "--data", args.data, "--model", args.model, "--loss", args.loss]
        command += ["--epochs", args.epochs, "--batch-size", args.batch_size, "--workers", args.threads]
        command += ["--validation-batch-size", args.batch_size, "--device", "cpu"]
        if is_cifar(args.data):
            command += ["--train-size", args.images, "--val-size", args.batch_size]
        else:
            command += ["--val-data", args.data]
        command += args.flags.split()
        _, memory = watched([str(word) for word in command], stderr=subprocess.DEVNULL)
        lines = (out / "times.jsonl").read_text().splitlines()
        return statistics.median(json.loads(line)["images_per_second"] for line in lines[1:]), memory


def main():
    args = arguments()
    if args.in_pytorch is not None:
        return train_in_pytorch(args)
    peers = [(workers, compiled) for compiled in (False, *[True] * args.compile) for workers in args.workers]
    if args.alone:
        peers = []
    ours, theirs = [], {peer: [] for peer in peers}
    for _ in range(args.turns):
        ours.append(topk_train(args))
        for peer, runs in theirs.items():
            runs.append(pytorch(*peer))

    print(f"{args.model}, batches of {args.batch_size}, {args.threads} threads, loss {args.loss} {args.flags}".rstrip())
    report = {"threads": args.threads, "batch": args.batch_size, "topk_train": medians(ours), "pytorch": []}
    print(line("topk-train", ours))
    for (workers, compiled), runs in theirs.items():
        ratio = statistics.median(mine / peer for (mine, _), (peer, _) in zip(ours, runs))
        name = f"PyTorch{', compiled' * compiled}, {workers} workers"
        print(f"{line(name, runs)}: topk-train has {ratio:.2f} x the images/s")
        figures = {"workers": workers, "compiled": compiled, **medians(runs), "ratio": round(ratio, 3)}
        report["pytorch"].append(figures)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def medians(runs):
    speeds, memory = zip(*runs)
    return {"images_per_second": round(statistics.median(speeds), 1), "mib": round(statistics.median(memory))}


def line(name, runs):
    found = medians(runs)
    listed = ", ".join(f"{speed:.1f}" for speed, _ in runs)
    return f"{name:28} {found['images_per_second']:8.1f} images/s ({listed}), {found['mib']} MiB"


if __name__ == "__main__":
    main()
