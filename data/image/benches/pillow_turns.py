"""Decodes and preprocesses photographs with Pillow, for `against_pillow.rs`.

    python pillow_turns.py FILE...

Reads the files into memory. For each line of input, which says what to do, prints the seconds that it took for all
photographs.
"""

import io
import sys
import time

from PIL import Image


def decode(encoded):
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def crop(encoded):
    """As torchvision's Resize(256) and CenterCrop(224)."""
    image = decode(encoded)
    short, long = sorted(image.size)
    sides = (256, int(256 * long / short))
    width, height = sides if image.width <= image.height else sides[::-1]
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))


WORKS = {"decode": decode, "decode, resize, crop": crop}


def main():
    photographs = []
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            photographs.append(file.read())
    for line in sys.stdin:
        work = WORKS[line.strip()]
        start = time.perf_counter()
        for encoded in photographs:
            work(encoded)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
