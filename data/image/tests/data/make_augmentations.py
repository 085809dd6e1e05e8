"""Writes what torchvision makes of the test images, and of numbers, for the tests of augmentation.

    pip install pillow==13.0.0 numpy torchvision==0.26.0
    python make_augmentations.py pixels numbers
    pip install pillow==12.0.0
    python make_augmentations.py pixels

`pixels` writes `augmented*.jsonl`, named after the version of Pillow: the first line lists operations as
the tests read them, each other line has the first 16 digits of the SHA-256 of what they make of an image.
`numbers` writes `augmentation.json`: strengths of operations, parts of images that torchvision falls back
to, means of what it draws, and mixed batches.
"""

import hashlib
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode, autoaugment, v2
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "box": InterpolationMode.BOX,
    "hamming": InterpolationMode.HAMMING,
    "lanczos": InterpolationMode.LANCZOS,
}
AUTOAUGMENT = {
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
}
ADJUSTMENTS = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
    "sharpness": F.adjust_sharpness,
}


def done(image, operation):
    """What torchvision makes of an image."""
    name, value = next(iter(operation.items())) if isinstance(operation, dict) else (operation, 0.0)
    if name == "flip":
        return F.hflip(image)
    if name == "crop":
        width, height = value["size"]
        return F.crop(image, value["y"], value["x"], height, width)
    if name == "resized_crop":
        part = value["part"]
        place = part["y"], part["x"], part["height"], part["width"]
        return F.resized_crop(image, *place, value["size"][::-1], MODES[value["interpolation"]])
    if name in ADJUSTMENTS:
        return ADJUSTMENTS[name](image, value)
    nearest = InterpolationMode.NEAREST
    return autoaugment._apply_op(image, AUTOAUGMENT[name], value, interpolation=nearest, fill=None)


def single(number):
    """A number as a tensor in single precision has it."""
    return float(np.float32(number))


def operations(rng):
    """Lists of operations that can be done to any image."""
    yield ["flip"]
    for x, y, size in [(-4, -4, (32, 32)), (3, -2, (32, 32)), (0, 0, (20, 7)), (-9, 5, (40, 3)), (900, 0, (5, 5))]:
        yield [{"crop": {"x": x, "y": y, "size": size}}]
    factors = [0.0, 0.1, 0.25, 0.5, single(0.6), 0.9, 1.0, 1.1, single(1.4), 1.9, 1.99, 3.7, 100.0]
    factors += [single(rng.uniform(0, 2)) for _ in range(6)]
    for name in ("brightness", "contrast", "saturation", "sharpness"):
        yield from ([{name: factor}] for factor in factors)
    turns = [-0.5, -0.4, -0.1, -0.001, 0.0, 0.002, 0.004, 0.05, 0.1, 0.25, 1 / 3, 0.5]
    yield from ([{"hue": turn}] for turn in turns + [single(rng.uniform(-0.5, 0.5)) for _ in range(6)])
    for sign, name in itertools.product((1, -1), ("shear_x", "shear_y")):
        yield from ([{name: sign * single(m)}] for m in (0.0, 0.01, 0.09, 0.3, 0.5, 0.99))
    for sign, name in itertools.product((1, -1), ("translate_x", "translate_y")):
        yield from ([{name: sign * pixels}] for pixels in (0, 1, 3, 14, 150, 500))
    for degrees in (0.0, 1.0, single(9.1), 18.0, 30.0, 45.0, 60.0, 89.99, 90.0, 135.0, 180.0, 270.0, 360.0):
        yield [{"rotate": degrees}]
        yield [{"rotate": -degrees}]
    yield from ([{"posterize": bits}] for bits in range(1, 9))
    yield from ([{"solarize": threshold}] for threshold in (0.0, 0.5, 1.0, 127.5, 128.0, 178.5, 255.0, 256.0))
    yield ["auto_contrast"]
    yield ["equalize"]
    for order in itertools.permutations(("brightness", "contrast", "saturation", "hue")):
        low_high = {name: (-0.5, 0.5) if name == "hue" else (0.0, 2.0) for name in order}
        yield [{name: single(rng.uniform(*low_high[name]))} for name in order]
    for _ in range(30):
        chain = []
        for _ in range(3):
            name = rng.choice([*AUTOAUGMENT, "brightness", "contrast", "saturation", "sharpness"])
            strength = single(rng.uniform(-1, 1))
            chain.append(
                {
                    "translate_x": {name: round(40 * strength)},
                    "translate_y": {name: round(40 * strength)},
                    "rotate": {name: 135 * strength},
                    "posterize": {name: rng.randint(2, 8)},
                    "solarize": {name: 255 * abs(strength)},
                    "shear_x": {name: strength},
                    "shear_y": {name: strength},
                    "auto_contrast": name,
                    "equalize": name,
                }.get(name, {name: 1 + strength})
            )
        yield chain


def resized_crops(rng, width, height):
    """Parts of an image, resized."""
    whole = {"x": 0, "y": 0, "width": width, "height": height}
    parts = [whole] * 2
    for _ in range(6):
        w, h = rng.randint(1, width), rng.randint(1, height)
        parts.append({"x": rng.randint(0, width - w), "y": rng.randint(0, height - h), "width": w, "height": h})
    sizes = [(32, 32), (width, height), (31, 17), (64, 64), (48, 33), (9, 9), (20, 40)]
    for i, part in enumerate(parts):
        modes = ["bilinear"] if i % 2 else list(MODES)
        for mode in modes:
            crop = {"part": part, "size": sizes[i % len(sizes)], "interpolation": mode}
            yield [{"resized_crop": crop}]
    # One side stays as it is.
    for part, size in [((width, height), (width, 10)), ((width, height), (10, height)), ((1, 1), (7, 5))]:
        crop = {"part": whole | {"width": part[0], "height": part[1]}, "size": size}
        yield [{"resized_crop": crop | {"interpolation": "bilinear"}}, "flip"]


