"""Writes targets.jsonl: losses and gradients of PyTorch and timm for scores, labels and partners of a batch.

    python make_targets.py > targets.jsonl

Needs torch 2.11 and timm 1.0. src/step/targets.rs compares the losses of topk-train, whose flags are in each line.
"""

import json

import torch
from timm.data.mixup import mixup_target
from timm.loss import BinaryCrossEntropy
from torch.nn import functional

SAMPLES, CLASSES = 6, 7


def main():
    generator = torch.Generator().manual_seed(3)
    for smoothing in (0.0, 0.1):
        for mixed in (False, True):
            for name in ("ce", "weighted", "bce", "bce-sum", "bce-thresh", "bce-thresh-sum"):
                scores = torch.randn(SAMPLES, CLASSES, generator=generator).mul(48).round().div(16).requires_grad_()
                labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
                weights = torch.rand(CLASSES, generator=generator).mul(64).round().div(16)
                lam = 0.375
                # timm's partners are the batch in reverse.
                target = mixup_target(labels, CLASSES, lam, smoothing) if mixed else labels
                flags = ["--loss=ce" if name in ("ce", "weighted") else "--loss=bce", f"--smoothing={smoothing}"]
                if mixed:
                    flags.append("--mix=mixup:1")
                if name in ("ce", "weighted"):
                    value = functional.cross_entropy(
                        scores,
                        target,
                        weight=weights if name == "weighted" else None,
                        # Of probabilities, timm's target is smoothed already.
                        label_smoothing=0.0 if mixed else smoothing,
                    )
                else:
                    threshold = 0.3 if "thresh" in name else None
                    is_sum = name.endswith("sum")
                    value = BinaryCrossEntropy(smoothing, target_threshold=threshold, sum_classes=is_sum)(scores, target)
                    flags += [f"--bce-sum={str(is_sum).lower()}"]
                    flags += [f"--bce-target-thresh={threshold}"] if threshold else []
                value.backward()
                case = {"flags": flags, "scores": scores.detach().flatten().tolist(), "labels": labels.tolist()}
                if name == "weighted":
                    case["weights"] = weights.tolist()
                if mixed:
                    case["lambda"] = lam
                case |= {"loss": value.item(), "gradient": scores.grad.flatten().tolist()}
                print(json.dumps(case))


if __name__ == "__main__":
    main()
