"""Writes digits.parquet: `python make_parquet.py`, in this folder. Needs datasets, numpy and pillow.

Made with datasets 5.2 and pyarrow 26. 20 small PNG images of 3 classes, in groups of 8 rows, as
`Dataset.to_parquet` writes them. The last image has no label.
"""

import io

import datasets
import numpy
from PIL import Image

ROWS = 20


def image(index):
    pixels = numpy.full((4, 4, 3), index, numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return {"bytes": file.getvalue(), "path": f"digit_{index:02}.png"}


features = datasets.Features(
    {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["zero", "one", "two"]),
    }
)
rows = {
    "image": [image(i) for i in range(ROWS)],
    "label": [i % 3 for i in range(ROWS - 1)] + [-1],
}
data = datasets.Dataset.from_dict(rows, features=features)
data.to_parquet("digits.parquet", batch_size=8)
