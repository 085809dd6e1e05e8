"""Writes grey.jsonl: what Pillow and torchvision make of the test images in mode L.

    pip install pillow==13.0.0 numpy torch torchvision==0.26.0 timm==1.0.31
    python make_grey.py
"""

import hashlib
import json
import warnings
from pathlib import Path

from make_timm import FILL, done
from PIL import Image
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
GREY = 114

# Operations whose results have the same value in all channels if those of the image have; under the names of our own.
OPERATIONS = [
    "flip", "flip_vertical", "auto_contrast", "equalize", "invert", {"brightness": 1.4}, {"contrast": 0.3}, {"contrast": 1.7},
    {"saturation": 0.2}, {"saturation": 1.9}, {"hue": 0.3}, {"sharpness": 1.7}, {"posterize": 3}, {"solarize": 100.0},
    {"solarize_add": 55}, {"gaussian_blur": 1.3},
    {"affine": {"matrix": [1.0, 0.2, 0.0, 0.0, 1.0, 0.0], "interpolation": "bicubic", "fill": [GREY] * 3}},
    {"rotate_filled": {"degrees": 12.5, "interpolation": "bilinear", "fill": [GREY] * 3}},
]


def applied(image, operation):
    name, value = next(iter(operation.items())) if isinstance(operation, dict) else (operation, None)
    if isinstance(value, dict):
        # Pillow takes one number for an image of one channel.
        return done(image, {name: value | {"fill": value["fill"][:1]}})
    of_torchvision = {
        "flip": lambda: F.hflip(image),
        "brightness": lambda: F.adjust_brightness(image, value),
        "contrast": lambda: F.adjust_contrast(image, value),
        "saturation": lambda: F.adjust_saturation(image, value),
        "hue": lambda: F.adjust_hue(image, value),
    }
    return of_torchvision[name]() if name in of_torchvision else done(image, operation)


def sha256(image):
    assert image.mode == "L", image.mode
    return hashlib.sha256(image.tobytes()).hexdigest()[:16]


def lines():
    yield {"operations": OPERATIONS, "fill": [list(FILL), Image.new("RGB", (1, 1), FILL).convert("L").getpixel((0, 0))]}
    for path in sorted((HERE / "images").iterdir()):
        image = Image.open(path).convert("L")
        line = {"file": f"images/{path.name}", "grey": sha256(image)}
        if min(image.size) > 1:
            line["crop"] = sha256(F.center_crop(F.resize(image, 40), 32))
            line["changed"] = [sha256(applied(image, operation)) for operation in OPERATIONS]
        yield line
    for path in sorted((HERE / "formats").iterdir()):
        try:
            yield {"file": f"formats/{path.name}", "grey": sha256(Image.open(path).convert("L"))}
        except Exception:
            pass  # Pillow does not read it.


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    (HERE / "grey.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines()))
