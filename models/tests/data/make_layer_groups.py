"""Writes layer_groups.json: the groups of layers to which timm assigns the parameters of a network.

    python make_layer_groups.py > layer_groups.json

Needs timm 1.0. For each network, under its name here, the groups of its parameters in their order, as pairs of a group and
the number of parameters in a row that are in it. tests/layer_groups.rs compares them with this program's.
"""

import itertools
import json

import timm
from timm.models import group_parameters

# timm has other names for some, and no AlexNet or SqueezeNet.
NETWORKS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnext50_32x4d": "resnext50_32x4d",
    "vgg11": "vgg11",
    "vgg16_bn": "vgg16_bn",
    "densenet121": "densenet121",
    "inception_v3": "inception_v3",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b3": "efficientnet_b3",
    "tf_efficientnet_lite0": "tf_efficientnet_lite0",
    "convnext_tiny": "convnext_tiny",
    "vit_b_16": "vit_base_patch16_224",
}


def groups(name):
    network = timm.create_model(name)
    group_of = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    numbers = (group_of[name] for name, _ in network.named_parameters())
    return [[number, len(list(run))] for number, run in itertools.groupby(numbers)]


def main():
    for index, (name, there) in enumerate(NETWORKS.items()):
        print("{" if index == 0 else ",")
        print(f'"{name}": {json.dumps(groups(there))}', end="")
    print("\n}")


if __name__ == "__main__":
    main()
