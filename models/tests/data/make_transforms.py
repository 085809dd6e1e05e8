"""Writes transforms.json: the preprocessing of torchvision's and timm's published weights.

Requires torchvision 0.26 and timm 1.0, and downloads nothing. For each network: the length that the shorter
side is resized to, the side of the crop, the filter, mean and std. Of torchvision's weights, the first ones
(IMAGENET1K_V1).
"""

import json
import math
import pathlib

import timm
import torchvision

here = pathlib.Path(__file__).parent
transforms = {}
for line in (here / "architectures.jsonl").read_text().splitlines():
    name = json.loads(line)["name"]
    if name.startswith("tf_"):
        config = timm.get_pretrained_cfg(name)
        crop = config.input_size[1]
        transforms[name] = {
            "resize": math.floor(crop / config.crop_pct),
            "crop": crop,
            "interpolation": config.interpolation,
            "mean": config.mean,
            "std": config.std,
        }
    elif name in torchvision.models.list_models(torchvision.models):
        weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
        transforms[name] = {
            "resize": weights.resize_size[0],
            "crop": weights.crop_size[0],
            "interpolation": weights.interpolation.value,
            "mean": weights.mean,
            "std": weights.std,
        }
# The weights come with transform_input, which turns red into x * 0.229 / 0.5 + (0.485 - 0.5) / 0.5, and so on:
# (pixel - 0.5) / 0.5 of (pixel - 0.485) / 0.229.
transforms["inception_v3"] |= {"mean": [0.5] * 3, "std": [0.5] * 3}
lines = [f"{json.dumps(name)}: {json.dumps(transforms[name])}" for name in sorted(transforms)]
(here / "transforms.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
