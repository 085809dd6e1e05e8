#!/usr/bin/env python3
"""Writes pytorch.jsonl, beside this file: losses and gradients of PyTorch 2.11 and timm 1.0 in float64.

Needs torch and timm. The cases have PyTorch's options of cross-entropy (class weights, label smoothing, ignored label,
reduction), and timm's binary cross-entropy with label smoothing.
"""

import json
from pathlib import Path

import torch
from timm.loss import BinaryCrossEntropy


def case(loss, options, scores, labels, value):
    value.sum().backward()
    values = value.detach().reshape(-1).tolist()
    gradient = scores.grad.reshape(-1).tolist()
    case = {"loss": loss, **options, "scores": scores.detach().reshape(-1).tolist(), "labels": labels.tolist()}
    return case | {"values": values, "gradient": gradient}


def main():
    generator = torch.Generator().manual_seed(20240607)
    cases = []
    for samples, classes, spread in [(4, 3, 1.0), (5, 10, 5.0), (3, 100, 20.0)]:
        for smoothing in (0.0, 0.1, 0.6, 1.0):
            for weighted in (False, True):
                for reduction in ("none", "sum", "mean"):
                    scores = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
                    # Numbers with few digits make a smaller file.
                    scores = (scores * spread * 16).round().div(16).requires_grad_()
                    labels = torch.randint(classes, (samples,), generator=generator)
                    # The second label is ignored, and so must not be that of all samples.
                    labels[0] = (labels[1] + 1) % classes
                    weight = torch.rand(classes, generator=generator, dtype=torch.float64).mul(64).round().div(16)
                    options = {"smoothing": smoothing, "reduction": reduction, "ignore_index": int(labels[1])}
                    if weighted:
                        options["weight"] = weight.tolist()
                    value = torch.nn.functional.cross_entropy(
                        scores,
                        labels,
                        weight=weight if weighted else None,
                        label_smoothing=smoothing,
                        ignore_index=options["ignore_index"],
                        reduction=reduction,
                    )
                    cases.append(case("ce", options, scores, labels, value))
            for is_sum in (False, True):
                scores = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
                scores = (scores * spread * 16).round().div(16).requires_grad_()
                labels = torch.randint(classes, (samples,), generator=generator)
                # timm refuses 1.
                if smoothing < 1:
                    value = BinaryCrossEntropy(smoothing=smoothing, sum_classes=is_sum)(scores, labels)
                    loss = "bce-sum" if is_sum else "bce"
                    cases.append(case(loss, {"smoothing": smoothing, "reduction": "mean"}, scores, labels, value))
    path = Path(__file__).with_name("pytorch.jsonl")
    path.write_text("".join(json.dumps(case, allow_nan=False) + "\n" for case in cases))


if __name__ == "__main__":
    main()
