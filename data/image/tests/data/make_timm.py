"""Writes timm.jsonl and timm.json: what timm's augmentations make of the test images, and what they draw.

    pip install pillow==13.0.0 numpy torch torchvision==0.26.0 timm==1.0.31
    python make_timm.py

The pixels are the same with Pillow 12.0.0; with `--check`, the script compares them with timm.jsonl instead of
writing files.
"""

import hashlib
import json
import random
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment as timm
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import ResizeKeepRatio, center_crop_or_pad, crop_or_pad
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
MODES = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
FILL = (124, 116, 104)
POLICIES = ("original", "originalr", "v0", "v0r", "3a")


def done(image, operation):
    """What timm makes of an image."""
    name, value = next(iter(operation.items())) if isinstance(operation, dict) else (operation, None)
    if name == "affine":
        matrix, mode = value["matrix"], MODES[value["interpolation"]]
        return image.transform(image.size, Image.AFFINE, matrix, resample=mode, fillcolor=tuple(value["fill"]))
    if name == "rotate_filled":
        mode = MODES[value["interpolation"]]
        return timm.rotate(image, value["degrees"], resample=mode, fillcolor=tuple(value["fill"]))
    if name == "crop_reflected":
        width, height = value["size"]
        return crop_or_pad(image, value["y"], value["x"], height, width, padding_mode="reflect")
    return {
        "invert": timm.invert,
        "solarize_add": lambda image: timm.solarize_add(image, value),
        "gaussian_blur": lambda image: timm.gaussian_blur(image, value),
        "flip_vertical": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        "saturation": lambda image: timm.color(image, value),
        "posterize": lambda image: timm.posterize(image, value),
        "solarize": lambda image: timm.solarize(image, value),
        "equalize": timm.equalize,
        "auto_contrast": timm.auto_contrast,
        "sharpness": lambda image: timm.sharpness(image, value),
    }[name](image)


def augmix(image, chains, weights, part, blended):
    """timm's AugMix with these chains of operations, which it would draw."""
    mix = timm.AugMixAugment([lambda image, op=op: done(image, op) for op in sum(chains, [])])
    numbers = iter(range(len(mix.ops)))
    depths = iter([len(chain) for chain in chains])
    with (
        mock.patch.object(np.random, "randint", lambda *_: next(depths)),
        mock.patch.object(np.random, "choice", lambda ops, depth, replace: [ops[next(numbers)] for _ in range(depth)]),
    ):
        apply = mix._apply_blended if blended else mix._apply_basic
        return apply(image, np.float32(weights), np.float32(part))


def operations(rng):
    """Lists of operations; those of AugMix are one list."""
    yield ["flip_vertical"]
    yield ["invert"]
    yield from ([{"solarize_add": add}] for add in (0, 1, 55, 110, 128))
    radii = [0.0, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0, 1.3, 2.0, 5.0, 30.0] + [rng.uniform(0.1, 2.0) for _ in range(8)]
    yield from ([{"gaussian_blur": radius}] for radius in radii)
    for x, y, size in [(-5, -3, (40, 30)), (-2, 0, (50, 5)), (0, -9, (3, 20)), (-40, -40, (60, 45))]:
        yield [{"crop_reflected": {"x": x, "y": y, "size": size}}]
    for mode in MODES:
        colour = {"interpolation": mode, "fill": FILL}
        for strength in (0.0, 0.03, 0.1, 0.3, -0.01, -0.21, rng.uniform(-0.3, 0.3)):
            yield [{"affine": {"matrix": [1.0, strength, 0.0, 0.0, 1.0, 0.0]} | colour}]
            yield [{"affine": {"matrix": [1.0, 0.0, 0.0, strength, 1.0, 0.0]} | colour}]
        for pixels in (0.0, 0.5, 1.0, 3.3, -0.45, -7.0, 14.4, 300.0, rng.uniform(-20, 20)):
            yield [{"affine": {"matrix": [1.0, 0.0, pixels, 0.0, 1.0, 0.0]} | colour}]
            yield [{"affine": {"matrix": [1.0, 0.0, 0.0, 0.0, 1.0, pixels]} | colour}]
        for degrees in (0.0, 3.0, -9.0, 30.0, -27.5, 60.0, 90.0, 180.0, 270.0, rng.uniform(-30, 30)):
            yield [{"rotate_filled": {"degrees": degrees} | colour}]


def mixtures(rng):
    ops = [
        {"gaussian_blur": 1.1}, {"saturation": 1.5}, {"posterize": 3}, {"solarize": 100.0}, "equalize", "auto_contrast",
        {"sharpness": 1.7}, {"affine": {"matrix": [1.0, 0.2, 0.0, 0.0, 1.0, 0.0], "interpolation": "bicubic", "fill": FILL}},
        {"rotate_filled": {"degrees": 12.5, "interpolation": "bilinear", "fill": FILL}},
    ]
    for width in (1, 2, 3, 3, 3, 4):
        chains = [[rng.choice(ops) for _ in range(rng.randint(1, 3))] for _ in range(width)]
        weights = [rng.random() for _ in range(width)]
        weights = [float(np.float32(weight / sum(weights))) for weight in weights]
        part = float(np.float32(rng.random()))
        blended = timm.AugMixAugment([])._calc_blended_weights(np.float32(weights), np.float32(part))
        yield {"chains": chains, "weights": weights, "part": part, "blended": blended.tolist()}


