"""Writes architectures.jsonl: what the original networks compute, for models/tests/architectures.rs.

    python make_architectures.py SEED_CODE > architectures.jsonl

SEED_CODE is a folder with the paper's code (experiments/models/densenet.py and cifar.py). Needs torch 2.11,
torchvision 0.26 and timm 1.0. Takes some minutes.

Weights and images are made by `values`, which the test repeats bit for bit, so that they need not be stored.
"""

import json
import math
import sys

import numpy
import timm
import torch
import torchvision

CLASSES = 10
BATCH = 2


def values(name, count, low, high):
    """`count` numbers between low and high, which follow from the name: SplitMix64 from its FNV-1a hash."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    # 24 bits are exact in f32; the product and the sum are rounded once each.
    unit = (z >> numpy.uint64(40)).astype(numpy.float32) * numpy.float32(2.0**-24)
    return numpy.float32(low) + unit * numpy.float32(high - low)


def bounds(name, shape, gain):
    """Between which numbers the values of a parameter lie."""
    if name.endswith("running_var"):
        return 0.5, 2.0
    if name.endswith("layer_scale") or (len(shape) == 1 and name.endswith("weight")):
        return 0.75, 1.25
    if len(shape) == 1:
        return -0.125, 0.125
    bound = gain * math.sqrt(3 / math.prod(shape[1:]))
    return -bound, bound


def fill(network, gain):
    """Gives a network its weights; returns names, shapes, and mean and deviation of what it started with."""
    state, parameters = {}, []
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        shape = tuple(tensor.shape)
        std, mean = torch.std_mean(tensor, correction=0)
        parameters.append([name, list(shape), *(float(f"{value:.4g}") for value in (mean, std))])
        array = values(name, tensor.numel(), *bounds(name, shape, gain))
        state[name] = torch.from_numpy(array).reshape(shape)
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return parameters


def published(name):
    """Number of parameters and billions of multiply-adds that torchvision states, at its own image size."""
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    # torchvision states the parameters with the auxiliary classifier.
    return {"parameters": None if name == "inception_v3" else meta["num_params"], "giga": meta["_ops"]}


def record(name, network, size, gain=math.sqrt(2), **more):
    network.eval()
    parameters = fill(network, gain)
    shape = (BATCH, 3, *size)
    images = torch.from_numpy(values("images", math.prod(shape), -2.0, 2.0)).reshape(shape)
    with torch.no_grad():
        logits = network(images)
    assert logits.shape == (BATCH, CLASSES) and logits.isfinite().all()
    spread = (logits[0] - logits[1]).abs().max() / logits.abs().max()
    print(f"{name}: up to {logits.abs().max():.3g}, images differ by {spread:.3g}", file=sys.stderr)
    assert spread > 0.01, "the logits do not depend on the image"
    line = {"name": name, "size": list(size), "gain": gain, "logits": logits.flatten().tolist()}
    print(json.dumps(line | more | {"parameters": parameters}, separators=(",", ":")))


def small(network):
    """A ResNet of torchvision for small images."""
    network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    torch.nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out")
    network.maxpool = torch.nn.Identity()
    return network


def main():
    sys.path.insert(0, sys.argv[1] + "/experiments")
    from models.cifar import BasicConvNet
    from models.densenet import DenseNet3

    record("basic-6", BasicConvNet("cifar10", 6), (32, 32))
    record("densenet-40-40", DenseNet3(40, CLASSES, 40), (32, 32))
    record("densenet-22-12", DenseNet3(22, CLASSES, 12), (32, 32))
    resnets = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    for name in resnets:
        network = torchvision.models.get_model(name, num_classes=CLASSES)
        record(f"{name}-cifar", small(network), (32, 16), 1.0)

    vggs = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
    resnexts = ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
    wide = ["wide_resnet50_2", "wide_resnet101_2"]
    # Sides that differ, and sides that strides do not divide.
    cases = [
        ("alexnet", (224, 224), 1.5),
        ("alexnet", (99, 130), 1.5),
        *((name, (32, 64), 1.5) for name in vggs),
        ("squeezenet1_0", (97, 64), 1.5),
        ("squeezenet1_1", (97, 64), 1.5),
        *((name, (65, 96), 1.0) for name in [*resnets, *resnexts, *wide]),
        *((f"densenet{depth}", (65, 96), 1.0) for depth in (121, 161, 169, 201)),
        ("mobilenet_v2", (97, 64), 1.5),
        ("mobilenet_v3_small", (97, 64), 1.5),
        ("mobilenet_v3_large", (97, 64), 1.5),
        *((f"efficientnet_b{i}", (97, 64), 1.5) for i in range(4)),
        ("convnext_tiny", (97, 64), 1.0),
    ]
    for name, size, gain in cases:
        network = torchvision.models.get_model(name, num_classes=CLASSES)
        record(name, network, size, gain, published=published(name))
    network = torchvision.models.inception_v3(num_classes=CLASSES, aux_logits=False, init_weights=True)
    record("inception_v3", network, (107, 139), math.sqrt(2), published=published("inception_v3"))
    network = torchvision.models.vit_b_16(num_classes=CLASSES, image_size=64)
    record("vit_b_16", network, (64, 64), 1.0, published=published("vit_b_16"))
    # TensorFlow's padding differs between these sides.
    network = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)
    record("tf_efficientnet_lite0", network, (97, 64), 1.5)


if __name__ == "__main__":
    main()
