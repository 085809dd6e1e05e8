"""Writes validation.json: how timm and Lightning judge the epochs of a run.

    python make_validation.py > validation.json

Needs torch 2.11, timm 1.0.31 and lightning 2.6. src/validation/parity.rs repeats all of it with topk-train, and
tests/judging.rs compares summary.csv.

- `batches`: scores and labels, and what timm's validation makes of them: the averages of `accuracy` and of the
  cross-entropy over all images, in f64.
- `patience`: the epoch, from 1, after which Lightning's EarlyStopping ends a run with these values, or null.
- `history`: the epochs whose checkpoints timm's CheckpointSaver has kept after each epoch.
- `summary`: a summary.csv of timm's `update_summary`.
"""

import contextlib
import io
import json
import pathlib
import tempfile
from collections import OrderedDict

import torch
from lightning.pytorch.callbacks import EarlyStopping
from timm.utils import AverageMeter, CheckpointSaver, accuracy, update_summary
from torch import nn

KS = (1, 3, 5, 9)


def validation():
    generator = torch.Generator().manual_seed(7)
    batches, losses, tops = [], AverageMeter(), [AverageMeter() for _ in KS]
    for count in (7, 7, 3):
        scores = 3 * torch.randn(count, 10, generator=generator)
        labels = torch.randint(10, (count,), generator=generator)
        losses.update(nn.functional.cross_entropy(scores.double(), labels).item(), count)
        for top, percent in zip(tops, accuracy(scores, labels, topk=KS)):
            top.update(percent.item(), count)
        batches.append({"scores": scores.flatten().tolist(), "labels": labels.tolist()})
    return {
        "batches": batches,
        "ks": KS,
        "loss": losses.avg,
        "top": [top.avg for top in tops],
    }


class Run:
    """What EarlyStopping sees of a trainer."""

    fast_dev_run = False
    should_stop = False
    callback_metrics = {}
    state = None
    strategy = None


def patience(mode, count, min_delta, values):
    callback = EarlyStopping("metric", patience=count, min_delta=min_delta, mode=mode, check_finite=False)
    for epoch, value in enumerate(values, 1):
        stops, _ = callback._evaluate_stopping_criteria(torch.tensor(value, dtype=torch.float64))
        if stops:
            return epoch
    return None


def history(metric, most, values):
    with tempfile.TemporaryDirectory() as folder:
        model = nn.Linear(1, 1)
        saver = CheckpointSaver(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            checkpoint_dir=folder,
            decreasing=metric == "loss",
            max_history=most,
        )
        kept = []
        for epoch, value in enumerate(values, 1):
            saver.save_checkpoint(epoch, value)
            names = pathlib.Path(folder).glob("checkpoint-*")
            kept.append(sorted(int(name.name.split("-")[1].split(".")[0]) for name in names))
    return kept


def summary():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "summary.csv"
        rows = [(1, 2.5, 2.25, 12.5, 50.0, 0.1), (2, 1.5, 1.75, 37.5, 87.5, 0.01)]
        for epoch, train_loss, loss, top1, top5, lr in rows:
            metrics = OrderedDict(loss=loss, top1=top1, top5=top5)
            update_summary(epoch, OrderedDict(loss=train_loss), metrics, str(path), lr=lr, write_header=epoch == 1)
        return path.read_bytes().decode()


RISING = [10.0, 12.0, 12.0, 11.5, 12.5, 12.75, 12.0, 12.5, 12.75, 12.7, 20.0, 19.0]
FALLING = [2.0, 1.5, 1.5, 1.25, 1.2, 1.3, 1.2, 1.1875, 1.18, 1.5, 1.6, 0.5]

print(
    json.dumps(
        {
            **validation(),
            "patience": [
                {"metric": metric, "patience": count, "min_delta": delta, "values": values}
                | {"stops": patience(mode, count, delta, values)}
                for metric, mode, values in [("top5", "max", RISING), ("loss", "min", FALLING)]
                for count in [1, 2, 3, 4, 9]
                for delta in [0.0, 0.25, 0.5]
            ],
            "history": [
                {"metric": metric, "most": most, "values": values, "kept": history(metric, most, values)}
                for metric, values in [("top5", RISING), ("loss", FALLING)]
                for most in [1, 2, 3, 5, 20]
            ],
            "summary": summary(),
        }
    )
)
