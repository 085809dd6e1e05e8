"""Writes timm-transforms.json: what timm's transforms of training have for flags of its training script, in our words.

Run with timm 1.0.31: python make_timm_transforms.py
"""

import argparse
import json
from pathlib import Path

from timm.data import auto_augment, create_transform, random_erasing
from timm.data.transforms import CenterCropOrPad, RandomCropOrPad, RandomResizedCropAndInterpolation, ResizeKeepRatio
from torchvision import transforms

FLAGS = """
--hflip 0.5
--hflip 0 --vflip 0.5
--scale 0.2 1.0 --ratio 0.9 1.1
--train-interpolation bicubic
--train-interpolation random
--color-jitter 0.4
--color-jitter 0.3 0.2 0.1
--color-jitter 0.3 0.2 0.1 0.05
--color-jitter 0.4 --color-jitter-prob 0.8
--grayscale-prob 0.2
--gaussian-blur-prob 0.1
--grayscale-prob 0.2 --gaussian-blur-prob 0.5 --color-jitter 0.4
--train-crop-mode rrc
--train-crop-mode rkrc
--train-crop-mode rkrr --train-interpolation random
--train-crop-mode rkrr --scale 0.7 1.2 --ratio 0.8 1.25
--reprob 0.25
--reprob 0.5 --remode const
--reprob 0.5 --remode rand --recount 3
--aa original --train-interpolation random
--aa v0r-mstd0.5
--aa 3a --color-jitter 0.3
--aa rand-m9-mstd0.5-inc1 --train-interpolation bicubic
--aa rand-m7-n3-p0.25 --reprob 0.1
--aa augmix-m5-w4-d2 --train-interpolation random
--aa augmix-w2-b1
--scale 0.5 1 --vflip 0.1 --aa rand-m6-n1-mmax12-tweights --grayscale-prob 0.1 --reprob 0.2 --recount 2
"""

# As in timm's train.py, except for the defaults of --color-jitter and --train-interpolation.
parser = argparse.ArgumentParser()
parser.add_argument("--train-crop-mode", type=str)
parser.add_argument("--scale", type=float, nargs="+")
parser.add_argument("--ratio", type=float, nargs="+")
parser.add_argument("--hflip", type=float, default=0.5)
parser.add_argument("--vflip", type=float, default=0.0)
parser.add_argument("--color-jitter", type=float, nargs="+")
parser.add_argument("--color-jitter-prob", type=float)
parser.add_argument("--grayscale-prob", type=float, default=0.0)
parser.add_argument("--gaussian-blur-prob", type=float, default=0.0)
parser.add_argument("--aa", type=str)
parser.add_argument("--train-interpolation", type=str, default="bilinear")
parser.add_argument("--reprob", type=float, default=0.0)
parser.add_argument("--remode", type=str, default="pixel")
parser.add_argument("--recount", type=int, default=1)


def number(value):
    value = float(value)
    return str(int(value)) if value == int(value) else repr(value)


def span(pair):
    return "..".join(number(value) for value in pair)


def common(ops):
    """Colour and filter of an operation; and the deviation and the limit of magnitudes."""
    op = ops[0]
    modes = op.kwargs["resample"]
    mode = "random" if isinstance(modes, tuple) else modes.name.lower()
    return "-".join(map(str, op.kwargs["fillcolor"])), mode, op.magnitude_std, op.magnitude_max


def policy(step, aa):
    """The text of a policy with all its sections."""
    if isinstance(step, auto_augment.AutoAugment):
        fill, mode, std, _ = common(step.policy[0])
        return f"{aa.split('-')[0]}" + (f"-mstd{number(std)}" if std else ""), fill, mode
    fill, mode, std, largest = common(step.ops)
    op = step.ops[0]
    if isinstance(step, auto_augment.AugMixAugment):
        depth = f"-d{step.depth}" if step.depth > 0 else ""
        tail = "" if std == float("inf") else f"-mstd{number(std)}"
        return f"augmix-m{op.magnitude}-w{step.width}{depth}-a{number(step.alpha)}{'-b1' * step.blended}{tail}", fill, mode
    names = [op.name for op in step.ops]
    text = f"rand-m{int(op.magnitude)}-n{step.num_layers}-p{number(op.prob)}-mstd{number(std)}"
    text += f"-mmax{largest}" if largest else ""
    weights = step.choice_weights is not None
    # Weighted operations are what they are, with and without inc.
    text += f"-inc{int('PosterizeIncreasing' in names and not weights)}"
    return text + ("-tweights" if weights else ""), fill, mode


