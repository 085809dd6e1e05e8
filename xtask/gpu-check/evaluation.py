"""Evaluation of ResNet-18 and ResNet-50 at several batch sizes, beside ONNX Runtime in Python, and ranks against the
CPU's. The weights are random ones, which cost the same."""

import json
import os
import pathlib
import re
import tempfile
import time

import numpy
import programs
import torch
import torchvision
from report import at_least, row

SIZES = (1, 8, 64, 256)


def export(options, name, folder):
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)()
    # Batch norm as after training: the scores of different images differ.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    weights, model = f"{folder}/{name}.pth", f"{folder}/{name}.onnx"
    torch.save(network.state_dict(), weights)
    programs.run(options, "topk-export", "model", "--checkpoint", weights, "--model", name, "--out", model)
    return model


def evaluate(options, model, device, batch, folder):
    """The results of one model."""
    results = pathlib.Path(folder) / f"{pathlib.Path(model).stem}-{device.replace(':', '-')}-{batch}.json"
    programs.run(
        options,
        "topk-eval",
        "--model",
        model,
        "--data",
        options.images,
        "--device",
        device,
        "--batch-size",
        batch,
        "--json",
        results,
    )
    return json.loads(results.read_text())["models"][0]


def in_python(model, batch, device):
    """Images per second of ONNX Runtime in Python, computation alone; `None` without its CUDA provider."""
    try:
        import onnxruntime
    except ImportError:
        return None
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        return None
    session = onnxruntime.InferenceSession(
        model, providers=[(provider, {"use_tf32": 0})] if "CUDA" in provider else [provider]
    )
    binding = session.io_binding()
    images = numpy.zeros((batch, 3, 224, 224), numpy.float32)
    kind = device.split(":")[0]
    binding.bind_ortvalue_input(session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(images, kind, 0))
    binding.bind_output(session.get_outputs()[0].name, kind)
    for _ in range(3):
        session.run_with_iobinding(binding)
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < 1:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        runs += 1
    return runs * batch / (time.perf_counter() - start)


def pipeline(options):
    """What an evaluation keeps of the decoders' speed, on all cores."""
    result = programs.result_of(options, "evaluation-bench", options.images)
    # It fails too where the share is low.
    found = re.search(r"([0-9.]+) % of the decoders", result.stdout)
    if found is None:
        raise SystemExit(f"evaluation-bench failed: {result.stderr.strip()[-1500:]}")
    at_least(f"evaluation / decoders alone, {os.cpu_count()} cores", float(found[1]), 90, "%")


def run(options):
    pipeline(options)
    networks = ("resnet18",) if options.rehearse else ("resnet18", "resnet50")
    sizes = (8, 64) if options.rehearse else SIZES
    with tempfile.TemporaryDirectory() as folder:
        for name in networks:
            model = export(options, name, folder)
            on_cpu = evaluate(options, model, "cpu", 8, folder)
            for size in sizes:
                result = evaluate(options, model, options.device, size, folder)
                timing = result["timing"]
                row(f"{name}, batch {size}: whole run", len(result["outcomes"]["rank"]) / timing["seconds"], "images/s")
                row(f"{name}, batch {size}: inference", timing["images_per_second"], "images/s")
                reference = in_python(model, size, options.device)
                row(
                    f"{name}, batch {size}: onnxruntime in Python",
                    reference or "no CUDA provider",
                    "images/s" * bool(reference),
                )
                pairs = list(zip(on_cpu["outcomes"]["rank"], result["outcomes"]["rank"]))
                other = sum(ours != cpu for cpu, ours in pairs)
                row(f"{name}, batch {size}: ranks other than the CPU's", other, f"of {len(pairs)}", "0", other == 0)