def sources():
    """Images, and the part of them that is taken."""
    for name in "444 grey 1x1_444 1x17_444 17x1_444 2x2_444 17x15_444 33x65_444 portrait".split():
        yield f"{name}.jpg", None
    for x, y, width, height in [(7, 9, 32, 32), (60, 81, 224, 160)]:
        yield "large.jpg", (x, y, x + width, y + height)


def sha256(image):
    return hashlib.sha256(image.tobytes()).hexdigest()[:16]


def pixels():
    rng = random.Random(3)
    chains, mixed = list(operations(rng)), list(mixtures(rng))
    yield json.dumps({"operations": chains, "mixtures": mixed})
    for name, box in sources():
        image = Image.open(HERE / "images" / name).convert("RGB")
        image = image.crop(box) if box else image
        hashes = []
        for chain in chains:
            changed = image
            for operation in chain:
                changed = done(changed, operation)
            hashes.append(sha256(changed))
        for blended in (False, True):
            hashes += [sha256(augmix(image, mix["chains"], mix["weights"], mix["part"], blended)) for mix in mixed]
        yield json.dumps({"file": name, "box": box, "sha256": hashes})


SIZE = (40, 30)


def levels():
    """The operations that magnitudes mean, under the names of our operations."""
    affine = {"interpolation": "bicubic", "fill": FILL}
    for name, to_args in timm.LEVEL_TO_ARG.items():
        if name in ("TranslateX", "TranslateY"):
            continue  # no policy has them
        for magnitude in [n / 2 for n in range(21)] + [3.3, 12.0, 20.0]:
            for drawn in (0.25, 0.75):
                with mock.patch.object(timm.random, "random", lambda: drawn):
                    args = to_args(magnitude, {"translate_pct": 0.45}) if to_args else ()
                value = args[0] if args else None
                width, height = SIZE
                operation = {
                    "Rotate": lambda: {"rotate_filled": {"degrees": value} | affine},
                    "ShearX": lambda: {"affine": {"matrix": [1.0, value, 0.0, 0.0, 1.0, 0.0]} | affine},
                    "ShearY": lambda: {"affine": {"matrix": [1.0, 0.0, 0.0, value, 1.0, 0.0]} | affine},
                    "TranslateXRel": lambda: {"affine": {"matrix": [1.0, 0.0, value * width, 0.0, 1.0, 0.0]} | affine},
                    "TranslateYRel": lambda: {"affine": {"matrix": [1.0, 0.0, 0.0, 0.0, 1.0, value * height]} | affine},
                    "AutoContrast": lambda: "auto_contrast",
                    "Equalize": lambda: "equalize",
                    "Invert": lambda: "invert",
                    "SolarizeAdd": lambda: {"solarize_add": value},
                    "GaussianBlur": lambda: {"gaussian_blur": value},
                    "GaussianBlurRand": lambda: {"gaussian_blur": 0.1 + (2.0 * value - 0.1) * drawn},
                    "Desaturate": lambda: {"saturation": min(1.0, max(0.0, 1.0 - value))},
                }.get(name)
                if operation is None:
                    kind = name.removesuffix("Increasing").removesuffix("Original").lower()
                    kind = {"color": "saturation"}.get(kind, kind)
                    if kind == "posterize" and value >= 8:
                        operation = lambda: None
                    elif kind == "posterize":
                        operation = lambda: {kind: max(value, 0)}
                    else:
                        operation = lambda: {kind: float(value)}
                yield {"op": name, "magnitude": magnitude, "drawn": drawn, "operation": operation()}


def described(op):
    return [op.name, op.prob, op.magnitude]


def policies():
    hparams = {"img_mean": FILL}
    return {
        "auto": {
            name: [[described(op) for op in sub] for sub in timm.auto_augment_policy(name, hparams)] for name in POLICIES
        },
        "rand": {
            "all": timm._RAND_TRANSFORMS,
            "increasing": timm._RAND_INCREASING_TRANSFORMS,
            "3a": timm.rand_augment_choices("3a"),
            "3aw": list(timm.rand_augment_choices("3aw").items()),
            "weights": list(timm.rand_augment_choices("weights").items()),
        },
        "augmix": timm._AUGMIX_TRANSFORMS,
    }


