#!/usr/bin/env python3
"""Makes presets.json: what timm, transformers, torchvision and Keras make of images, for configurations of published models.

    pip install pillow==13.0.0 torch==2.15.0 torchvision==0.29.2 timm==1.0.31 transformers==5.24.0 keras==3.15.1
    KERAS_BACKEND=torch python make_presets.py

timm's configurations are those of its registry. The configurations for transformers were written by hand after the
published `preprocessor_config.json` of the models in their names.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import timm
import torch
import torchvision.models
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import transforms as tv
from transformers import AutoImageProcessor

HERE = Path(__file__).parent
IMAGES = HERE / "../../../../data/image/tests/data/images"
FILES = ["large.jpg", "portrait.jpg", "rgb.tif"]

TIMM = [
    "resnet50.a1_in1k",  # a test size
    "efficientnet_b0.ra_in1k",
    "tf_efficientnet_lite0.in1k",  # mean and std 0.5
    "tf_efficientnetv2_s.in21k_ft_in1k",
    "inception_v3.tv_in1k",
    "vit_base_patch16_clip_224.openai_ft_in1k",
    "convnext_tiny.in12k_ft_in1k_384",  # squash
    "mobilevitv2_050.cvnets_in1k",  # no mean
    "regnety_016.tv2_in1k",
]

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
TRANSFORMERS = {
    "google/vit-base-patch16-224": {
        "image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
        "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}, **HALF,
    },
    "microsoft/swin-tiny-patch4-window7-224": {
        "feature_extractor_type": "ViTFeatureExtractor", "do_normalize": True, "do_resize": True, "resample": 3,
        "size": 224, **IMAGENET,
    },
    "openai/clip-vit-base-patch32": {
        "feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 224, "do_center_crop": True,
        "do_normalize": True, "do_resize": True, "resample": 3, "size": 224, **CLIP,
    },
    "facebook/deit-base-patch16-224": {
        "feature_extractor_type": "DeiTFeatureExtractor", "crop_size": 224, "do_center_crop": True,
        "do_normalize": True, "do_resize": True, "resample": 3, "size": 256, **IMAGENET,
    },
    "microsoft/beit-base-patch16-224": {
        "feature_extractor_type": "BeitFeatureExtractor", "crop_size": 224, "do_center_crop": False,
        "do_normalize": True, "do_resize": True, "resample": 2, "size": 224, **HALF,
    },
    "facebook/convnext-tiny-224": {
        "feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "do_normalize": True,
        "do_resize": True, "resample": 3, "size": 224, **IMAGENET,
    },
    "facebook/convnext-base-384": {
        "feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "do_normalize": True,
        "do_resize": True, "resample": 3, "size": 384, **IMAGENET,
    },
    "facebook/dinov2-base-imagenet1k-1-layer": {
        "image_processor_type": "BitImageProcessor", "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}, **IMAGENET,
    },
    "google/bit-50": {
        "image_processor_type": "BitImageProcessor", "crop_size": {"height": 448, "width": 448},
        "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 448}, **HALF,
    },
    "google/efficientnet-b0": {
        "image_processor_type": "EfficientNetImageProcessor", "crop_size": {"height": 289, "width": 289},
        "do_center_crop": False, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163], "include_top": True,
        "resample": 0, "rescale_factor": 0.00392156862745098, "rescale_offset": False,
        "size": {"height": 224, "width": 224},
    },
    "efficientnet with an offset": {
        "image_processor_type": "EfficientNetImageProcessor", "do_center_crop": False, "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": [0.1, 0.0, -0.1], "image_std": [0.9, 1.0, 1.1],
        "include_top": False, "resample": 3, "rescale_factor": 0.00784313725490196, "rescale_offset": True,
        "size": {"height": 240, "width": 240},
    },
    "facebook/levit-128S": {
        "feature_extractor_type": "LevitFeatureExtractor", "do_center_crop": True, "do_normalize": True,
        "do_resize": True, "resample": 3, "size": 224, **IMAGENET,
    },
    "google/mobilenet_v2_1.0_224": {
        "image_processor_type": "MobileNetV2ImageProcessor", "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}, **HALF,
    },
    "google/mobilenet_v1_1.0_224": {
        "image_processor_type": "MobileNetV1ImageProcessor", "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}, **HALF,
    },
    "apple/mobilevit-small": {
        "feature_extractor_type": "MobileViTFeatureExtractor", "crop_size": {"height": 256, "width": 256},
        "do_center_crop": True, "do_flip_channel_order": True, "do_resize": True, "resample": 2,
        "size": {"shortest_edge": 288},
    },
    "sail/poolformer_s12": {
        "feature_extractor_type": "PoolFormerFeatureExtractor", "crop_pct": 0.9, "do_normalize": True,
        "do_resize": True, "resample": 3, "size": 224, **IMAGENET,
    },
    "Zetatech/pvt-tiny-224": {
        "image_processor_type": "PvtImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
        "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}, **IMAGENET,
    },
    "google/siglip-base-patch16-224": {
        "image_processor_type": "SiglipImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
        "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}, **HALF,
    },
    "a mean of bytes, not rescaled": {
        "image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": False, "do_resize": True,
        "resample": 3, "size": {"height": 96, "width": 128}, "image_mean": [123.68, 116.779, 103.939],
        "image_std": [1.0, 1.0, 1.0],
    },
}

WEIGHTS = [
    "ResNet50_Weights.IMAGENET1K_V1",
    "ResNet50_Weights.IMAGENET1K_V2",
    "EfficientNet_B1_Weights.IMAGENET1K_V2",
    "EfficientNet_V2_L_Weights.IMAGENET1K_V1",
    "Inception_V3_Weights.IMAGENET1K_V1",
    "Swin_V2_T_Weights.IMAGENET1K_V1",
    "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
]

#: OpenAI's `_transform` in clip/clip.py.
OPENAI = tv.Compose([
    tv.Resize(224, interpolation=tv.InterpolationMode.BICUBIC),
    tv.CenterCrop(224),
    tv.ToTensor(),
    tv.Normalize(CLIP["image_mean"], CLIP["image_std"]),
])

#: Resizing and cropping of Keras' presets, which are timm's.
FOR_KERAS = tv.Compose([tv.Resize(256, interpolation=tv.InterpolationMode.BICUBIC), tv.CenterCrop(224)])


def image(file):
    return Image.open(IMAGES / file).convert("RGB")


def summary(values):
    """Shape and some values of an input [3, height, width], and a hash of all.

    Hashed is the rank of each value among the distinct values of its channel: it tells all pixels, and does not depend on
    how values are rounded.
    """
    values = np.asarray(values, dtype=np.float64)
    channels = [np.unique(channel.round(4), return_inverse=True)[1] for channel in values.reshape(3, -1)]
    flat = values.reshape(-1)
    some = [flat[at * 245_489 % flat.size] for at in range(48)]
    return {
        "shape": list(values.shape),
        "ranks": hashlib.sha256(np.stack(channels).astype("<u2").tobytes()).hexdigest(),
        "values": [float(f"{value:.7g}") for value in some],
    }


def case(name, preset, transform, config=None):
    made = {"name": name, "preset": preset, "images": {file: summary(transform(image(file))) for file in FILES}}
    if config is not None:
        made["config"] = config
    return made


def of_timm(name):
    cfg = timm.get_pretrained_cfg(name).to_dict()
    keep = ["input_size", "test_input_size", "interpolation", "crop_pct", "test_crop_pct", "crop_mode", "mean", "std"]
    config = {
        "architecture": name.split(".")[0],
        "num_classes": cfg["num_classes"],
        "pretrained_cfg": {key: cfg[key] for key in [*keep, "tag", "fixed_input_size"] if cfg.get(key) is not None},
    }
    data = resolve_data_config(pretrained_cfg=config["pretrained_cfg"], use_test_size=True)
    return case(name, None, create_transform(**data, is_training=False), config)


def of_transformers(name, config, differences):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(config))
        processors = [AutoImageProcessor.from_pretrained(folder, backend=backend) for backend in ("pil", "torchvision")]
    transform, other = (
        lambda image, p=p: np.asarray(p(images=image, return_tensors="pt")["pixel_values"][0]) for p in processors
    )
    for file in FILES:
        a, b = transform(image(file)), other(image(file))
        level = (a.max() - a.min()) / 255
        differences.append((name, file, float(np.abs(a - b).max() / level)))
    return case(name, None, transform, config)


def of_keras(mode):
    def transform(image):
        pixels = np.asarray(FOR_KERAS(image)).astype(np.float32)[None]
        made = keras.applications.imagenet_utils.preprocess_input(pixels, data_format="channels_last", mode=mode)
        return np.asarray(made)[0].transpose(2, 0, 1)

    return case(f"keras {mode}", f"keras-{mode}", transform)


def all_weights():
    modules = [torchvision.models, torchvision.models.quantization]
    names = {name: module for module in modules for name in torchvision.models.list_models(module=module)}
    found = {}
    for name in names:
        for weights in torchvision.models.get_model_weights(name):
            made = weights.transforms()
            if "FEATURES" not in str(weights):
                found[str(weights)] = {
                    "resize": made.resize_size[0], "crop": made.crop_size[0], "interpolation": made.interpolation.value,
                    "mean": list(made.mean), "std": list(made.std),
                }
    return found


def main():
    torch.set_num_threads(1)
    differences = []
    cases = [of_timm(name) for name in TIMM]
    cases += [of_transformers(name, config, differences) for name, config in TRANSFORMERS.items()]
    cases += [case(name, name, torchvision.models.get_weight(name).transforms()) for name in WEIGHTS]
    cases += [case("clip", "clip", OPENAI)]
    cases += [of_keras(mode) for mode in ("tf", "caffe", "torch")]
    made = {"weights": all_weights(), "cases": cases}
    lines = [f'"{name}": {json.dumps(weights)}' for name, weights in made["weights"].items()]
    text = '{"weights": {\n' + ",\n".join(lines) + '\n}, "cases": [\n'
    text += ",\n".join(json.dumps(case) for case in made["cases"]) + "\n]}\n"
    (HERE / "presets.json").write_text(text)
    print("largest difference of transformers' torchvision backend from its pil backend, in levels of 255:")
    for name, file, difference in differences:
        print(f"{difference:8.3f}  {name}, {file}")


if __name__ == "__main__":
    main()
