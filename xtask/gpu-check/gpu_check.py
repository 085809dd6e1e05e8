"""Checks and times everything that needs a GPU, and prints a table.

    python gpu_check.py --programs FOLDER --package FOLDER [--parts cases,loss,...]

Needs Python with PyTorch and torchvision, but no Rust: FOLDER has programs that were built elsewhere, topk-train,
topk-eval, topk-export, libtopk_ops_cuda.so and libonnxruntime.so. `cargo xtask gpu-check` builds them and runs this
script. Evaluation on the GPU needs ONNX Runtime's CUDA provider, in FOLDER or from the Python package onnxruntime-gpu.

Each part runs in a process of its own, with a time limit, and the others go on when it fails. With --rehearse, the
same code runs on the CPU with tiny sizes, to find mistakes in it; its figures mean nothing.
"""

import argparse
import datetime
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time

# Parts in the order in which they run, checks first, with the seconds that each may take.
PARTS = {
    "cases": 60,
    "sanitizer": 60,
    "resume": 60,
    "loss": 45,
    "bandwidth": 45,
    "evaluation": 120,
    "densenet": 80,
    "resnet": 120,
}

# Parts that need data, and the option that names it.
NEEDS = {"resume": "cifar", "densenet": "cifar", "evaluation": "images", "resnet": "images"}

# Beside this folder is what `cargo xtask gpu-check` built.
HERE = pathlib.Path(__file__).resolve().parent


def path(text):
    """Absolute: a program without a folder would be looked for in PATH."""
    return pathlib.Path(text).resolve()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=path, required=True, help="the folder with the programs")
    parser.add_argument("--package", type=path, required=True, help="the folder with the Python package topk")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which parts to run, of {','.join(PARTS)}")
    parser.add_argument("--device", default="cuda:0", help="the GPU")
    parser.add_argument("--cases", type=path, default=HERE.parent / "loss.jsonl", help="golden values")
    parser.add_argument("--images", type=path, help="a folder of JPEGs, with a folder per class")
    parser.add_argument("--cifar", type=path, help="CIFAR-100, or a part of it")
    parser.add_argument("--authors", type=path, help="a clone of the authors' repository, to time their code")
    parser.add_argument("--seconds", type=float, default=480, help="time for all parts together")
    parser.add_argument("--out", type=path, default=pathlib.Path("gpu-check.json"), help="the JSON file")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, with tiny sizes")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [part for part in options.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]}: expected some of {','.join(PARTS)}")
    if options.rehearse:
        options.device = "cpu"
    return options


def device_name(options):
    """The name of the device, or an error if it cannot be used."""
    import torch

    if options.rehearse:
        return "none (rehearsal on the CPU)"
    if not torch.cuda.is_available():
        sys.exit(f"not run: PyTorch {torch.__version__} finds no GPU (--rehearse runs the parts on the CPU)")
    index = torch.device(options.device).index or 0
    if index >= torch.cuda.device_count():
        sys.exit(f"not run: {options.device} was requested, but PyTorch finds {torch.cuda.device_count()} GPU(s)")
    return torch.cuda.get_device_name(index)


def run_part(part, options, limit):
    """Runs a part in a new process. Returns its rows; the last one says why, if it did not end well."""
    command = [sys.executable, "-u", __file__, *sys.argv[1:], "--only", part]
    environment = {**os.environ, "PYTHONPATH": f"{options.package}:{os.environ.get('PYTHONPATH', '')}"}
    rows = []
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        output, errors = process.communicate(timeout=limit)
        reason = None if process.returncode == 0 else errors.strip().splitlines()[-1:] or [f"exit {process.returncode}"]
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        reason = [f"stopped after {limit:.0f} s"]
    for line in output.splitlines():
        if line.startswith('{"check"'):
            rows.append({"part": part, **json.loads(line)})
    if reason:
        rows.append(
            {"part": part, "check": "ran to its end", "value": reason[0], "passed": False, "errors": errors[-4000:]}
        )
    rows.append({"part": part, "check": "time", "value": time.monotonic() - start, "unit": "s", "passed": None})
    return rows


def not_run(part, reason):
    return {"part": part, "check": "ran", "value": f"not run: {reason}", "passed": False}


def text(value):
    """At most a line."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)[:60]


def print_row(row):
    verdict = {True: "ok", False: "FAILED", None: ""}[row["passed"]]
    value = f"{text(row['value'])} {row.get('unit', '')}".strip()
    print(f"{row['part']:<11} {row['check']:<52} {value:>16}  {row.get('bar', ''):<22} {verdict}".rstrip(), flush=True)


def main():
    options = arguments()
    if options.only:
        return importlib.import_module(options.only).run(options)
    name = device_name(options)
    print(f"device: {name}\n{'part':<11} {'check':<52} {'value':>16}  bar", flush=True)
    rows = []
    end = time.monotonic() + options.seconds
    for part in options.parts.split(","):
        left = end - time.monotonic()
        needed = NEEDS.get(part)
        if needed and getattr(options, needed) is None:
            new = [not_run(part, f"--{needed} is missing")]
        elif left < 5:
            new = [not_run(part, "no time left")]
        else:
            new = run_part(part, options, min(PARTS[part], left))
        for row in new:
            print_row(row)
        rows += new
        report = {
            "device": name,
            "date": datetime.date.today().isoformat(),
            "rehearsal": options.rehearse,
            "rows": rows,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    failed = sum(row["passed"] is False for row in rows)
    passed = sum(row["passed"] is True for row in rows)
    print(f"{passed} passed, {failed} failed; figures are in {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
