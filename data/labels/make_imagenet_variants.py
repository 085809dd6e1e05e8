#!/usr/bin/env python3
"""Makes src/imagenet_variants.txt: the classes of ImageNet-A, ImageNet-R and ObjectNet among the 1,000 of ILSVRC-2012.

    pip install timm==1.0.31
    python make_imagenet_variants.py objectnet-1.0/mappings

The classes of ImageNet-A and -R are those that timm has from their archives. ObjectNet's are in the folder `mappings` of
its archive: a line has the folder of an object and the classes that show it.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path


def main():
    info = files("timm") / "data" / "_info"
    lines = []
    for name in "imagenet-a", "imagenet-r":
        synsets = info / f"{name.replace('-', '_')}_synsets.txt"
        lines += [f"{name} {wnid}" for wnid in synsets.read_text().split()]

    mappings = Path(sys.argv[1])
    folders = {name: folder for folder, name in json.loads((mappings / "folder_to_objectnet_label.json").read_text()).items()}
    # ILSVRC2012's IDs, from 1, of the classes in PyTorch's order.
    classes = {id: int(index) for index, id in json.loads((mappings / "pytorch_to_imagenet_2012_id.json").read_text()).items()}
    labels = (mappings / "imagenet_to_label_2012_v2").read_text().splitlines()
    indices = {label.strip(): classes[number] for number, label in enumerate(labels)}
    wnids = (info / "imagenet_synsets.txt").read_text().split()
    objects = json.loads((mappings / "objectnet_to_imagenet_1k.json").read_text())
    for name, shown in sorted(objects.items(), key=lambda item: folders[item[0]]):
        found = sorted(wnids[indices[label]] for label in shown.split("; "))
        lines.append(" ".join(["objectnet", folders[name], *found]))

    Path(__file__).with_name("src").joinpath("imagenet_variants.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