def names():
    """What timm reads in texts."""
    for text in (
        "rand", "rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.25-mstd101", "rand-mstd1-tweights", "rand-m9-mmax15-t3aw",
        "rand-m5-inc0-t3a",
    ):
        policy = timm.rand_augment_transform(text, {"img_mean": FILL})
        op = policy.ops[0]
        yield {
            "text": text,
            "ops": [op.name for op in policy.ops],
            "layers": policy.num_layers,
            "probability": op.prob,
            "magnitude": op.magnitude,
            "std": min(op.magnitude_std, 1e9),
            "largest": op.magnitude_max or 10,
            "weights": None if policy.choice_weights is None else list(policy.choice_weights),
        }
    for text in ("augmix", "augmix-m5-w4-d2", "augmix-a0.5-mstd0.5", "augmix-b1", "augmix-w2-b0"):
        policy = timm.augment_and_mix_transform(text, {"img_mean": FILL, "translate_pct": 0.3})
        op = policy.ops[0]
        yield {
            "text": text,
            "ops": [op.name for op in policy.ops],
            "magnitude": op.magnitude,
            "std": min(op.magnitude_std, 1e9),
            "width": policy.width,
            "depth": policy.depth,
            "alpha": policy.alpha,
            "blended": policy.blended,
        }
    for text in ("original-mstd0.5", "v0"):
        policy = timm.auto_augment_transform(text, {"img_mean": FILL})
        yield {"text": text, "std": policy.policy[0][0].magnitude_std}


def kept_ratios():
    """Sizes after ResizeKeepRatio, for drawn areas and ratios, and where CenterCropOrPad then crops."""
    rng = random.Random(5)
    for _ in range(60):
        image = [rng.randint(1, 300), rng.randint(1, 300)]
        size = [rng.randint(8, 60), rng.randint(8, 60)]
        scale = rng.choice([None, rng.uniform(0.5, 2.0)])
        ratio = rng.choice([None, rng.uniform(0.6, 1.6)])
        (width, height), (crop_width, crop_height) = image, size
        resized = ResizeKeepRatio.get_params(
            Image.new("L", (width, height)),
            (crop_height, crop_width),
            0.0,
            random_scale_prob=2.0 * (scale is not None),
            random_scale_range=(scale, scale),
            random_scale_area=True,
            random_aspect_prob=2.0 * (ratio is not None),
            random_aspect_range=(ratio, ratio),
        )
        height, width = (max(side, 1) for side in resized)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cropped = center_crop_or_pad(torch.stack([rows, columns]) + 1, (crop_height, crop_width))
        # Indices count from 1, and 0 is padding.
        top = [cropped[0, :, crop_width // 2], cropped[1, crop_height // 2, :]]
        y, x = (int(side[0]) - 1 if side[0] > 0 else -int((side == 0).cumprod(0).sum()) for side in top)
        yield {"image": image, "size": size, "scale": scale, "ratio": ratio, "resized": [width, height], "center": [x, y]}


def blurs():
    """torchvision's blurs, whose values near a half depend on the order in which a processor adds them."""
    for name in ("33x65_444.jpg", "17x15_444.jpg"):
        image = Image.open(HERE / "images" / name).convert("RGB")
        for sigma in (0.1, 0.45, 1.1, 2.0):
            blurred = F.gaussian_blur(image, 23, [sigma, sigma])
            yield {"file": name, "kernel": 23, "sigma": sigma, "pixels": blurred.tobytes().hex()}


def erased():
    """Means and standard deviations of the number of erased values, and of equal neighbours among them."""
    random.seed(8)
    torch.manual_seed(8)
    for p, mode, count, size in [(1.0, "pixel", 1, (32, 32)), (0.5, "const", 3, (48, 32)), (0.75, "rand", 4, (20, 31))]:
        erase = RandomErasing(p, mode=mode, max_count=count, device="cpu")
        draws = 4000
        numbers = []
        for _ in range(draws):
            values = torch.full((3, *size), 9.0)
            erase(values)
            gone = values[0] != 9.0
            same = (values[0, :, 1:] == values[0, :, :-1]) & gone[:, 1:] & gone[:, :-1]
            numbers.append([float(gone.sum()), float(same.sum()), float(gone.any())])
        numbers = np.array(numbers)
        yield {
            "p": p,
            "mode": mode,
            "count": count,
            "size": size[::-1],
            "draws": draws,
            "mean": numbers.mean(0).tolist(),
            "std": numbers.std(0).tolist(),
        }


def main():
    lines = list(pixels())
    if "--check" in sys.argv:
        assert (HERE / "timm.jsonl").read_text().splitlines() == lines
        return
    (HERE / "timm.jsonl").write_text("\n".join(lines) + "\n")
    numbers = {
        "size": SIZE,
        "levels": list(levels()),
        "policies": policies(),
        "names": list(names()),
        "erased": list(erased()),
        "kept_ratios": list(kept_ratios()),
        "blurs": list(blurs()),
    }
    (HERE / "timm.json").write_text(json.dumps(numbers, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
