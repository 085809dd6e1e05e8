"""Writes schedules.jsonl: the learning rates of timm's schedulers, and of PyTorch's OneCycleLR.

    python make_schedules.py > schedules.jsonl

Needs torch 2.11 and timm 1.0. One line per set of flags, which are those of topk-train for the same schedule of EPOCHS epochs
with STEPS steps each: the learning rate of each step. `accuracies` are those that `--sched plateau` is told after each
epoch. src/schedule/tests.rs compares.
"""

import json
import warnings

import torch
from timm.scheduler import create_scheduler_v2

EPOCHS, STEPS = 12, 5
LR = 0.3
ACCURACIES = [0.1, 0.2, 0.2, 0.20001, 0.2, 0.3, 0.3, 0.29, 0.28, 0.31, 0.31, 0.31]
WARMUP = {"warmup_epochs": 3, "warmup_lr": 0.001}
WARMUP_FLAGS = "--warmup-epochs=3 --warmup-lr=0.001"

# Flags of topk-train, and arguments of timm's factory.
TIMM = [
    ("--sched=constant", {"sched": "constant"}),
    ("--sched=step --decay-epochs=4 --decay-rate=0.5", {"sched": "step", "decay_epochs": 4, "decay_rate": 0.5}),
    ("--sched=step --decay-epochs=2.4 --decay-rate=0.97", {"sched": "step", "decay_epochs": 2.4, "decay_rate": 0.97}),
    (
        f"--sched=step --decay-epochs=2 --sched-on-updates=false {WARMUP_FLAGS}",
        {"sched": "step", "decay_epochs": 2} | WARMUP,
    ),
    (
        f"--sched=step --decay-epochs=2.5 --sched-on-updates --warmup-prefix {WARMUP_FLAGS}",
        {"sched": "step", "decay_epochs": 2.5, "step_on_epochs": False, "warmup_prefix": True} | WARMUP,
    ),
    ("--sched=multistep --decay-milestones=4,9", {"sched": "multistep", "decay_milestones": [4, 9]}),
    (
        f"--sched=multistep --decay-milestones=5,9 --decay-rate=0.2 --sched-on-updates=false {WARMUP_FLAGS}",
        {"sched": "multistep", "decay_milestones": [5, 9], "decay_rate": 0.2} | WARMUP,
    ),
    (
        f"--sched=multistep --decay-milestones=2,5 --sched-on-updates=false --warmup-prefix {WARMUP_FLAGS}",
        {"sched": "multistep", "decay_milestones": [2, 5], "warmup_prefix": True} | WARMUP,
    ),
    ("--sched=cosine", {"sched": "cosine", "step_on_epochs": False}),
    ("--sched=cosine --sched-on-updates=false --min-lr=0.01", {"sched": "cosine", "min_lr": 0.01}),
    (
        f"--sched=cosine --warmup-prefix=false --min-lr=0.01 {WARMUP_FLAGS}",
        {"sched": "cosine", "step_on_epochs": False, "min_lr": 0.01} | WARMUP,
    ),
    (
        f"--sched=cosine --sched-on-updates=false --warmup-prefix=false {WARMUP_FLAGS}",
        {"sched": "cosine"} | WARMUP,
    ),
    (
        # timm's number of epochs has neither warm-up nor cool-down.
        f"--sched=cosine --min-lr=0.01 --cooldown-epochs=2 {WARMUP_FLAGS}",
        {"sched": "cosine", "num_epochs": 7, "step_on_epochs": False, "warmup_prefix": True, "min_lr": 0.01} | WARMUP,
    ),
    ("--sched=poly --decay-rate=2 --min-lr=0.01", {"sched": "poly", "decay_rate": 2, "step_on_epochs": False, "min_lr": 0.01}),
    ("--sched=poly --sched-on-updates=false", {"sched": "poly"}),
    (
        f"--sched=poly --decay-rate=0.9 --warmup-prefix=false {WARMUP_FLAGS}",
        {"sched": "poly", "decay_rate": 0.9, "step_on_epochs": False} | WARMUP,
    ),
    ("--sched=plateau --patience-epochs=1", {"sched": "plateau", "patience_epochs": 1}),
    (
        "--sched=plateau --patience-epochs=0 --decay-rate=0.5 --min-lr=0.1",
        {"sched": "plateau", "patience_epochs": 0, "decay_rate": 0.5, "min_lr": 0.1},
    ),
    (
        f"--sched=plateau --patience-epochs=0 --sched-on-updates=false {WARMUP_FLAGS}",
        {"sched": "plateau", "patience_epochs": 0} | WARMUP,
    ),
]
# The same with PyTorch's arguments.
ONE_CYCLE = [
    ("--sched=onecycle", {}),
    ("--sched=onecycle --warmup-epochs=6", {"pct_start": 0.5}),
    ("--sched=onecycle --warmup-lr=0.03 --min-lr=0.0003", {"div_factor": 10, "final_div_factor": 100}),
]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def of_timm(arguments):
    sgd = optimizer()
    arguments = {"num_epochs": EPOCHS, "updates_per_epoch": STEPS} | arguments
    scheduler, _ = create_scheduler_v2(sgd, **arguments)
    rates, updates = [], 0
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            # As train.py, which does so before the first step if that is asked for by the arguments.
            if updates == 0 and not arguments.get("step_on_epochs", True):
                scheduler.step_update(0)
            rates.append(sgd.param_groups[0]["lr"])
            updates += 1
            scheduler.step_update(updates)
        scheduler.step(epoch + 1, ACCURACIES[epoch])
    return rates


def of_one_cycle(arguments):
    sgd = optimizer()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        sgd, max_lr=LR, epochs=EPOCHS, steps_per_epoch=STEPS, cycle_momentum=False, **arguments
    )
    rates = []
    for step in range(EPOCHS * STEPS):
        rates.append(sgd.param_groups[0]["lr"])
        if step + 1 < EPOCHS * STEPS:
            sgd.step()
            scheduler.step()
    return rates


def main():
    warnings.simplefilter("ignore")
    lines = [(flags, of_timm(arguments)) for flags, arguments in TIMM]
    lines += [(flags, of_one_cycle(arguments)) for flags, arguments in ONE_CYCLE]
    for flags, rates in lines:
        assert len(set(rates)) > 1 or "constant" in flags
        line = {"flags": flags, "lr": LR, "accuracies": ACCURACIES, "rates": rates}
        print(json.dumps(line, separators=(",", ":")))


if __name__ == "__main__":
    main()
