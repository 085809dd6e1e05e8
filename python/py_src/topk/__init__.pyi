from . import functional as functional
from . import nn as nn
from . import onnx as onnx
from . import polynomial as polynomial
from . import svm as svm
from ._topk import instructions as instructions

__version__: str