def sources():
    """Images, and what is done to them first to have others."""
    for name in "444 grey 1x1_444 1x17_444 17x1_444 2x2_444 17x15_444 33x65_444 portrait".split():
        yield f"{name}.jpg", []
    for x, y, size in [(7, 9, (32, 32)), (60, 81, (500, 375)), (100, 20, (20, 20))]:
        yield "large.jpg", [{"crop": {"x": x, "y": y, "size": size}}]
    # So wide that Pillow computes places with floating point.
    part = {"x": 0, "y": 0, "width": 1200, "height": 3}
    crop = {"part": part, "size": (40000, 4), "interpolation": "bilinear"}
    yield "wide.jpg", [{"resized_crop": crop}]


def sha256(data):
    return hashlib.sha256(data).hexdigest()[:16]


def pixels():
    version = PIL.__version__.split(".")[0]
    with open(HERE / f"augmented{version}.jsonl", "w") as out:
        chains = list(operations(random.Random(1)))
        print(json.dumps({"operations": chains}), file=out)
        for number, (name, first) in enumerate(sources()):
            image = Image.open(HERE / "images" / name).convert("RGB")
            for operation in first:
                image = done(image, operation)
            crops = list(resized_crops(random.Random(number), *image.size))
            hashes = []
            for chain in chains + crops:
                changed = image
                for operation in chain:
                    changed = done(changed, operation)
                hashes.append(sha256(changed.tobytes()))
            line = {"file": name, "first": first, "crops": crops, "sha256": hashes}
            print(json.dumps(line), file=out)


def strengths():
    """The tables of the policies."""
    for bins, size in itertools.product((2, 5, 11, 31), ((32, 32), (375, 500))):
        space = transforms.RandAugment()._augmentation_space(bins, size)
        yield {"policy": "rand_augment", "bins": bins, "size": size[::-1], "space": listed(space)}
    for bins in (2, 5, 31):
        space = transforms.TrivialAugmentWide()._augmentation_space(bins)
        yield {"policy": "trivial_augment", "bins": bins, "size": (32, 32), "space": listed(space)}


def listed(space):
    return {name: [values.tolist(), signed] for name, (values, signed) in space.items()}


def fallbacks():
    """Parts that torchvision takes if no attempt fits, as with twice the area."""
    for width, height in [(500, 375), (1, 1), (1, 50), (50, 1), (32, 32), (100, 333), (333, 100), (77, 76)]:
        for ratio in [(3 / 4, 4 / 3), (1.0, 1.0), (0.1, 0.3), (3.0, 7.0)]:
            image = torch.empty(3, height, width)
            y, x, h, w = transforms.RandomResizedCrop.get_params(image, (2.0, 2.0), ratio)
            yield {"size": (width, height), "ratio": ratio, "part": (x, y, w, h)}


def draws():
    """Means and standard deviations of the values that torchvision draws."""
    torch.manual_seed(7)
    count = 20000
    for width, height in [(500, 375), (32, 32), (600, 100)]:
        image = torch.empty(3, height, width)
        for scale in [(0.08, 1.0), (0.3, 0.6)]:
            get = transforms.RandomResizedCrop.get_params
            drawn = np.array([get(image, scale, (3 / 4, 4 / 3)) for _ in range(count)], float)
            drawn = drawn[:, [1, 0, 3, 2]]
            row = {"size": (width, height), "scale": scale, "count": count}
            yield row | {"mean": drawn.mean(0).tolist(), "std": drawn.std(0).tolist()}


def mixes():
    """Batches that torchvision mixes, with its random numbers given."""
    batch = ((torch.arange(4 * 3 * 6 * 10) * 7919) % 1009).float().div(1009).reshape(4, 3, 6, 10)
    labels = torch.arange(4)
    for lam in (0.0, 0.1, 0.3333, 0.5, 0.9876, 1.0):
        lam = single(lam)
        mixup = v2.MixUp(alpha=1.0, num_classes=4)
        mixup._dist.sample = lambda shape, lam=lam: torch.tensor(lam)
        mixed, _ = mixup(batch, labels)
        yield {"kind": "mixup", "lambda": lam, "values": sha256(mixed.numpy().tobytes())}
        for x, y in [(0, 0), (5, 3), (9, 5), (2, 4)]:
            cutmix = v2.CutMix(alpha=1.0, num_classes=4)
            cutmix._dist.sample = lambda shape, lam=lam: torch.tensor(lam)
            places = iter((x, y))
            randint, torch.randint = torch.randint, lambda *_, **__: torch.tensor([next(places)])
            try:
                mixed, mixed_labels = cutmix(batch, labels)
            finally:
                torch.randint = randint
            yield {
                "kind": "cutmix",
                "lambda": lam,
                "center": (x, y),
                "left": float(mixed_labels[0, 0]),
                "values": sha256(mixed.numpy().tobytes()),
            }


def numbers():
    made = {
        "strengths": list(strengths()),
        "fallbacks": list(fallbacks()),
        "draws": list(draws()),
        "mixes": list(mixes()),
    }
    (HERE / "augmentation.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    if "pixels" in sys.argv:
        pixels()
    if "numbers" in sys.argv:
        numbers()
