"""Writes targets.jsonl: losses and gradients of PyTorch and timm for scores, labels and partners of a batch.

    python make_targets.py > targets.jsonl

Needs torch 2.11 and timm 1.0. src/step/targets.rs compares the losses of topk-train, whose flags are in each line.
"""

import json

import torch
from timm.data.mixup import mixup_target
from timm.loss import BinaryCrossEntropy
from timm.task.distillation import DistillationTeacher, LogitDistillationTask
from torch.nn import functional

SAMPLES, CLASSES = 6, 7


class Scores(torch.nn.Module):
    """A classifier that gives these scores for any images."""

    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, images):
        return self.scores


def main():
    generator = torch.Generator().manual_seed(3)
    for alpha, tau in ((0.5, 1.0), (0.875, 4.0)):
        scores = torch.randn(SAMPLES, CLASSES, generator=generator).mul(48).round().div(16).requires_grad_()
        teacher = torch.randn(SAMPLES, CLASSES, generator=generator).mul(48).round().div(16)
        labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
        task = LogitDistillationTask(
            Scores(scores),
            DistillationTeacher(Scores(teacher)),
            criterion=torch.nn.CrossEntropyLoss(),
            distill_loss_weight=alpha,
            task_loss_weight=1 - alpha,
            temperature=tau,
            device=torch.device("cpu"),
            verbose=False,
        )
        value = task(torch.zeros(SAMPLES, 3, 1, 1), labels)["loss"]
        value.backward()
        flags = ["--loss=ce", "--teacher=T", f"--distillation-alpha={alpha}", f"--distillation-tau={tau}"]
        case = {"flags": flags, "scores": scores.detach().flatten().tolist(), "labels": labels.tolist()}
        case |= {"teacher": teacher.flatten().tolist(), "loss": value.item()}
        print(json.dumps(case | {"gradient": scores.grad.flatten().tolist()}))
    generator.manual_seed(3)
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