def described(step, aa):
    if isinstance(step, RandomResizedCropAndInterpolation):
        modes = step.interpolation
        mode = "random" if isinstance(modes, (tuple, list)) else modes.value
        height, width = step.size
        return f"resized-crop:size={width}x{height}:scale={span(step.scale)}:ratio={span(step.ratio)}:interpolation={mode}"
    if isinstance(step, ResizeKeepRatio):
        modes = step.interpolation
        mode = "random" if isinstance(modes, (tuple, list)) else modes.value
        assert (step.longest, step.random_scale_prob, step.random_aspect_prob, step.random_scale_area) == (0, 0.5, 0.5, True)
        height, width = step.size
        text = f"scale={span(step.random_scale_range)}:ratio={span(step.random_aspect_range)}:interpolation={mode}"
        return f"keep-ratio-crop:size={width}x{height}:{text}"
    if isinstance(step, (CenterCropOrPad, RandomCropOrPad)):
        assert step.padding_mode == "reflect"
        return "place=" + ("center" if isinstance(step, CenterCropOrPad) else "random")
    if isinstance(step, transforms.GaussianBlur):
        assert step.kernel_size == (23, 23)
        return f"kernel=23:sigma={span(step.sigma)}"
    if isinstance(step, transforms.RandomHorizontalFlip):
        return f"flip:p={number(step.p)}"
    if isinstance(step, transforms.RandomVerticalFlip):
        return f"vflip:p={number(step.p)}"
    if isinstance(step, transforms.ColorJitter):
        ranges = {name: getattr(step, name) or (1, 1) for name in ("brightness", "contrast", "saturation")}
        ranges["hue"] = step.hue or (0, 0)
        # Of no change, distances are -0 and 0 here.
        text = ":".join(f"{name}={span(pair)}" for name, pair in ranges.items())
        return "color-jitter:" + text.replace("hue=0..0", "hue=-0..0")
    if isinstance(step, transforms.RandomApply):
        (inner,) = step.transforms
        if isinstance(inner, transforms.GaussianBlur):
            return f"gaussian-blur:p={number(step.p)}:{described(inner, aa)}"
        return f"{described(inner, aa)}:p={number(step.p)}"
    if isinstance(step, transforms.RandomGrayscale):
        return f"grey:p={number(step.p)}"
    if isinstance(step, random_erasing.RandomErasing):
        import math

        value = "color" if step.rand_color else "random" if step.per_pixel else "zero"
        ratio = [0.3, 1 / 0.3]
        assert [math.log(bound) for bound in ratio] == list(step.log_aspect_ratio)
        text = f"random-erasing:p={number(step.probability)}:scale={span((step.min_area, step.max_area))}"
        text += f":ratio={span(ratio)}:value={value}"
        return text + (f":count={step.max_count}" if step.max_count > 1 else "")
    if isinstance(step, (auto_augment.AutoAugment, auto_augment.RandAugment, auto_augment.AugMixAugment)):
        text, fill, mode = policy(step, aa)
        return f"aa:policy={text}:fill={fill}:interpolation={mode}"
    return None


cases = []
for line in FLAGS.strip().splitlines():
    flags = vars(parser.parse_args(line.split()))
    for size in (224, 224), (96, 128):
        rename = {"aa": "auto_augment", "train_interpolation": "interpolation"}
        rename |= {"reprob": "re_prob", "remode": "re_mode", "recount": "re_count"}
        values = {rename.get(name, name): value for name, value in flags.items()}
        if values["color_jitter"] and len(values["color_jitter"]) == 1:
            values["color_jitter"] = values["color_jitter"][0]
        transform = create_transform((3, *size), is_training=True, **values)
        steps = [described(step, flags["aa"] or "") for step in transform.transforms]
        cases.append({"flags": line, "size": size, "augment": ",".join(filter(None, steps)).replace(",place=", ":place=")})
path = Path(__file__).with_name("timm-transforms.json")
path.write_text(json.dumps(cases, indent=0) + "\n")
