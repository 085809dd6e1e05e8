"""Writes web_crops.json: hashes of images resized and cropped by Pillow, for the page in examples/web.

Run with Pillow 13 and numpy: python make_web_crops.py

A pixel of an image is ((x x + 3 y y + 5 x y + 85 c) / 16) mod 256, rounded down, with column x, row y and
channel c. Resizing and cropping are torchvision's `Resize` and `CenterCrop`.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
from PIL import Image


def image(width, height):
    y, x, c = np.ogrid[:height, :width, :3]
    return Image.fromarray(((x * x + 3 * y * y + 5 * x * y + 85 * c) // 16 % 256).astype(np.uint8))


def resized_center(image, resize, height, width, interpolation):
    w, h = image.size
    size = (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
    if size != image.size:
        image = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = (int(round((a - b) / 2.0)) for a, b in zip(image.size, (width, height)))
    return image.crop((left, top, left + width, top + height))


# Width and height of an image, length of its shorter side when resized, height and width of the crop. Crops of
# 97 by 64 are bicubic; what is resized to 40 is resized by the filters that the others are not, and bicubic.
CASES = [
    (32, 32, 32, 32, 32),
    (300, 200, 32, 32, 32),
    (200, 451, 32, 32, 32),
    (20, 28, 32, 32, 32),
    (301, 200, 40, 32, 32),
    (20, 90, 40, 32, 32),
    (300, 200, 256, 224, 224),
    (203, 500, 256, 224, 224),
    (1001, 667, 256, 224, 224),
    (301, 200, 111, 97, 64),
    (301, 200, 120, 97, 64),
    (1, 90, 111, 97, 64),
]

FILTERS = ["nearest", "box", "hamming", "bicubic", "lanczos"]


def interpolations(resize, crop):
    if resize == 40:
        return FILTERS
    return ["bicubic" if crop == [97, 64] else "bilinear"]


if __name__ == "__main__":
    assert PIL.__version__.startswith("13."), PIL.__version__
    crops = []
    for width, height, resize, *crop in CASES:
        for interpolation in interpolations(resize, crop):
            pixels = resized_center(image(width, height), resize, *crop, interpolation).tobytes()
            crops.append({
                "image": [width, height],
                "resize": resize,
                "crop": crop,
                "interpolation": interpolation,
                "sha256": hashlib.sha256(pixels).hexdigest(),
            })
    lines = ",\n".join(json.dumps(crop) for crop in crops)
    Path(__file__).with_name("web_crops.json").write_text(f"[\n{lines}\n]\n")
