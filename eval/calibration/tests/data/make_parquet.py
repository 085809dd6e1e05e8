#!/usr/bin/env python3
"""Makes pyarrow.parquet, polars.parquet and half.parquet: the first 40 images of calibration.json as these libraries
write them; and bad/*.parquet, which cannot be used. Then checks that they and pandas read topk.parquet, which this program wrote of the same images.

    pip install pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0
    python make_parquet.py
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
IMAGES = 40


def main():
    made = json.loads((HERE / "calibration.json").read_text())
    labels = made["labels"][:IMAGES]
    logits = np.array(made["logits"][:IMAGES], np.float32)
    classes = logits.shape[1]

    fixed = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), classes)
    columns = {"index": np.arange(IMAGES), "label": np.array(labels, np.int32), "logits": fixed}
    pq.write_table(pa.table(columns), HERE / "pyarrow.parquet", row_group_size=16)

    columns = {"name": [f"{i}.jpg" for i in range(IMAGES)], "labels": labels, "logits": logits.tolist()}
    schema = {"name": pl.String, "labels": pl.UInt8, "logits": pl.List(pl.Float64)}
    pl.DataFrame(columns, schema=schema).write_parquet(HERE / "polars.parquet")

    half = pa.array(list(logits.astype(np.float16)), pa.list_(pa.float16()))
    pq.write_table(pa.table({"label": labels, "logits": half}), HERE / "half.parquet", data_page_version="2.0")

    good = [[0.0, 1.0], [2.0, 3.0]]
    for name, columns in {
        "lengths": {"label": [0, 1, 0], "logits": [[0.0, 1.0], [2.0], [3.0, 4.0, 5.0]]},
        "null": {"label": [0, 1], "logits": [[0.0, None], [2.0, 3.0]]},
        "no-list": {"label": [0, 1, 0], "logits": [[0.0, 1.0], None, [2.0, 3.0]]},
        "no-label": {"label": [0, None], "logits": good},
        "label": {"label": [0, 2], "logits": good},
        "text": {"label": ["cat", "dog"], "logits": good},
        "wide": {"label": [0, 1], "0": [0.0, 2.0], "1": [1.0, 3.0]},
        "scalar": {"label": [0, 1], "logits": [0.0, 1.0]},
        "empty": {"label": pa.array([], pa.int64()), "logits": pa.array([], pa.list_(pa.float32()))},
    }.items():
        pq.write_table(pa.table(columns), HERE / "bad" / f"{name}.parquet")

    path = HERE / "topk.parquet"
    table = pq.read_table(path)
    assert table.schema.names == ["index", "label", "logits"], table.schema
    assert table.schema.types == [pa.int64(), pa.int64(), pa.list_(pa.field("element", pa.float32(), False))]
    assert table["index"].to_pylist() == list(range(IMAGES))
    assert table["label"].to_pylist() == labels
    assert (np.array(table["logits"].to_pylist(), np.float32) == logits).all()
    assert (np.stack(pd.read_parquet(path)["logits"]) == logits).all()
    frame = pl.read_parquet(path)
    assert frame.schema["logits"] == pl.List(pl.Float32) and (np.array(frame["logits"].to_list(), np.float32) == logits).all()


if __name__ == "__main__":
    main()
