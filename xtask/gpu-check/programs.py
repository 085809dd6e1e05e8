"""Runs the programs."""

import importlib.util
import json
import os
import pathlib
import subprocess

import torch


def onnxruntime_gpu():
    """The library of the Python package onnxruntime-gpu, or `None`."""
    package = importlib.util.find_spec("onnxruntime")
    if package is None:
        return None
    folder = pathlib.Path(package.origin).parent / "capi"
    libraries = sorted(folder.glob("libonnxruntime.so.*"))
    has_cuda = (folder / "libonnxruntime_providers_cuda.so").exists()
    return libraries[-1] if libraries and has_cuda else None


def environment():
    """With the libraries of the Python packages, for programs that were built elsewhere."""
    libraries = pathlib.Path(torch.__file__).parent / "lib"
    nvidia = sorted(libraries.parents[1].glob("nvidia/*/lib"))
    path = ":".join(map(str, [libraries, *nvidia, os.environ.get("LD_LIBRARY_PATH", "")]))
    variables = {**os.environ, "LD_LIBRARY_PATH": path}
    if library := onnxruntime_gpu():
        variables.setdefault("ORT_DYLIB_PATH", str(library))
    return variables


def command(options, program, *arguments):
    return [str(options.programs / program), *map(str, arguments)]


def result_of(options, program, *arguments):
    """Runs a program to its end."""
    return subprocess.run(command(options, program, *arguments), capture_output=True, text=True, env=environment())


def run(options, program, *arguments):
    """Runs a program to its end; fails with its last words."""
    result = result_of(options, program, *arguments)
    if result.returncode:
        raise SystemExit(f"{program} failed: {(result.stderr or result.stdout).strip()[-1500:]}")
    return result.stdout


def images_per_second(folder):
    """Of each epoch of a training run."""
    with open(pathlib.Path(folder) / "times.jsonl") as file:
        return [json.loads(line)["images_per_second"] for line in file]
