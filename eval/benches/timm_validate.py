"""Computes the accuracy of an ONNX model on class folders as timm's onnx_validate.py does: timm's data set and loader
with two worker processes, torchvision's transforms, and ONNX Runtime. For `cargo xtask bench evaluation`.

    python eval/benches/timm_validate.py MODEL.onnx DATA

Requires timm, torch and onnxruntime. Labels are the ranks of the folders.
"""

import sys

import numpy
import onnxruntime
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_dataset, create_loader

BATCH_SIZE = 50
WORKERS = 2


def main():
    model, data = sys.argv[1:]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    loader = create_loader(
        create_dataset("", data),
        input_size=(3, 224, 224),
        batch_size=BATCH_SIZE,
        use_prefetcher=False,
        interpolation="bilinear",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        num_workers=WORKERS,
        crop_pct=0.875,
    )
    name = session.get_inputs()[0].name
    images = top1 = top5 = 0
    for batch, labels in loader:
        scores = session.run(None, {name: batch.numpy()})[0]
        best = numpy.argsort(scores, axis=1)[:, :-6:-1] == labels.numpy()[:, None]
        images += len(labels)
        top1 += best[:, 0].sum()
        top5 += best.sum()
    print(f"{images} images: top-1 {100 * top1 / images:.2f} %, top-5 {100 * top5 / images:.2f} %")


if __name__ == "__main__":
    main()
