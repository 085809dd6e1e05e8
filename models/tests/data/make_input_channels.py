"""Writes input_channels.json: timm's `adapt_input_conv` of the first convolution of basic-4 for one channel.

    python make_input_channels.py > input_channels.json

Needs torch and timm 1.0. The weights are those of make_architectures.py; the values are the bits of `f32`.
"""

import json
import math

import numpy
import torch
from make_architectures import bounds, values
from timm.models import adapt_input_conv

NAME, SHAPE = "base.0.weight", (4, 3, 3, 3)

weight = torch.from_numpy(values(NAME, math.prod(SHAPE), *bounds(NAME, SHAPE, math.sqrt(2)))).reshape(SHAPE)
adapted = adapt_input_conv(1, weight)
print(json.dumps({"name": NAME, "shape": list(adapted.shape), "bits": adapted.numpy().view(numpy.uint32).flatten().tolist()}))
