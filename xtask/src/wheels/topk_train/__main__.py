"""Starts the program topk-train with the libraries of this environment's torch."""

import importlib.metadata
import importlib.util
import os
import sys

# The program is linked to this version of libtorch, whose C++ interface changes with every release.
TORCH = "{torch}"

FOLDER = os.path.dirname(os.path.realpath(__file__))


def package(name):
    """The folder of a package, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return os.path.realpath(spec.submodule_search_locations[0])


def fail(message):
    sys.exit(f"error: {message}")


def library_folder():
    """The folder with libtorch."""
    install = f"Install it with `{sys.executable} -m pip install torch=={TORCH}`"
    folder = package("torch")
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if folder is None or version is None:
        fail(f"topk-train needs PyTorch {TORCH}, which is not installed in {sys.prefix}. {install}")
    # Builds for other versions of CUDA, or without it, have a suffix such as +cpu.
    if version.split("+")[0] != TORCH:
        fail(f"topk-train needs PyTorch {TORCH}, but {folder} is version {version}. {install}")
    libraries = os.path.join(folder, "lib")
    if not os.path.isfile(os.path.join(libraries, "libtorch_cpu.so")):
        fail(f"PyTorch in {folder} has no lib/libtorch_cpu.so: its installation is damaged. {install}")
    return libraries


def beside(path):
    """Whether a path is in the folder of packages in which this package is."""
    return os.path.commonpath([path, os.path.dirname(FOLDER)]) == os.path.dirname(FOLDER)


def main():
    libraries = library_folder()
    environment = dict(os.environ)
    # The program finds packages beside its own. Others, such as the system's in a virtual environment
    # that includes them, only Python finds.
    if not beside(libraries):
        paths = [libraries, environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    runtime = package("onnxruntime")
    if runtime and not beside(runtime) and not environment.get("ORT_DYLIB_PATH"):
        folder = os.path.join(runtime, "capi")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        names = [name for name in names if name.startswith("libonnxruntime.so")]
        if len(names) == 1:
            environment["ORT_DYLIB_PATH"] = os.path.join(folder, names[0])
    program = os.path.join(FOLDER, "topk-train")
    try:
        os.execve(program, ["topk-train", *sys.argv[1:]], environment)
    except OSError as error:
        fail(f"cannot start {program}: {error.strerror}. Install topk-train again")


if __name__ == "__main__":
    main()
