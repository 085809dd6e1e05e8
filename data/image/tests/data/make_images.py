"""Writes the images of the tests into `images/` and what Pillow makes of them into `pillow*.jsonl`.

    pip install pillow==13.0.0 numpy torchvision==0.26.0 timm==1.0.31
    python make_images.py images expected
    pip install pillow==12.0.0
    python make_images.py expected

`images` needs Pillow 13.0.0, whose encoders wrote the files that are here; `expected` runs with both
versions, and names its file after the one it finds. Everything in the images is made up.
"""

import hashlib
import io
import json
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

HERE = Path(__file__).parent
IMAGES = HERE / "images"


def picture(width, height, seed=0):
    """Gradients, edges and noise, in RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + c) + c) * 60 + np.cos(y / (4 + c)) * 60 + 128 for c in range(3)]
    rgb = np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3))
    rgb[(x // 9 + y // 7) % 5 == 0] = (250, 20, 90)
    return rgb.clip(0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows, extra=b"", interlaced=False):
    """A PNG of packed rows, none of them filtered."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def pngs(rng):
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    names = {0: "grey", 2: "rgb", 3: "palette", 4: "grey_alpha", 6: "rgba"}
    width, height = 37, 11
    for color, name in names.items():
        for depth in depths[color]:
            length = (width * samples[color] * depth + 7) // 8
            rows = [rng.bytes(length) for _ in range(height)]
            extra = b""
            if color == 3:
                colors = min(2**depth, 200)  # indices beyond it occur
                extra = chunk(b"PLTE", rng.bytes(3 * colors)) + chunk(b"tRNS", rng.bytes(colors))
            elif color == 0:
                extra = chunk(b"tRNS", b"\0\1")
            elif color == 2:
                extra = chunk(b"tRNS", b"\0\1\0\2\0\3")
            yield f"{name}_{depth}.png", png(width, height, depth, color, rows, extra)
    # Low values, which Pillow does not take as black in 16 bits of grey.
    rows = [struct.pack(">37H", *range(y * 30, y * 30 + 37)) for y in range(height)]
    yield "grey_16_dark.png", png(width, height, 16, 0, rows)
    # Adam7: rows of seven passes.
    passes = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)]
    for depth in (1, 8):
        rows = []
        for x0, dx, y0, dy in passes:
            columns = len(range(x0, width, dx))
            if columns:
                rows += [rng.bytes((columns * depth + 7) // 8) for _ in range(y0, height, dy)]
        yield f"grey_{depth}_interlaced.png", png(width, height, depth, 0, rows, interlaced=True)


def saved(array, kind, mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(array).convert(mode).save(out, kind, **options)
    return out.getvalue()


def jpegs():
    rgb = picture(123, 91)
    for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
        yield f"{name}.jpg", saved(rgb, "JPEG", quality=85, subsampling=subsampling)
        yield f"{name}_progressive.jpg", saved(
            rgb, "JPEG", quality=75, subsampling=subsampling, progressive=True
        )
    yield "grey.jpg", saved(rgb, "JPEG", "L", quality=80)
    yield "grey_progressive.jpg", saved(rgb, "JPEG", "L", quality=80, progressive=True)
    yield "cmyk.jpg", saved(rgb, "JPEG", "CMYK", quality=80)
    yield "cmyk_progressive.jpg", saved(rgb, "JPEG", "CMYK", quality=80, progressive=True)
    yield "restarts.jpg", saved(rgb, "JPEG", quality=80, restart_marker_blocks=3)
    yield "low_quality.jpg", saved(rgb, "JPEG", quality=8)
    yield "progressive.jpg", saved(picture(120, 90, 1), "JPEG", quality=80, progressive=True)
    # The same data under other sampling factors: other pixels, but a valid file.
    data = bytearray(saved(rgb, "JPEG", quality=85, subsampling=1))
    frame = data.index(b"\xff\xc0") + 10
    data[frame + 1] = 0x12
    yield "440.jpg", bytes(data)
    data[frame + 1] = 0x41
    yield "411.jpg", bytes(data)
    # Inks as luma and chroma: the marker of Adobe with transform 2.
    ycck = saved(rgb, "JPEG", "CMYK", quality=80)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x02"
    start = ycck.find(b"\xff\xee")
    if start >= 0:
        ycck = ycck[:start] + adobe + ycck[start + 16 :]
    else:
        ycck = ycck[:2] + adobe + ycck[2:]
    yield "ycck.jpg", ycck
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "rotated.jpg", saved(rgb, "JPEG", quality=85, exif=exif)
    for width, height in [(1, 1), (1, 17), (17, 1), (2, 2), (7, 9), (8, 8), (9, 16), (17, 15), (33, 65)]:
        for subsampling in (0, 2):
            array = picture(width, height, width)
            name = f"{width}x{height}_{'444' if subsampling == 0 else '420'}.jpg"
            yield name, saved(array, "JPEG", quality=90, subsampling=subsampling)
    yield "tall.jpg", saved(picture(3, 1200), "JPEG", quality=60)
    yield "wide.jpg", saved(picture(1200, 3), "JPEG", quality=60)
    yield "portrait.jpg", saved(picture(150, 400), "JPEG", quality=40)
    yield "large.jpg", saved(picture(620, 533), "JPEG", quality=30)
    whole = saved(rgb, "JPEG", quality=85)
    yield "trailing.jpg", whole + b"what follows is not looked at" * 3
    # A marker comes early: the rest is grey, and no error.
    yield "early_end.jpg", whole[: len(whole) // 2] + b"\xff\xd9"
    whole = saved(rgb, "JPEG", quality=85, progressive=True)
    yield "early_end_progressive.jpg", whole[: len(whole) // 3] + b"\xff\xd9"
    yield "named_png.jpg", saved(picture(20, 30), "PNG")


def others():
    rgb = picture(75, 53, 5)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "lossy.webp", saved(rgb, "WEBP", quality=70)
    rgba = np.concatenate([rgb, rgb[..., :1]], -1)
    yield "lossy_alpha.webp", saved(rgba, "WEBP", "RGBA", quality=70, exact=True)
    yield "lossless_alpha.webp", saved(rgba, "WEBP", "RGBA", lossless=True, exact=True)
    yield "rgb.bmp", saved(rgb[:20, :30], "BMP")
    yield "grey.bmp", saved(rgb[:20, :30], "BMP", "L")
    yield "palette.bmp", saved(rgb[:20, :30], "BMP", "P")
    yield "black_white.bmp", saved(rgb[:20, :30], "BMP", "1")
    yield "palette.gif", saved(rgb, "GIF", "P")
    yield "grey.gif", saved(rgb, "GIF", "L")
    yield "transparent.gif", saved(rgb, "GIF", "P", transparency=3)
    yield "interlaced.gif", saved(rgb, "GIF", "P", interlace=True)
    # The frame is smaller than the screen, or juts out of it.
    gif = bytearray(saved(rgb, "GIF", "P"))
    gif[6:10] = struct.pack("<HH", 90, 70)
    yield "small_frame.gif", bytes(gif)
    gif[6:10] = struct.pack("<HH", 50, 40)
    yield "large_frame.gif", bytes(gif)
    frames = [Image.fromarray(picture(40, 30, seed)) for seed in (7, 8)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    yield "animated.gif", out.getvalue()
    yield "rgb.tif", saved(rgb[:20, :30], "TIFF")
    yield "grey.tif", saved(rgb[:20, :30], "TIFF", "L")
    yield "rgba_lzw.tif", saved(rgba[:20, :30], "TIFF", "RGBA", compression="tiff_lzw")
    yield "deflate.tif", saved(rgb[:20, :30], "TIFF", compression="tiff_adobe_deflate")


def preprocessings():
    """What is done to an image: as the tests read it, and in torchvision."""
    modes = {
        "bilinear": InterpolationMode.BILINEAR,
        "bicubic": InterpolationMode.BICUBIC,
        "box": InterpolationMode.BOX,
        "hamming": InterpolationMode.HAMMING,
        "lanczos": InterpolationMode.LANCZOS,
        "nearest": InterpolationMode.NEAREST,
    }

    def recipe(resize, interpolation, crop, fast=False):
        return {"resize": resize, "interpolation": interpolation, "crop": crop, "fast": fast}

    for name, mode in modes.items():
        for resize, crop in [(64, 56), (40, 40), (20, 31)]:
            transform = [transforms.Resize(resize, mode), transforms.CenterCrop(crop)]
            yield recipe({"shorter_side": resize}, name, {"center": {"size": [crop] * 2}}), transform
        exact = [transforms.Resize((45, 33), mode)]
        yield recipe({"exact": [33, 45]}, name, "none"), exact
    plain = "bilinear", modes["bilinear"]
    for size in [(28, 28), (31, 17)]:
        resize = {"shorter_side": 32}
        five = [transforms.Resize(32, plain[1]), transforms.FiveCrop(size[::-1])]
        yield recipe(resize, plain[0], {"five": {"size": size}}), five
        ten = [transforms.Resize(32, plain[1]), transforms.TenCrop(size[::-1])]
        yield recipe(resize, plain[0], {"ten": {"size": size}}), ten
    center = {"center": {"size": [50, 41]}}
    yield recipe("none", plain[0], center), [transforms.CenterCrop((41, 50))]
    resize = [transforms.Resize(64, plain[1]), transforms.CenterCrop(56)]
    yield recipe({"shorter_side": 64}, plain[0], {"center": {"size": [56, 56]}}, True), resize


def timm_preprocessings():
    """The same in timm's terms."""
    from timm.data.transforms_factory import transforms_imagenet_eval

    mean = (0.485, 0.456, 0.406)
    for interpolation in ("bilinear", "bicubic"):
        for mode in ("center", "squash", "border"):
            for size, pct in [((48, 48), 0.875), ((60, 40), 0.9), ((33, 33), 1.0)]:
                transform = transforms_imagenet_eval(
                    size[::-1], pct, mode, interpolation=interpolation, mean=mean, use_prefetcher=True
                )
                timm = {
                    "input_size": size,
                    "crop_pct": pct,
                    "crop_mode": mode,
                    "interpolation": interpolation,
                    "mean": mean,
                }
                yield timm, transform.transforms[:-1]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def result(image, transform):
    """The hash of all crops; None if no pixels are left, or the crops do not fit."""
    try:
        for step in transform:
            image = step(image)
    except ValueError:
        return None
    images = image if isinstance(image, tuple) else [image]
    return sha256(b"".join(image.tobytes() for image in images))


def expected(path):
    """What Pillow makes of a file: its size, the decoded pixels, and crops."""
    data = path.read_bytes()
    line = {"file": path.name}
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError) as error:
        line["error"] = str(error)
        return line
    line |= {"width": image.width, "height": image.height, "rgb": sha256(image.tobytes())}
    if path.stem not in CROPPED:
        return line
    line["crops"] = []
    for recipe, transform in preprocessings():
        source = image
        if recipe["fast"]:
            source = Image.open(io.BytesIO(data))
            source.draft("RGB", (64, 64))
            source = source.convert("RGB")
        line["crops"].append(result(source, transform))
    line["timm"] = [result(image, transform) for _, transform in timm_preprocessings()]
    return line


# Shapes that differ, for the crops.
CROPPED = "444 420_progressive cmyk 1x1_444 1x17_420 33x65_420 tall wide portrait large rgba_8".split()


def main():
    warnings.simplefilter("ignore")
    if "images" in sys.argv:
        IMAGES.mkdir(exist_ok=True)
        for made in (pngs(np.random.default_rng(3)), jpegs(), others()):
            for name, data in made:
                (IMAGES / name).write_bytes(data)
    if "expected" in sys.argv:
        version = PIL.__version__.split(".")[0]
        with open(HERE / f"pillow{version}.jsonl", "w") as out:
            recipes = [recipe for recipe, _ in preprocessings()]
            timm = [recipe for recipe, _ in timm_preprocessings()]
            print(json.dumps({"crops": recipes, "timm": timm}), file=out)
            for path in sorted(IMAGES.iterdir()):
                print(json.dumps(expected(path)), file=out)


if __name__ == "__main__":
    main()
