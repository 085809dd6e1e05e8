"""Losses for training classifiers for top-k accuracy, exact and fast.

The smooth top-k SVM of Berrada, Zisserman and Kumar, "Smooth Loss Functions for Deep Top-k Classification" (ICLR 2018,
https://arxiv.org/abs/1802.07595), and other losses for top-k classification, for PyTorch tensors and NumPy arrays.

==================  ====================================================================================
module              contents
==================  ====================================================================================
`topk.functional`   the losses as functions, with the arguments of `torch.nn.functional.cross_entropy`
`topk.nn`           the same losses as modules (needs PyTorch)
`topk.svm`          the classes of the authors' package, under their names and with their defaults
`topk.onnx`         the losses in ONNX files
==================  ====================================================================================

>>> import numpy
>>> import topk
>>> scores = numpy.array([[2.0, 0.5, -1.0, 0.3], [0.1, 0.2, 0.0, 1.5]])
>>> labels = numpy.array([0, 2])
>>> print(topk.functional.smooth_topk_svm(scores, labels, k=2).round(4))
1.1079
"""

import importlib

from ._topk import __version__, instructions

# Imported when they are first used: `functional` imports PyTorch if it is installed, the others need it.
_MODULES = ("functional", "nn", "onnx", "polynomial", "svm")

# The authors' package has its classes here too.
_CLASSES = ("MaxTop1SVM", "MaxTopkSVM", "SmoothTop1SVM", "SmoothTopkSVM")

__all__ = ["__version__", "instructions", *_MODULES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _CLASSES:
        return getattr(importlib.import_module(f"{__name__}.svm"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
