from . import functional as functional
from . import nn as nn
from . import onnx as onnx
from . import polynomial as polynomial
from . import svm as svm
from ._topk import instructions as instructions
from .svm import MaxTop1SVM as MaxTop1SVM
from .svm import MaxTopkSVM as MaxTopkSVM
from .svm import SmoothTop1SVM as SmoothTop1SVM
from .svm import SmoothTopkSVM as SmoothTopkSVM

__version__: str
