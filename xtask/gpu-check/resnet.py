"""Training of ResNet-18 at 224 in bfloat16 and channels last, from JPEGs, beside PyTorch."""

import os
import pathlib
import tempfile
import time

import networks
import programs
import torch
import torchvision
from report import at_least, row
from torchvision.transforms import v2

BATCH = 256


def copies(images, folder, count):
    """A folder with `count` links to each image, so that an epoch is long enough."""
    for file in sorted(pathlib.Path(images).glob("*/*.*")):
        target = folder / file.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for copy in range(count):
            os.symlink(file.resolve(), target / f"{copy}-{file.name}")
    return folder


def epoch(loader, step, device):
    """Images per second."""
    start, count = time.perf_counter(), 0
    for images, labels in loader:
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        step(images, labels.to(device, non_blocking=True))
        count += len(labels)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)


def run(options):
    device, cores = options.device, os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        data = copies(options.images, pathlib.Path(folder) / "images", 2 if options.rehearse else 20)
        transform = v2.Compose(
            [
                v2.RandomResizedCrop(224, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
        dataset = torchvision.datasets.ImageFolder(data, transform)
        loader = torch.utils.data.DataLoader(
            dataset, BATCH, shuffle=True, num_workers=cores, pin_memory=not options.rehearse, persistent_workers=True
        )
        if options.rehearse:
            loader = [next(iter(loader))]
            loader[0] = tuple(part[:4] for part in loader[0])
        torch.backends.cudnn.benchmark = True
        network = torchvision.models.resnet18().to(device, memory_format=torch.channels_last)
        step = networks.training_step(network, autocast=True)
        eager = [epoch(loader, step, device) for _ in range(1 if options.rehearse else 3)][-1]
        row("PyTorch eager, DataLoader", eager, "images/s")
        out = f"{folder}/run"
        programs.run(
            options,
            "topk-train",
            "--data",
            data,
            "--val-size",
            len(dataset.classes),
            "--model",
            "basic-4" if options.rehearse else "resnet18",
            "--batch-size",
            BATCH,
            "--epochs",
            1 if options.rehearse else 3,
            "--amp",
            "--channels-last",
            "--device",
            device,
            "--out",
            out,
            *(["--input-size", 32] if options.rehearse else []),
        )
        ours = programs.images_per_second(out)[-1]
        row("topk-train", ours, "images/s")
        if options.rehearse:
            return
        at_least("topk-train / PyTorch eager", ours / eager, 1.0)
        compiled = networks.training_step(torch.compile(network), autocast=True)
        row("torch.compile, DataLoader", [epoch(loader, compiled, device) for _ in range(2)][-1], "images/s")
