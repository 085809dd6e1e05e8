"""Launches every kernel once, through the C interface, on memory of the driver: no PyTorch, which would be slow under
compute-sanitizer.

    python all_kernels.py PROGRAMS
"""

import ctypes
import pathlib
import sys

import numpy
from c_interface import Batch, load

# Losses by number, as in topk_cuda.h, with their k.
LOSSES = [(0, k) for k in (1, 2, 5, 10, 11, 128)] + [(1, 1)] + [(loss, k) for loss in range(2, 7) for k in (1, 10)]

# Few classes, a row per warp, a row in shared memory, and a row that is read again.
CLASSES = (2, 129, 1000, 1501, 100000)

SAMPLES = 5


class Driver:
    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            sys.exit(f"{name} failed with error {code}")

    def copy_of(self, array):
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(array.nbytes))
        self.call("cuMemcpyHtoD_v2", pointer, array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes))
        return pointer.value

    def free(self, *pointers):
        self.call("cuCtxSynchronize")
        for pointer in pointers:
            self.call("cuMemFree_v2", ctypes.c_uint64(pointer))


def main():
    driver = Driver()
    library, check = load(pathlib.Path(sys.argv[1]))
    random = numpy.random.default_rng(0)
    launches = 0
    for classes in CLASSES:
        # Ties in every second row, for the slow search.
        scores = random.standard_normal((SAMPLES, classes)).astype(numpy.float32)
        scores[::2] = 1
        labels = random.integers(classes, size=SAMPLES)
        for loss, k in LOSSES:
            if k >= classes:
                continue
            pointers = [
                driver.copy_of(array) for array in (scores, labels, scores, numpy.zeros(SAMPLES, numpy.float32))
            ]
            batch = Batch(
                scores=pointers[0],
                scores_stride=classes,
                labels=pointers[1],
                samples=SAMPLES,
                classes=classes,
                ignore_index=int(labels[1]),
                has_ignore_index=1,
                loss=loss,
                reduction=2,
                tau=1.0,
                alpha=1.0,
                k=k,
            )
            size = ctypes.c_size_t()
            check(library.topk_cuda_workspace_bytes(ctypes.byref(batch), ctypes.byref(size)))
            workspace = driver.copy_of(numpy.zeros(max(size.value, 8), numpy.uint8))
            check(
                library.topk_cuda_loss_and_gradient(
                    ctypes.byref(batch),
                    ctypes.c_void_p(pointers[3]),
                    ctypes.c_void_p(pointers[2]),
                    ctypes.c_int64(classes),
                    ctypes.c_void_p(workspace),
                    None,
                )
            )
            driver.free(workspace, *pointers)
            launches += 1
    print(f"{launches} losses were computed")


if __name__ == "__main__":
    main()
